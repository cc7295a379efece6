"""Makes room for the database on a full disk, so that users can log in and clean up.

A reserve file next to a SQLite database is released at the first error of a full disk, and allocated again by
``tasks.tidy_up``. SQLite cannot delete without room for its write-ahead log, so without a reserve a full disk
could not be emptied through the panel. PostgreSQL has no reserve: its disk may be on another machine.
"""

from __future__ import annotations

import errno
import functools
import logging
import os
import sqlite3
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path
from typing import ParamSpec, TypeVar

from sessions_app.transactions.disk import NoRoom, database_file, database_folder, free_bytes, is_disk_full

logger = logging.getLogger(__name__)
_P = ParamSpec("_P")
_T = TypeVar("_T")

RESERVE_NAME = "disk-reserve"
SHARE_OF_FREE = 8
"""The reserve takes at most one eighth of the free space, so that it does not fill a small disk."""

MIN_BYTES = 1024 * 1024
"""Minimum size of the reserve. A login needs 0.1 MB; a smaller reserve would not be useful."""

_WRITTEN_BYTES = 1024 * 1024


def reserve_bytes() -> int:
    """Return the size of the reserve; 0 if another Django project uses the app."""
    from django.conf import settings

    return int(getattr(settings, "RAPTOR_RESERVE_BYTES", 0))


def allocate_reserve() -> bool:
    """Allocate the reserve file if there is room for it; return whether there is one.

    Its size is ``RAPTOR_RESERVE_BYTES`` (0 disables it), or less on a small disk. Later calls can enlarge
    it.
    """
    folder = database_folder()
    free = None if folder is None else free_bytes(folder)
    if folder is None or free is None:
        return False
    path = folder / RESERVE_NAME
    held = _size_of(path)
    size = min(reserve_bytes(), (free + held) // SHARE_OF_FREE)
    if held >= size or size < MIN_BYTES:
        return held > 0
    # Several processes may do this at the same time; they allocate the same blocks.
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        _allocate(fd, size)
    except OSError as error:
        with suppress(OSError):
            os.ftruncate(fd, 0)
        logger.warning("The reserve %s could not be allocated: %s", path, error.strerror)
        return False
    finally:
        os.close(fd)
    return True


def release_reserve() -> bool:
    """Free the space of the reserve; return whether this call freed it.

    The file is truncated, not deleted. This works on a full disk and in several processes at the same time.
    """
    folder = database_folder()
    if folder is None or not _size_of(folder / RESERVE_NAME):
        return False
    try:
        os.truncate(folder / RESERVE_NAME, 0)
    except OSError as error:
        logger.warning("The reserve in %s could not be released: %s", folder, error.strerror)
        return False
    logger.warning(
        "The disk of %s is full: the reserve was released, so that sessions can be removed.", folder
    )
    return True


def refuse_growth() -> None:
    """Refuse new sessions while the reserve is released: its space is for logins and removing sessions.

    Raises: NoRoom: treated like a full disk.
    """
    folder, size = database_folder(), reserve_bytes()
    if folder is not None and size and is_released(folder) and (free_bytes(folder) or 0) < size:
        raise NoRoom


def is_released(folder: Path) -> bool:
    """Check whether the reserve of a folder was released and not allocated again."""
    try:
        return (folder / RESERVE_NAME).stat().st_size == 0
    except OSError:
        return False


def make_room() -> bool:
    """Free the space of the reserve and of the write-ahead log.

    Inside a transaction only the reserve is released.

    Returns: Whether trying again may succeed.
    """
    from django.db import connection

    if connection.vendor != "sqlite":
        return False
    had_reserve = release_reserve()
    return not connection.in_atomic_block and (truncate_log() or had_reserve)


def truncate_log() -> bool:
    """Copy SQLite's write-ahead log into the database file and truncate it.

    Returns: Whether it was truncated; this is not possible while another process reads from it.
    """
    from django.db import Error, connection

    if connection.vendor != "sqlite" or connection.in_atomic_block:
        return False
    try:
        with connection.cursor() as cursor:
            is_busy = cursor.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]
    except Error:
        # The database file could not grow, or the connection is reading. The log is unchanged.
        return False
    return not is_busy


def truncate_log_at_stop(file: Path | None = None) -> None:
    """Checkpoint the database when a program stops, so that a copy of the database file is complete.

    Opens its own connection, because Django may not be set up, or its connections may be those of killed
    processes.
    """
    file = file or database_file()
    if file is None or not file.exists():
        return
    try:
        with closing(sqlite3.connect(f"{file.as_uri()}?mode=rw", uri=True, timeout=0.2)) as database:
            database.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    except sqlite3.Error as error:
        logger.warning("The write-ahead log of %s could not be checkpointed: %s", file, error)


def retry_with_room(work: Callable[_P, _T]) -> Callable[_P, _T]:
    """Decorate a transaction: if the disk is full, make room and repeat it once."""

    @functools.wraps(work)
    def call(*args: _P.args, **kwargs: _P.kwargs) -> _T:
        try:
            return work(*args, **kwargs)
        except Exception as error:
            if not is_disk_full(error) or not make_room():
                raise
        return work(*args, **kwargs)

    return call


@retry_with_room
def open_database() -> None:
    """Connect, and make room if necessary: SQLite allocates a 32 kB file of shared memory even to read."""
    from django.db import connection

    if connection.vendor == "sqlite":
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1 FROM sqlite_master LIMIT 1").fetchall()


def _size_of(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


def _allocate(fd: int, size: int) -> None:
    """Allocate real blocks for a file, so that no other program can use them."""
    if hasattr(os, "posix_fallocate"):
        try:
            os.posix_fallocate(fd, 0, size)
        except OSError as error:
            if error.errno not in (errno.EOPNOTSUPP, errno.EINVAL):
                raise
        else:
            return
    os.lseek(fd, 0, os.SEEK_SET)
    # Random bytes, so that a compressing file system allocates all blocks.
    block = os.urandom(_WRITTEN_BYTES)
    for _ in range(0, size, _WRITTEN_BYTES):
        os.write(fd, block)
    os.fsync(fd)
