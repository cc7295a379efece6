"""Removes a file only if it holds the bytes that the archive holds; any other bytes stay visible.

Another process may write to a file, or put a new one in its place, between a look and an unlink. So a file
is renamed aside first. No program knows it by its new name; only then is it read and compared.
"""

from __future__ import annotations

import ctypes
import errno
import os
import re
import secrets
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import NamedTuple

from django.conf import settings

from sessions_app.session.files import ASIDE_PREFIX, SUFFIX, FileStamp, SessionFolder, SkippedFile

_RENAME_NOREPLACE = 1
_NAME_BYTES = 200
"""Longest part of a name that is kept in the name of recovered bytes; file systems allow 255 bytes in all."""

_OWN_NAME = re.compile(re.escape(ASIDE_PREFIX) + r"([0-9]{1,18})(?:-[0-9a-f]+)?")

# The file system has no hard links, no more of them for this file, or the kernel protects files of others.
_CANNOT_LINK = frozenset(
    {errno.EPERM, errno.EACCES, errno.EOPNOTSUPP, errno.ENOTSUP, errno.ENOSYS, errno.EMLINK, errno.EINVAL}
)

_renameat2: Callable[[int, bytes, int, bytes, int], int] | None = None
if sys.platform == "linux":
    _renameat2 = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)


class Outcome(NamedTuple):
    """What became of a file.

    Args:
        is_gone: No file has the name any more.
        is_aside: It waits under its hidden name for the next sync, because the system does not show whether
            a process still writes to it.
        recovered_as: New name of bytes that were not the expected ones, where a newer file has the old name.
    """

    is_gone: bool
    is_aside: bool = False
    recovered_as: str = ""


def remove(
    folder: SessionFolder, file_name: str, stamp: FileStamp, document: bytes, *, owner_id: int
) -> Outcome:
    """Remove the file that the stamp was taken of, if it holds a document and no process writes to it.

    Args:
        owner_id: Names the file while it is aside, so that ``settle`` can finish what a crash interrupted.
    Raises: OSError: the folder does not permit it.
    """
    if not folder.is_unchanged(file_name, stamp):
        return Outcome(not folder.has(file_name))
    # Unique: a rename must not replace what an earlier crash has left aside.
    aside = f"{ASIDE_PREFIX}{owner_id}-{secrets.token_hex(4)}"
    try:
        os.rename(file_name, aside, src_dir_fd=folder.fd, dst_dir_fd=folder.fd)
    except FileNotFoundError:
        return Outcome(is_gone=True)
    return settle(folder, aside, file_name, document, is_still=settings.RAPTOR_SETTLE_SECONDS == 0)


def settle(
    folder: SessionFolder, aside: str, file_name: str, document: bytes | None, *, is_still: bool
) -> Outcome:
    """Finish the removal of a file that stands aside: unlink it, or make it visible again.

    Args:
        file_name: Where it was; blank where that is not known any more.
        document: The bytes that are stored elsewhere; None where nothing is.
        is_still: Whether the file has not changed for the settle time, for systems that do not show who
            writes to it.
    Raises: OSError: the folder does not permit it.
    """
    try:
        if document is not None and (is_closed := _holds(folder, aside, document)) is not None:
            if not is_closed and not is_still:
                return Outcome(is_gone=True, is_aside=True)
            os.unlink(aside, dir_fd=folder.fd)
            return Outcome(is_gone=True)
        return _make_visible(folder, aside, file_name)
    except FileNotFoundError:
        # Another process has settled it.
        return Outcome(not file_name or not folder.has(file_name))


def owner_id_of(aside: str) -> int | None:
    """Return the session whose file stands aside under a name; None where the name is not one of ours."""
    match = _OWN_NAME.fullmatch(aside)
    return int(match[1]) if match else None


def _holds(folder: SessionFolder, name: str, document: bytes) -> bool | None:
    """Report whether a file that holds a document is known to be closed; None where it holds other bytes.

    Raises: FileNotFoundError: it is gone.
    """
    try:
        content = folder.read(name, max_bytes=len(document))
    except SkippedFile:
        return None
    return content.is_closed if content.data == document else None


def _make_visible(folder: SessionFolder, aside: str, file_name: str) -> Outcome:
    if file_name and _move_to_free_name(folder, aside, file_name):
        return Outcome(is_gone=False)
    if file_name and _is_same(folder, aside, file_name):
        os.unlink(aside, dir_fd=folder.fd)
        return Outcome(is_gone=False)
    stem = file_name.removesuffix(SUFFIX) or f"session-{owner_id_of(aside)}"
    stem = os.fsdecode(os.fsencode(stem)[:_NAME_BYTES])
    recovered = f"{stem}.recovered-{secrets.token_hex(4)}{SUFFIX}"
    os.rename(aside, recovered, src_dir_fd=folder.fd, dst_dir_fd=folder.fd)
    return Outcome(is_gone=False, recovered_as=recovered)


def _is_same(folder: SessionFolder, aside: str, file_name: str) -> bool:
    """Report whether two names have one file, or two closed files with the same bytes."""
    with suppress(FileNotFoundError, SkippedFile):
        if folder.stamp(aside).inode == folder.stamp(file_name).inode:
            return True
        content = folder.read(aside, max_bytes=settings.RAPTOR_MAX_DOCUMENT_BYTES)
        return content.is_closed and folder.holds(file_name, content.data)
    return False


def _move_to_free_name(folder: SessionFolder, aside: str, file_name: str) -> bool:
    """Give a file a name that no file has, and never copy it: a process may still write to it.

    Returns: False where another file has the name.
    """
    try:
        # A link, unlike a rename, never replaces.
        os.link(aside, file_name, src_dir_fd=folder.fd, dst_dir_fd=folder.fd, follow_symlinks=False)
    except FileExistsError:
        return False
    except FileNotFoundError:
        raise
    except OSError as error:
        if error.errno not in _CANNOT_LINK:
            raise
        return _rename_to_free_name(folder, aside, file_name)
    with suppress(FileNotFoundError):
        os.unlink(aside, dir_fd=folder.fd)
    return True


def _rename_to_free_name(folder: SessionFolder, aside: str, file_name: str) -> bool:
    if _renameat2 is not None:
        names = os.fsencode(aside), os.fsencode(file_name)
        if _renameat2(folder.fd, names[0], folder.fd, names[1], _RENAME_NOREPLACE) == 0:
            return True
        if ctypes.get_errno() == errno.EEXIST:
            return False
    # Neither hard links nor such a rename, as on old SMB shares and macOS: nothing closes the gap between the
    # look and the rename.
    if folder.has(file_name):
        return False
    os.rename(aside, file_name, src_dir_fd=folder.fd, dst_dir_fd=folder.fd)
    return True
