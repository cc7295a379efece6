"""Who may read a file: its permission bits, owner and group, as they were read and as they are restored."""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from typing import NamedTuple, Self

# The sticky and setuid bits mean nothing for a document.
PERMISSION_BITS = stat.S_ISGID | stat.S_IRWXU | stat.S_IRWXG | stat.S_IRWXO


class FileAccess(NamedTuple):
    """The permission bits of a file, the user id of its owner and its group id."""

    mode: int
    owner: int
    group: int

    @classmethod
    def of(cls, status: os.stat_result) -> Self:
        return cls(status.st_mode & PERMISSION_BITS, status.st_uid, status.st_gid)

    def losses(self, now: FileAccess) -> list[str]:
        """Name what a file that had this access has lost: ``mode``, ``owner`` and ``group``."""
        return [name for name in self._fields if getattr(self, name) != getattr(now, name)]


def restore_access(fd: int, wanted: FileAccess) -> None:
    """Give a new file the access of the file whose place it takes, as far as this process may.

    Only root can give a file to another owner, and only a member of a group can give it to that group. Some
    file systems have neither. The file is used all the same: a document that only the panel can read is
    better than none, and the caller compares what it has got (``FileAccess.losses``).

    Nobody gets more than before. Where the group cannot be restored, the permissions of the group and of
    all others are reduced to what both had: the new group may hold other people, and the members of the old
    group now count as others.
    """
    now = FileAccess.of(os.fstat(fd))
    if wanted[1:] != now[1:]:
        _change_owner(fd, wanted, now)
        now = FileAccess.of(os.fstat(fd))
    mode = wanted.mode
    if now.group != wanted.group:
        shared = (mode >> 3) & mode & stat.S_IRWXO
        mode = mode & stat.S_IRWXU | shared << 3 | shared
    if now.owner != wanted.owner:
        # The panel, the owner now, has to read its own file; it has the document anyway.
        mode |= stat.S_IRUSR
    if mode != now.mode:
        # After the change of owner, which clears bits. Not subject to the umask.
        with suppress(OSError):
            os.fchmod(fd, mode)


def _change_owner(fd: int, wanted: FileAccess, now: FileAccess) -> None:
    try:
        os.fchown(fd, wanted.owner, wanted.group)
    except OSError:
        if wanted.group != now.group:
            with suppress(OSError):
                os.fchown(fd, -1, wanted.group)
