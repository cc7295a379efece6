"""Makes room for the database on a full disk, so that people can log in and clean up.

A reserve file next to a SQLite database is given up at the first error of a full disk, and taken again by
``tasks.tidy_up``. SQLite cannot delete without room for its write-ahead log, so without a reserve a full disk
could not be emptied through the panel. On PostgreSQL there is no reserve: the disk that fills up is the
server's, and a file of ours would be on another one.
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
"""The reserve takes at most one part in eight of what is free: it must not be what fills a small disk."""

MIN_BYTES = 1024 * 1024
"""A login takes 0.1 MB; a smaller reserve would not let anybody work."""

_WRITTEN_BYTES = 1024 * 1024


def allocate_reserve() -> bool:
    """Allocate the reserve file, as far as there is room for it; return whether there is one.

    Its size is ``RAPTOR_RESERVE_BYTES`` (0 switches it off), or less on a small disk. It grows when there is
    more room later.
    """
    folder = database_folder()
    free = None if folder is None else free_bytes(folder)
    if folder is None or free is None:
        return False
    path = folder / RESERVE_NAME
    held = _size_of(path)
    size = min(_reserve_bytes(), (free + held) // SHARE_OF_FREE)
    if held >= size or size < MIN_BYTES:
        return held > 0
    # Several processes may do this at once: each allocates the same blocks.
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
    """Return the reserve's space to the disk; return whether this call did.

    The file stays, empty: cutting it works on a full disk, and several processes may do it at once.
    """
    folder = database_folder()
    if folder is None or not _size_of(folder / RESERVE_NAME):
        return False
    try:
        os.truncate(folder / RESERVE_NAME, 0)
    except OSError as error:
        logger.warning("The reserve in %s could not be given up: %s", folder, error.strerror)
        return False
    logger.warning(
        "The disk of %s is full: the reserve was given up, so that sessions can be removed.", folder
    )
    return True


def refuse_growth() -> None:
    """Keep new sessions out while the reserve is given up: its space is for logins and for removing sessions.

    Raises: NoRoom: as a full disk.
    """
    folder, size = database_folder(), _reserve_bytes()
    if folder is None or not size:
        return
    reserve = folder / RESERVE_NAME
    if reserve.exists() and not _size_of(reserve) and (free_bytes(folder) or 0) < size:
        raise NoRoom


def make_room() -> bool:
    """Give up the reserve and return the space of the write-ahead log to the disk.

    Within a transaction only the reserve is given up.

    Returns: Whether trying again may succeed.
    """
    from django.db import connection

    if connection.vendor != "sqlite":
        return False
    had_reserve = release_reserve()
    return not connection.in_atomic_block and (truncate_log() or had_reserve)


def truncate_log() -> bool:
    """Copy SQLite's write-ahead log into the database file and cut it to nothing.

    Returns: Whether it is cut; not while another process reads from it.
    """
    from django.db import Error, connection

    if connection.vendor != "sqlite" or connection.in_atomic_block:
        return False
    try:
        with connection.cursor() as cursor:
            is_busy = cursor.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]
    except Error:
        # The database file could not grow, or the connection is reading: the log stays as it is.
        return False
    return not is_busy


def truncate_log_at_stop(file: Path | None = None) -> None:
    """Checkpoint the database as the last thing that a program does, so that a copy of its file is whole.

    Uses a connection of its own: Django may not be set up in the program that stops, or its connections may
    belong to processes that were killed.
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
    """Decorate one transaction: where the disk is full, make room and call it once more."""

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
    """Connect, and make room where even reading needs it: SQLite shares 32 kB of memory through a file."""
    from django.db import connection

    if connection.vendor == "sqlite":
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1 FROM sqlite_master LIMIT 1").fetchall()


def _reserve_bytes() -> int:
    """Return the size of the reserve: the panel has one, other projects that use the sessions have none."""
    from django.conf import settings

    return int(getattr(settings, "RAPTOR_RESERVE_BYTES", 0))


def _size_of(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


def _allocate(fd: int, size: int) -> None:
    """Give a file real blocks, so that no other program can have them."""
    if hasattr(os, "posix_fallocate"):
        try:
            os.posix_fallocate(fd, 0, size)
        except OSError as error:
            if error.errno not in (errno.EOPNOTSUPP, errno.EINVAL):
                raise
        else:
            return
    os.lseek(fd, 0, os.SEEK_SET)
    # Random, so that a file system that compresses stores them all.
    block = os.urandom(_WRITTEN_BYTES)
    for _ in range(0, size, _WRITTEN_BYTES):
        os.write(fd, block)
    os.fsync(fd)
