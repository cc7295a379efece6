"""The facts of a file that are stored with its session: its stamp and its access."""

from __future__ import annotations

import os
from typing import NamedTuple, Protocol, Self

from sessions_app.session.file_access import PERMISSION_BITS, FileAccess

STAMP_COLUMNS = ("file_inode", "file_modified_ns", "file_changed_ns")
INODE_MASK = (1 << 63) - 1  # what a signed 64-bit column holds


class FileStamp(NamedTuple):
    """Identifies a version of a file; each write, rename or copy changes the stamp."""

    inode: int
    size_bytes: int
    modified_ns: int
    changed_ns: int

    @classmethod
    def of(cls, status: os.stat_result) -> Self:
        return cls(*stamp_values(status))

    def is_same_content(self, other: FileStamp) -> bool:
        """Compare all values except the ctime, which the panel's own renaming changes."""
        return self[:3] == other[:3]


def stamp_values(status: os.stat_result) -> tuple[int, int, int, int]:
    """Return the values of a stamp as a plain tuple, which is faster in the loop over a million files."""
    return (status.st_ino & INODE_MASK, status.st_size, status.st_mtime_ns, status.st_ctime_ns)


class FileFacts(NamedTuple):
    """The file columns of a session: the values of its stamp, then those of its access."""

    inode: int
    size_bytes: int
    modified_ns: int
    changed_ns: int
    mode: int
    owner: int
    group: int

    @classmethod
    def of(cls, status: os.stat_result) -> Self:
        return cls(*stamp_values(status), status.st_mode & PERMISSION_BITS, status.st_uid, status.st_gid)

    @property
    def stamp(self) -> FileStamp:
        return FileStamp(*self[:4])

    @property
    def access(self) -> FileAccess:
        return FileAccess(*self[4:])

    def as_columns(self) -> dict[str, int]:
        """Return the values of a session's file columns; its size is set with the document."""
        return {
            "file_inode": self.inode,
            "file_modified_ns": self.modified_ns,
            "file_changed_ns": self.changed_ns,
            "file_mode": self.mode,
            "file_owner": self.owner,
            "file_group": self.group,
        }


class Mirrored(Protocol):
    """A session with the columns of the file that it was read from; None if it has no file."""

    size_bytes: int

    @property
    def file_inode(self) -> int | None: ...
    @property
    def file_modified_ns(self) -> int | None: ...
    @property
    def file_changed_ns(self) -> int | None: ...
    @property
    def file_mode(self) -> int | None: ...
    @property
    def file_owner(self) -> int | None: ...
    @property
    def file_group(self) -> int | None: ...


def access_of(session: Mirrored) -> FileAccess | None:
    """Return the access of the file of a mirrored session; None if it was never read."""
    if session.file_mode is None or session.file_owner is None or session.file_group is None:
        return None
    return FileAccess(session.file_mode, session.file_owner, session.file_group)


def stamp_of(session: Mirrored) -> FileStamp | None:
    """Return the stamp of the file that a mirrored session was read from; None if it has no file."""
    if session.file_inode is None or session.file_modified_ns is None or session.file_changed_ns is None:
        return None
    return FileStamp(
        session.file_inode, session.size_bytes, session.file_modified_ns, session.file_changed_ns
    )
