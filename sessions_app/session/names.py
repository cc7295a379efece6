"""Rules for names of sessions, in a database and as files."""

from __future__ import annotations

from sessions_app.session.files import SUFFIX

NAME_LENGTH = 255
"""Longest name, in characters."""

FILE_NAME_BYTES = 255


def reduced_name(name: str) -> str:
    """Return a name as RAPTOR makes file names of it: letters, digits, “-” and “_” alone."""
    return "".join(character for character in name if character.isalnum() or character in "-_")


def why_not_a_name(name: object) -> str:
    """Return why a session cannot have a name; blank if it can."""
    if not isinstance(name, str) or not name:
        return "it is empty" if name == "" else "it is not a text"
    if len(name) > NAME_LENGTH:
        return f"it has {len(name):,} characters; at most {NAME_LENGTH} are stored"
    if "\0" in name or name != name.encode("utf-8", "ignore").decode():
        return "it has characters that databases cannot store"
    return ""


def why_not_a_file_name(name: str) -> str:
    """Return why a session in a folder cannot have an otherwise valid name; blank if it can."""
    if "/" in name:
        return "in a folder it is a file name, which cannot contain a slash"
    if name.startswith("."):
        return "in a folder it is a file name, which must not begin with a dot"
    if len((name + SUFFIX).encode()) > FILE_NAME_BYTES:
        return f"with {SUFFIX} it has over {FILE_NAME_BYTES} bytes, too many for a file name"
    return ""
