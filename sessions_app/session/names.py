"""What can be the name of a session, in a database and as a file."""

from __future__ import annotations

from sessions_app.session.files import SUFFIX

NAME_LENGTH = 255
"""Characters of a name that are stored."""

FILE_NAME_BYTES = 255


def why_not_a_name(name: object) -> str:
    """Say why a session cannot have a name; blank where it can."""
    if not isinstance(name, str) or not name:
        return "it is empty" if name == "" else "it is no text"
    if len(name) > NAME_LENGTH:
        return f"it has {len(name):,} characters, and at most {NAME_LENGTH} are stored"
    if "\0" in name or name != name.encode("utf-8", "ignore").decode():
        return "it holds characters that no database stores"
    return ""


def why_not_a_file_name(name: str) -> str:
    """Say why a session in a folder cannot have a name that others may have; blank where it can."""
    if "/" in name:
        return "in a folder a name is that of a file, and has no slash"
    if name.startswith("."):
        return "in a folder a name is that of a file, and begins with no dot"
    if len((name + SUFFIX).encode()) > FILE_NAME_BYTES:
        return f"with {SUFFIX} it takes over {FILE_NAME_BYTES} bytes, and files have shorter names"
    return ""
