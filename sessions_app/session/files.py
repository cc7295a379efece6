"""Lists, reads and writes the files of a session directory.

All functions work relative to an open folder, so replacing the folder at its path has no effect on them.
"""

from __future__ import annotations

import errno
import os
import stat
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple, Self

from sessions_app.session.file_access import FileAccess
from sessions_app.session.file_facts import (
    INODE_MASK,
    STAMP_COLUMNS,
    FileFacts,
    FileStamp,
    access_of,
    stamp_of,
    stamp_values,
)
from sessions_app.session.file_leases import is_open_for_writing, knows_all_writers
from sessions_app.session.file_writing import TEMPORARY_PREFIX, complete_half, create_file, write_temporary
from sessions_app.session.links import open_without_links

SUFFIX = ".json"
ASIDE_PREFIX = ".removing-"
_ABANDONED_AFTER_SECONDS = 3_600
_READ_ATTEMPTS = 3
# O_NONBLOCK, because opening a named pipe called x.json must not block the sync.
_READ_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC

__all__ = [
    "ASIDE_PREFIX",
    "STAMP_COLUMNS",
    "SUFFIX",
    "BusyFile",
    "FileContent",
    "FileFacts",
    "FileStamp",
    "SessionFolder",
    "SkippedFile",
    "access_of",
    "stamp_of",
    "stamp_values",
]


class SkippedFile(Exception):
    """A file that is not a document or cannot be read; the message completes a sentence about the file."""


class BusyFile(SkippedFile):
    """A file that another process may be writing, so its content may be incomplete."""

    def __init__(self, message: str = "is being written; the next sync tries again") -> None:
        super().__init__(message)


class FileContent(NamedTuple):
    """The content of a file at an instant at which no process was known to be writing it.

    Args:
        is_closed: Whether no process has the file open for writing. False if the operating system does not
            show this; the content is then complete only if the stamp does not change for the settle time.
    """

    data: bytes
    facts: FileFacts
    is_closed: bool

    @property
    def stamp(self) -> FileStamp:
        return self.facts.stamp


class SessionFolder:
    """An open session directory.

    ``folders.open_folder`` opens the folder of a ``SessionDirectory`` and checks that it is the right one.

    Raises: OSError: there is no such folder, it may not be read, or a link is in its path.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self._fd = open_without_links(self.path)
        status = os.fstat(self._fd)
        self.identity = (status.st_dev & INODE_MASK, status.st_ino & INODE_MASK)
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
        """Yield the entries whose names end in .json, of any file type."""
        with os.scandir(self._fd) as entries:
            for entry in entries:
                if entry.name.endswith(SUFFIX):
                    yield entry
                elif entry.name.startswith(ASIDE_PREFIX):
                    self.left_aside.append(entry.name)
                elif entry.name.startswith(TEMPORARY_PREFIX):
                    self.temporary.append(entry.name)

    def names_aside(self) -> list[str]:
        """Return the names of files that were set aside for their removal, also those left by a crash."""
        with os.scandir(self._fd) as entries:
            return [entry.name for entry in entries if entry.name.startswith(ASIDE_PREFIX)]

    def remove_abandoned(self) -> None:
        """Remove the incomplete documents of killed writers, which may contain endpoints."""
        for name in self.temporary:
            with suppress(OSError):
                if time.time() - self._status(name).st_mtime > _ABANDONED_AFTER_SECONDS:
                    os.unlink(name, dir_fd=self._fd)

    def read(self, file_name: str, *, max_bytes: int) -> FileContent:
        """Read a whole document that no process has open for writing.

        Raises:
            BusyFile: a process has the file open for writing, or has just changed it.
            SkippedFile: the file is too large, not a regular file, or not readable.
            FileNotFoundError: the file is gone.
        """
        for _ in range(_READ_ATTEMPTS):
            fd = self._open(file_name)
            try:
                before = os.fstat(fd)
                _check_is_document(before, max_bytes=max_bytes)
                data = _read_all(fd, before.st_size)
                is_written = is_open_for_writing(fd) if self._knows_writers else None
                # After the lease, to detect a process that has opened and closed the file in between.
                facts = FileFacts.of(os.fstat(fd))
            finally:
                os.close(fd)
            if is_written:
                break
            if len(data) == before.st_size and facts[:4] == stamp_values(before):
                return FileContent(data, facts, is_written is False)
        raise BusyFile

    def write(self, file_name: str, data: bytes, *, access: FileAccess | None = None) -> FileFacts:
        """Write a document atomically: readers, or a crash, see either the old or the new document.

        The mode, owner and group of a replaced file are kept, as far as permitted.

        Args:
            access: The mode, owner and group of a new file.
        """
        temporary = write_temporary(self._fd, data, self._access(file_name) or access)
        try:
            os.replace(temporary, file_name, src_dir_fd=self._fd, dst_dir_fd=self._fd)
        except BaseException:
            os.unlink(temporary, dir_fd=self._fd)
            raise
        os.fsync(self._fd)
        return FileFacts.of(self._status(file_name))

    def _access(self, file_name: str) -> FileAccess | None:
        with suppress(FileNotFoundError):
            status = self._status(file_name)
            return FileAccess.of(status) if stat.S_ISREG(status.st_mode) else None
        return None

    def create(self, file_name: str, data: bytes, *, access: FileAccess | None = None) -> FileFacts | None:
        """Write a document without replacing another file.

        An existing file with the same bytes is kept, and one that contains their beginning is completed.

        Args:
            access: The mode, owner and group of the file, as far as permitted.
        Returns: The facts of the file, or None if another file has the name.
        Raises:
            BusyFile: another process may be writing the existing file.
            OSError: the folder cannot be written to.
        """
        try:
            create_file(self._fd, file_name, data, access)
        except FileExistsError:
            found = self._read_at_most(file_name, data)
            if found is None or found.data == data:
                return found and found.facts
            try:
                # Complete only a file that a crash of the panel may have left.
                if not data.startswith(found.data) or not complete_half(self._fd, file_name, data, access):
                    return None
            except BlockingIOError as error:
                raise BusyFile(f"cannot be completed: {error.strerror}; the next sync tries again") from None
        os.fsync(self._fd)
        found = self._read_at_most(file_name, data)
        return found.facts if found and found.data == data else None

    def _read_at_most(self, file_name: str, data: bytes) -> FileContent | None:
        """Read a file that is at most as long as ``data``; return None if there is no such document."""
        try:
            return self.read(file_name, max_bytes=len(data))
        except BusyFile:
            raise
        except (SkippedFile, FileNotFoundError):
            return None

    def holds(self, file_name: str, data: bytes) -> bool:
        """Check whether the file contains exactly these bytes."""
        try:
            return self.read(file_name, max_bytes=len(data)).data == data
        except (SkippedFile, FileNotFoundError):
            return False

    @property
    def fd(self) -> int:
        """The descriptor of the folder, for calls that take ``dir_fd``."""
        return self._fd

    def stamp(self, file_name: str) -> FileStamp:
        """Return the current stamp of a file. Raises: FileNotFoundError: the file is gone."""
        return FileStamp.of(self._status(file_name))

    def holds_inode(self, file_name: str, inode: int | None, modified_ns: int | None) -> bool:
        """Check whether the file has this inode and modification time."""
        try:
            status = self._status(file_name)
        except OSError:
            return False
        return (status.st_ino & INODE_MASK, status.st_mtime_ns) == (inode, modified_ns)

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
        try:
            return os.open(file_name, _READ_FLAGS, dir_fd=self._fd)
        except FileNotFoundError:
            raise
        except OSError as error:
            if error.errno == errno.ELOOP:
                raise SkippedFile("is a symbolic link") from None
            raise SkippedFile(f"cannot be read: {error.strerror}") from None


def _check_is_document(status: os.stat_result, *, max_bytes: int) -> None:
    """Check the type and size of a file.

    Raises: SkippedFile: the file is not a document; the message gives the reason.
    """
    if stat.S_ISREG(status.st_mode):
        if status.st_size > max_bytes:
            limit = f"{max_bytes:,} (RAPTOR_MAX_DOCUMENT_BYTES)"
            raise SkippedFile(f"is too large: {status.st_size:,} bytes, the limit is {limit}")
    elif stat.S_ISLNK(status.st_mode):
        raise SkippedFile("is a symbolic link")
    elif stat.S_ISDIR(status.st_mode):
        raise SkippedFile("is a folder")
    else:
        raise SkippedFile("is not a regular file")


def _read_all(fd: int, size_bytes: int) -> bytes:
    """Read a file up to its size, and one byte more if it has grown. Later growth changes its stamp."""
    data = os.read(fd, size_bytes + 1)
    while len(data) < size_bytes and (more := os.read(fd, size_bytes + 1 - len(data))):
        data += more
    return data


def rename_aside(path: str, old_id: int, new_id: int) -> None:
    """Rename the files that were set aside for a session after the session got a new id."""
    old, new = f"{ASIDE_PREFIX}{old_id}", f"{ASIDE_PREFIX}{new_id}"
    with suppress(FileNotFoundError):
        for name in os.listdir(path):  # noqa: PTH208
            if name == old or name.startswith(f"{old}-"):
                os.rename(f"{path}/{name}", f"{path}/{new}{name.removeprefix(old)}")  # noqa: PTH104
