"""Reads and restores the access of a file: its permission bits, owner and group."""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from typing import NamedTuple, Self

# The sticky and setuid bits have no meaning for a document.
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
        """Return which of ``mode``, ``owner`` and ``group`` differ from the access that a file has now."""
        return [name for name in self._fields if getattr(self, name) != getattr(now, name)]


def restore_access(fd: int, wanted: FileAccess) -> None:
    """Restore the access of a file, as far as this process is permitted.

    Only root can change the owner of a file, and only members of a group can assign it to that group. Some
    file systems have neither. The file is kept in any case, because a document that only the panel can read
    is better than none, and the caller checks the result (``FileAccess.losses``).

    No user gets more access than before. If the group cannot be restored, the permissions of the group and of
    others are reduced to those that both had: the new group may have other members, and the members of the
    old group now count as others.
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
        # The panel now owns the file and must be able to read it. It has the document in any case.
        mode |= stat.S_IRUSR
    if mode != now.mode:
        # After the change of owner, which clears bits. The umask does not apply.
        with suppress(OSError):
            os.fchmod(fd, mode)


def _change_owner(fd: int, wanted: FileAccess, now: FileAccess) -> None:
    try:
        os.fchown(fd, wanted.owner, wanted.group)
    except OSError:
        if wanted.group != now.group:
            with suppress(OSError):
                os.fchown(fd, -1, wanted.group)
