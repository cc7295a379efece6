"""Writes new documents to an open folder, completely or not at all, without replacing another file.

A hard link is atomic: the document is written under a temporary name, and the link fails if a file has its
final name. Some file systems have no hard links (vfat, many SMB and some NFS mounts). There the document is
written under its final name, opened with ``O_EXCL``, and a crash can leave its first part.
``complete_half`` completes such a file.
"""

from __future__ import annotations

import errno
import fcntl
import os
import secrets
import signal
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from sessions_app.session.file_access import FileAccess, restore_access

TEMPORARY_PREFIX = ".writing-"
_STILL_AFTER_NS = 10 * 1_000_000_000
_F_SETSIG = 10  # Linux only; fcntl.F_SETSIG is new in Python 3.13


def write_temporary(folder: int, data: bytes, access: FileAccess | None = None) -> str:
    """Write a document under a temporary name and return the name."""
    name = f"{TEMPORARY_PREFIX}{secrets.token_hex(8)}"
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
    fd = os.open(name, flags, 0o600, dir_fd=folder)
    try:
        _fill(fd, data, 0, access)
    except BaseException:
        os.unlink(name, dir_fd=folder)
        raise
    finally:
        os.close(fd)
    return name


def create_file(folder: int, name: str, data: bytes, access: FileAccess | None) -> None:
    """Write a new file.

    Raises: FileExistsError: a file has the name. OSError: the file cannot be written; no part of it remains.
    """
    temporary = write_temporary(folder, data, access)
    try:
        # Unlike rename, link never replaces a file.
        os.link(temporary, name, src_dir_fd=folder, dst_dir_fd=folder)
    except FileExistsError:
        raise
    except OSError:
        # Without hard links the error is EPERM on vfat, and EOPNOTSUPP, ENOSYS, EMLINK or EACCES elsewhere.
        # If the folder is not writable, the fallback fails as well.
        has_link = False
    else:
        has_link = True
    finally:
        # Unlink before the fallback, which may need the space.
        os.unlink(temporary, dir_fd=folder)
    if not has_link:
        _create_exclusively(folder, name, data, access)


def _create_exclusively(folder: int, name: str, data: bytes, access: FileAccess | None) -> None:
    fd = os.open(name, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600, dir_fd=folder)
    try:
        _fill(fd, data, 0, access)
    except BaseException:
        # Keep a file that another process has created or written in the meantime.
        with suppress(OSError):
            status = os.stat(name, dir_fd=folder, follow_symlinks=False)
            if os.path.samestat(status, os.fstat(fd)) and data.startswith(_content(fd, len(data))):
                os.unlink(name, dir_fd=folder)
        raise
    finally:
        os.close(fd)


def complete_half(folder: int, name: str, data: bytes, access: FileAccess | None) -> bool:
    """Complete a file that contains the first part of a document; return whether it was such a file.

    The rest is written to the same file. Replacing the file would be simpler, but would lose the writes of a
    process that has just opened it, or a file that was just renamed to this name. On systems with leases, no
    other process can open the file during the write.

    Raises: BlockingIOError: another process has, or may have, the file open. OSError: it cannot be written.
    """
    try:
        flags = os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        fd = os.open(name, flags, dir_fd=folder)
    except OSError:
        return False
    try:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            return False
        with _exclusively(fd, folder):
            half = _content(fd, len(data))
            if len(half) >= len(data) or not data.startswith(half):
                return False
            _fill(fd, data, len(half), access)
            return True
    finally:
        os.close(fd)


def _fill(fd: int, data: bytes, position: int, access: FileAccess | None) -> None:
    """Write a document from a position to its end, restore its access, and flush it to the disk."""
    while position < len(data):
        position += os.pwrite(fd, data[position:], position)
    # Until it is complete, only its owner can read the file.
    if access is not None:
        restore_access(fd, access)
    os.fsync(fd)


def _content(fd: int, size_bytes: int) -> bytes:
    """Read a file, but at most one byte more than a size."""
    data = b""
    while len(data) <= size_bytes and (more := os.pread(fd, size_bytes + 1 - len(data), len(data))):
        data += more
    return data


@contextmanager
def _exclusively(fd: int, folder: int) -> Iterator[None]:
    """Keep other processes from opening a file.

    Linux grants a write lease only if no other process has the file open, and other processes that open it
    wait until the lease is released. Leases are not available on other systems, on network file systems and
    for files of other owners. There, a file that has not changed for ten seconds, by the clock of its file
    system, counts as closed.

    Raises: BlockingIOError: another process has, or may have, the file open.
    """
    try:
        # The default signal of a lease, SIGIO, would end this process when another one opens the file.
        fcntl.fcntl(fd, _F_SETSIG, signal.SIGURG)
        fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_WRLCK)
    except BlockingIOError:
        raise
    except (OSError, AttributeError):
        if not _has_been_still(fd, folder):
            raise BlockingIOError(errno.EAGAIN, "it may be open in another process") from None
        yield
        return
    try:
        yield
    finally:
        fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_UNLCK)


def _has_been_still(fd: int, folder: int) -> bool:
    name = write_temporary(folder, b"")
    try:
        now_ns = os.stat(name, dir_fd=folder).st_ctime_ns
    finally:
        os.unlink(name, dir_fd=folder)
    return now_ns - os.fstat(fd).st_ctime_ns >= _STILL_AFTER_NS
