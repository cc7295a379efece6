"""Removes a file only if it contains the archived bytes; a file with other bytes stays visible.

Another process may write or replace a file between a check and its removal. So the file is first set aside
under a name that no other program knows, and then read and compared.
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
"""Maximum bytes of the original name in the name of a recovered file; file systems allow 255 in all."""

_OWN_NAME = re.compile(re.escape(ASIDE_PREFIX) + r"([0-9]{1,18})(?:-[0-9a-f]+)?")

# There are no hard links, the file has too many of them, or the kernel protects files of other users.
_CANNOT_LINK = frozenset(
    {errno.EPERM, errno.EACCES, errno.EOPNOTSUPP, errno.ENOTSUP, errno.ENOSYS, errno.EMLINK, errno.EINVAL}
)

_renameat2: Callable[[int, bytes, int, bytes, int], int] | None = None
if sys.platform == "linux":
    _renameat2 = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)


class Outcome(NamedTuple):
    """The result of a removal.

    Args:
        is_gone: No file has the original name.
        is_aside: The file keeps its hidden name until the next sync, because the system does not show
            whether a process is still writing it.
        recovered_as: New name of a file with other bytes, if a newer file has the original name.
    """

    is_gone: bool
    is_aside: bool = False
    recovered_as: str = ""


def remove(
    folder: SessionFolder, file_name: str, stamp: FileStamp, document: bytes, *, owner_id: int
) -> Outcome:
    """Remove the file with this stamp if it contains the document and no process is writing it.

    Args:
        owner_id: Session id in the name of the file while it is set aside, so that ``settle`` can resume.
    Raises: OSError: the folder does not permit the removal.
    """
    if not folder.is_unchanged(file_name, stamp):
        return Outcome(not folder.has(file_name))
    # Use a unique name, because the rename must not replace a file that an earlier crash has left.
    aside = f"{ASIDE_PREFIX}{owner_id}-{secrets.token_hex(4)}"
    try:
        os.rename(file_name, aside, src_dir_fd=folder.fd, dst_dir_fd=folder.fd)
    except FileNotFoundError:
        return Outcome(is_gone=True)
    return settle(folder, aside, file_name, document, is_settled=settings.RAPTOR_SETTLE_SECONDS == 0)


def settle(
    folder: SessionFolder, aside: str, file_name: str, document: bytes | None, *, is_settled: bool
) -> Outcome:
    """Finish the removal of a file that was set aside: unlink it, or make it visible again.

    Args:
        file_name: The original name; blank if unknown.
        document: The stored bytes of the session; None if none are stored.
        is_settled: Whether the file has not changed for the settle time; used if open files are unknown.
    Raises: OSError: the folder does not permit the removal.
    """
    try:
        if document is not None and (is_closed := _holds(folder, aside, document)) is not None:
            if not is_closed and not is_settled:
                return Outcome(is_gone=True, is_aside=True)
            os.unlink(aside, dir_fd=folder.fd)
            return Outcome(is_gone=True)
        return _make_visible(folder, aside, file_name)
    except FileNotFoundError:
        # Another process has settled it.
        return Outcome(not file_name or not folder.has(file_name))


def owner_id_of(aside: str) -> int | None:
    """Return the session id in the name of a file that was set aside; None for other names."""
    match = _OWN_NAME.fullmatch(aside)
    return int(match[1]) if match else None


def _holds(folder: SessionFolder, name: str, document: bytes) -> bool | None:
    """Return whether a file with the bytes of a document is known to be closed; None if it has other bytes.

    Raises: FileNotFoundError: the file is gone.
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
    """Check whether two names refer to one file, or to two closed files with the same bytes."""
    with suppress(FileNotFoundError, SkippedFile):
        if folder.stamp(aside).inode == folder.stamp(file_name).inode:
            return True
        content = folder.read(aside, max_bytes=settings.RAPTOR_MAX_DOCUMENT_BYTES)
        return content.is_closed and folder.holds(file_name, content.data)
    return False


def _move_to_free_name(folder: SessionFolder, aside: str, file_name: str) -> bool:
    """Move a file to an unused name, without copying it, because a process may still be writing it.

    Returns: False if another file has the name.
    """
    try:
        # Unlike rename, link never replaces a file.
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
    # Old SMB shares and macOS have neither hard links nor this rename. A file that is created between the
    # check and the rename is replaced.
    if folder.has(file_name):
        return False
    os.rename(aside, file_name, src_dir_fd=folder.fd, dst_dir_fd=folder.fd)
    return True
