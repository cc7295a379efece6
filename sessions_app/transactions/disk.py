"""Recognizes errors caused by a full disk, and builds the message that is shown for them.

Django is not imported at the top, because this module is also used before Django is set up.
"""

from __future__ import annotations

import errno
import os
import sqlite3
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sessions_app.text import manage_command

SQLITE_IOERR, SQLITE_FULL, SQLITE_CANTOPEN = 10, 13, 14
"""Primary result codes. Python 3.11 reports the extended code, whose low byte is the primary code."""

POSTGRESQL_DISK_FULL = "53100"

FULL_BELOW_BYTES = 1024 * 1024
"""SQLite reports some failed allocations as I/O errors (SQLITE_IOERR_SHMSIZE for the 32 kB of ``-shm``).
They count as a full disk if less than this is free."""

_FULL_ERRNOS = (errno.ENOSPC, errno.EDQUOT)


class NoRoom(Exception):
    """The database must not grow: the remaining space is reserved for logins and for removing sessions."""


def is_disk_full(error: BaseException | None) -> bool:
    """Check whether a full disk caused an error, directly or through other exceptions."""
    return _cause_of_full_disk(error) is not None


def disk_full_message(error: BaseException | None, *, folder: str | os.PathLike[str] = "") -> str:
    """Return a message that names the full disk and the remedy; blank if the error has another cause.

    Args:
        folder: The folder that was written to, for file errors that do not name it.
    """
    cause = _cause_of_full_disk(error)
    if cause is None:
        return ""
    if isinstance(cause, OSError):
        return _other_folder_message(_named_folder(cause) or folder)
    if _sqlstate(cause) == POSTGRESQL_DISK_FULL:
        return (
            f"The disk is full: database server {_database_host()}. Empty the archive "
            f"({manage_command('empty_archive')}), or free space on that machine."
        )
    database, temporary = database_folder(), _temporary_folder()
    if database is None:
        return _other_folder_message("")
    if _is_full(temporary) and not _is_full(database):
        # SQLite sorts large results in a temporary file, and its message is the same.
        return _other_folder_message(temporary)
    return (
        f"The disk is full: {database}{_free_note(database)}. Empty the archive "
        f"({manage_command('empty_archive')}), free space there, or stop the panel and move its folder "
        "(RAPTOR_VAR_DIR) to a larger disk."
    )


def reason(error: OSError) -> str:
    """Return why an operation on a file failed, as part of a sentence."""
    return "the disk is full" if is_disk_full(error) else str(error.strerror or error)


def free_bytes(folder: str | os.PathLike[str]) -> int | None:
    """Return the bytes that are free for this user on the disk of a folder; None if this cannot be read.

    A file system without free inodes has no room either.
    """
    try:
        status = os.statvfs(folder)
    except OSError:
        return None
    if status.f_files and not status.f_favail:
        return 0
    return status.f_bavail * status.f_frsize


def database_folder() -> Path | None:
    """Return the folder of the SQLite database; None on a server, in memory, or without Django's settings."""
    file = database_file()
    return file.parent if file else None


def database_file() -> Path | None:
    """Return the file of the SQLite database; None on a server, in memory, or without Django's settings."""
    from django.core.exceptions import ImproperlyConfigured
    from django.db import connection

    try:
        name = str(connection.settings_dict["NAME"])
        is_file = connection.vendor == "sqlite" and os.path.isabs(name)  # noqa: PTH117  # text may be a URI
    except ImproperlyConfigured:
        return None
    return Path(name) if is_file else None


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)


def _cause_of_full_disk(error: BaseException | None) -> BaseException | None:
    return next((cause for cause in _causes(error) if _is_of_full_disk(cause)), None)


def _is_of_full_disk(error: BaseException) -> bool:
    if isinstance(error, OSError):
        return error.errno in _FULL_ERRNOS
    if isinstance(error, NoRoom) or _sqlstate(error) == POSTGRESQL_DISK_FULL:
        return True
    code = _sqlite_code(error)
    return code == SQLITE_FULL or (code in (SQLITE_IOERR, SQLITE_CANTOPEN) and _is_full(database_folder()))


def _sqlite_code(error: BaseException) -> int | None:
    """Return the primary result code of an error of SQLite."""
    if not isinstance(error, sqlite3.Error):
        return None
    code = getattr(error, "sqlite_errorcode", None)
    return None if code is None else int(code) & 0xFF


def _sqlstate(error: BaseException) -> Any:
    return getattr(error, "sqlstate", None)


def _is_full(folder: Path | None) -> bool:
    free = None if folder is None else free_bytes(folder)
    return free is not None and free < FULL_BELOW_BYTES


def _other_folder_message(folder: str | os.PathLike[str]) -> str:
    place = f": {folder}{_free_note(folder)}. Free space there" if folder else ". Free space on it"
    return f"The disk is full{place}, then try again."


def _named_folder(error: OSError) -> str:
    """Return the folder of the file that an error names by an absolute path; blank if it names none."""
    name = error.filename
    return os.path.dirname(name) if isinstance(name, str) and os.path.isabs(name) else ""  # noqa: PTH117, PTH120


def _temporary_folder() -> Path:
    return Path(os.environ.get("SQLITE_TMPDIR") or tempfile.gettempdir())


def _free_note(folder: str | os.PathLike[str]) -> str:
    free = free_bytes(folder)
    return "" if free is None else f" ({free // (1024 * 1024):,} MB free)"


def _database_host() -> str:
    from django.db import connection

    return str(connection.settings_dict.get("HOST") or "on this machine")
