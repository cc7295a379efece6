"""Checks whether any process has a file open for writing.

Linux refuses a read lease on such a file. The lease is released at once, because a writer that opens the file
waits for its release. So a lease is never held during a read.

macOS has no leases. ``proc_listpidspath`` and ``lsof`` only see the processes of one user, take
milliseconds for each file, and miss a process that opens the file during the search, so the result there is
"unknown".
"""

from __future__ import annotations

import ctypes
import errno
import signal
import sys
from collections.abc import Callable

_F_SETSIG = 10
_F_SETLEASE = 1024
_F_RDLCK = 0
_F_UNLCK = 2

# File systems that only processes of this machine write, by the numbers in the statfs(2) manual. Files on
# others may be written by another machine, and NFS and SMB refuse leases for other reasons.
_LOCAL_FILE_SYSTEMS = frozenset(
    {
        0xEF53,  # ext2, ext3, ext4
        0x58465342,  # XFS
        0x9123683E,  # Btrfs
        0x01021994,  # tmpfs
        0x858458F6,  # ramfs
        0xF2F52010,  # F2FS
        0x2FC12FC1,  # ZFS
        0xCA451A4E,  # bcachefs
        0x794C7630,  # overlayfs
        0x4D44,  # FAT
        0x2011BAB0,  # exFAT
        0x3153464A,  # JFS
        0x52654973,  # ReiserFS
    }
)

if sys.platform == "linux":
    # PyDLL keeps the interpreter lock, so that no other thread prolongs the wait of a writer.
    _libc = ctypes.PyDLL(None, use_errno=True)
    _fcntl: Callable[[int, int, int], int] | None = _libc.fcntl
else:
    _fcntl = None


def is_open_for_writing(fd: int) -> bool | None:
    """Check whether any process, including this one, has a file open for writing.

    A process that opens the file for writing with O_NONBLOCK during the microsecond of the call gets
    EWOULDBLOCK; any other writer waits that long.

    Args:
        fd: A descriptor of a regular file, open for reading only.
    Returns: None if unknown: not on Linux, for files of other users, and on file systems without leases.
    """
    # The default signal, SIGIO, ends the process when a writer opens the file during the lease. SIGURG is
    # ignored by default.
    if _fcntl is None or _fcntl(fd, _F_SETSIG, signal.SIGURG) != 0:
        return None
    refusal = 0
    try:
        if _fcntl(fd, _F_SETLEASE, _F_RDLCK) != 0:
            refusal = ctypes.get_errno()
    finally:
        # Release the lease even if a signal handler raises an exception.
        _fcntl(fd, _F_SETLEASE, _F_UNLCK)
    if refusal == 0:
        return False
    return True if refusal == errno.EAGAIN else None


def knows_all_writers(fd: int) -> bool:
    """Check whether this machine sees every writer of the files in a folder.

    Args:
        fd: A descriptor of the folder.
    """
    return sys.platform == "linux" and _file_system_type(fd) in _LOCAL_FILE_SYSTEMS


def _file_system_type(fd: int) -> int | None:
    # struct statfs has at most 120 bytes and begins with the type, which has the size of a machine word.
    buffer = (ctypes.c_long * 32)()
    if _libc.fstatfs(fd, ctypes.byref(buffer)) != 0:
        return None
    return buffer[0] & 0xFFFFFFFF
