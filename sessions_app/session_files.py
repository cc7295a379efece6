"""The files of a session directory: found, read, written and removed, never half and never by mistake.

All of it works relative to an open folder, so a folder that is swapped meanwhile changes nothing.
"""

from __future__ import annotations

import errno
import os
import secrets
import stat
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple, Self

from sessions_app.file_leases import is_open_for_writing, knows_all_writers
from sessions_app.models import StoredSession

SUFFIX = ".json"
ASIDE_PREFIX = ".removing-"
_TEMPORARY_PREFIX = ".writing-"
_ABANDONED_AFTER_SECONDS = 3_600
_READ_ATTEMPTS = 3
_INODE_MASK = (1 << 63) - 1  # what a signed 64-bit column holds


class FileStamp(NamedTuple):
    """Tells one state of a file from any other: a write, a rename or a copy has another stamp."""

    inode: int
    size_bytes: int
    modified_ns: int
    changed_ns: int

    @classmethod
    def of(cls, status: os.stat_result) -> Self:
        return cls(*stamp_values(status))

    def is_same_content(self, other: FileStamp) -> bool:
        """Compare all but the ctime, which our own renaming changes."""
        return self[:3] == other[:3]


def stamp_values(status: os.stat_result) -> tuple[int, int, int, int]:
    """The values of a stamp, bare: for the one loop that takes a million."""
    return (status.st_ino & _INODE_MASK, status.st_size, status.st_mtime_ns, status.st_ctime_ns)


def file_columns(status: os.stat_result) -> dict[str, int]:
    """Return what the columns of a mirrored session hold of its file, besides the size."""
    inode, _, modified_ns, changed_ns = stamp_values(status)
    return {
        "file_inode": inode,
        "file_modified_ns": modified_ns,
        "file_changed_ns": changed_ns,
        "file_mode": stat.S_IMODE(status.st_mode),
        "file_owner": status.st_uid,
        "file_group": status.st_gid,
    }


def stamp_of(session: StoredSession) -> FileStamp | None:
    """The state of the file that a mirrored session was read from; None where it has none."""
    if session.file_inode is None or session.file_modified_ns is None or session.file_changed_ns is None:
        return None
    return FileStamp(
        session.file_inode, session.size_bytes, session.file_modified_ns, session.file_changed_ns
    )


class SkippedFile(Exception):
    """A file that is no document, or that cannot be read; the message says why."""


class BeingWritten(SkippedFile):
    """A process has the file open for writing, or changed it during the read."""

    def __init__(self) -> None:
        super().__init__("is being written right now; the next sync tries again")


class FileContent(NamedTuple):
    """What a file held at an instant at which no process was known to be writing to it.

    Args:
        is_closed: Off where the system does not show who has a file open: then the bytes are whole only if
            the stamp stays the same for the settle time.
    """

    data: bytes
    status: os.stat_result
    is_closed: bool

    @property
    def stamp(self) -> FileStamp:
        return FileStamp.of(self.status)


class SessionFolder:
    """An open session directory.

    Raises: OSError: there is no such folder, or it may not be read.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self._fd = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        self._knows_writers = knows_all_writers(self._fd)
        self.left_aside: list[str] = []
        self.temporary: list[str] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        os.close(self._fd)

    def entries(self) -> Iterator[os.DirEntry[str]]:
        """Give what may be documents (names ending in .json), of whatever type they are."""
        with os.scandir(self._fd) as entries:
            for entry in entries:
                if entry.name.endswith(SUFFIX):
                    yield entry
                elif entry.name.startswith(ASIDE_PREFIX):
                    self.left_aside.append(entry.name)
                elif entry.name.startswith(_TEMPORARY_PREFIX):
                    self.temporary.append(entry.name)

    def names_aside(self) -> list[str]:
        """Return the files that stand aside during their removal, or since a crash."""
        with os.scandir(self._fd) as entries:
            return [entry.name for entry in entries if entry.name.startswith(ASIDE_PREFIX)]

    def remove_abandoned(self) -> None:
        """Remove what killed writers have left: half of a document, and its endpoint perhaps."""
        for name in self.temporary:
            with suppress(OSError):
                if time.time() - self._status(name).st_mtime > _ABANDONED_AFTER_SECONDS:
                    os.unlink(name, dir_fd=self._fd)

    def read(self, file_name: str, *, max_bytes: int) -> FileContent:
        """Read a whole document that no process has open for writing.

        Raises:
            BeingWritten: a process has it open for writing, or has just changed it.
            SkippedFile: it is over-large, no regular file, or not readable.
            FileNotFoundError: it is gone.
        """
        for _ in range(_READ_ATTEMPTS):
            fd = self._open(file_name)
            try:
                before = os.fstat(fd)
                _check_is_document(before, max_bytes=max_bytes)
                data = _read_all(fd, before.st_size)
                is_written = is_open_for_writing(fd) if self._knows_writers else None
                # After the question: who opened and closed the file since the read has changed its times.
                after = os.fstat(fd)
            finally:
                os.close(fd)
            if is_written:
                break
            if len(data) == before.st_size and stamp_values(after) == stamp_values(before):
                return FileContent(data, after, is_written is False)
        raise BeingWritten

    def write(self, file_name: str, data: bytes) -> FileStamp:
        """Write a document so that a reader, or a crash, sees the old one or the new one whole."""
        temporary = self._write_temporary(data)
        try:
            os.replace(temporary, file_name, src_dir_fd=self._fd, dst_dir_fd=self._fd)
        except BaseException:
            os.unlink(temporary, dir_fd=self._fd)
            raise
        os.fsync(self._fd)
        return FileStamp.of(self._status(file_name))

    def _write_temporary(self, data: bytes) -> str:
        name = f"{_TEMPORARY_PREFIX}{secrets.token_hex(8)}"
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        with open(os.open(name, flags, 0o600, dir_fd=self._fd), "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        return name

    def create(self, file_name: str, data: bytes) -> FileStamp | None:
        """Write a document where no file is, or where the same bytes lie already.

        Returns: The file's stamp, or None where another file is in the place; that one is left alone.
        """
        temporary = self._write_temporary(data)
        try:
            with suppress(FileExistsError):
                # link, unlike rename, never replaces.
                os.link(temporary, file_name, src_dir_fd=self._fd, dst_dir_fd=self._fd)
        finally:
            os.unlink(temporary, dir_fd=self._fd)
        os.fsync(self._fd)
        return FileStamp.of(self._status(file_name)) if self.holds(file_name, data) else None

    def holds(self, file_name: str, data: bytes) -> bool:
        """Tell whether the file has just these bytes."""
        try:
            return self.read(file_name, max_bytes=len(data)).data == data
        except (SkippedFile, FileNotFoundError):
            return False

    @property
    def fd(self) -> int:
        """Descriptor of the folder, for the calls that take ``dir_fd``."""
        return self._fd

    def stamp(self, file_name: str) -> FileStamp:
        """Return the stamp of a file as it is now. Raises: FileNotFoundError: it is gone."""
        return FileStamp.of(self._status(file_name))

    def is_unchanged(self, file_name: str, stamp: FileStamp) -> bool:
        try:
            return self.stamp(file_name) == stamp
        except FileNotFoundError:
            return False

    def has(self, file_name: str) -> bool:
        try:
            self._status(file_name)
        except FileNotFoundError:
            return False
        return True

    def _status(self, file_name: str) -> os.stat_result:
        return os.stat(file_name, dir_fd=self._fd, follow_symlinks=False)

    def _open(self, file_name: str) -> int:
        # NONBLOCK: a pipe that somebody named x.json must not hang the sync.
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        try:
            return os.open(file_name, flags, dir_fd=self._fd)
        except FileNotFoundError:
            raise
        except OSError as error:
            if error.errno == errno.ELOOP:
                raise SkippedFile("is a symbolic link") from None
            raise SkippedFile(f"cannot be read: {error.strerror}") from None


def _check_is_document(status: os.stat_result, *, max_bytes: int) -> None:
    """Refuse what is no document by its type or size.

    Raises: SkippedFile: with the reason.
    """
    if stat.S_ISREG(status.st_mode):
        if status.st_size > max_bytes:
            raise SkippedFile(
                f"is over-large: {status.st_size:,} bytes, the limit is {max_bytes:,} "
                "(RAPTOR_MAX_DOCUMENT_BYTES)"
            )
    elif stat.S_ISLNK(status.st_mode):
        raise SkippedFile("is a symbolic link")
    elif stat.S_ISDIR(status.st_mode):
        raise SkippedFile("is a sub-folder")
    else:
        raise SkippedFile("is not a regular file")


def _read_all(fd: int, size_bytes: int) -> bytes:
    """Read to the end, but never more than one byte over the size that the file had."""
    data = os.read(fd, size_bytes + 1)
    while len(data) <= size_bytes and (more := os.read(fd, size_bytes + 1 - len(data))):
        data += more
    return data
