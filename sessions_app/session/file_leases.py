"""Asks the operating system whether any process has a file open for writing.

Linux refuses a read lease on such a file. A lease is taken and given back at once: a writer that opens the
file in between waits until it is given back, so a lease is never held over a read.

macOS has no leases. ``proc_listpidspath`` and ``lsof`` see the processes of one user only, cost milliseconds
for each file, and miss a process that opens the file during the search, so there the answer is "unknown".
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import signal
import sys
from collections.abc import Callable

_F_SETSIG = 10
_F_SETLEASE = 1024
_F_RDLCK = 0
_F_UNLCK = 2

# File systems whose writers are all processes of this machine, by the numbers in the statfs(2) manual. On any
# other a writer may sit on another machine, and NFS and SMB refuse leases for reasons of their own.
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
    # PyDLL keeps the interpreter lock. Between the two calls no other thread of this process can run, whose
    # work a waiting writer would have to wait for as well.
    _libc = ctypes.PyDLL(None, use_errno=True)
    _fcntl: Callable[[int, int, int], int] | None = _libc.fcntl
else:
    _fcntl = None


def is_open_for_writing(fd: int) -> bool | None:
    """Report whether any process, this one included, has a file open for writing.

    A process that opens the file for writing with O_NONBLOCK during the microsecond of the call gets
    EWOULDBLOCK; any other writer waits that long.

    Args:
        fd: A descriptor of a regular file, open for reading only.
    Returns: None where the system does not know: not on Linux, a file of another user, or a file system
        without leases.
    """
    if _fcntl is None:
        return None
    try:
        # The default signal, SIGIO, ends the process when a writer opens the file during the lease. SIGURG is
        # ignored by default.
        fcntl.fcntl(fd, _F_SETSIG, signal.SIGURG)
    except OSError:
        return None
    refusal = 0
    try:
        if _fcntl(fd, _F_SETLEASE, _F_RDLCK) != 0:
            refusal = ctypes.get_errno()
    finally:
        # Also where a signal handler raised after the lease was taken.
        _fcntl(fd, _F_SETLEASE, _F_UNLCK)
    if refusal == 0:
        return False
    return True if refusal == errno.EAGAIN else None


def knows_all_writers(fd: int) -> bool:
    """Report whether this machine sees every writer of the files in a folder.

    Args:
        fd: A descriptor of the folder.
    """
    return sys.platform == "linux" and _file_system_type(fd) in _LOCAL_FILE_SYSTEMS


def _file_system_type(fd: int) -> int | None:
    # struct statfs is at most 120 bytes long and begins with the type, a word of the machine's size.
    buffer = (ctypes.c_long * 32)()
    if _libc.fstatfs(fd, ctypes.byref(buffer)) != 0:
        return None
    return buffer[0] & 0xFFFFFFFF
