from __future__ import annotations

import errno
import os
import sqlite3
from collections import namedtuple
from pathlib import Path
from typing import Any

import psycopg
import pytest
from django.db.utils import OperationalError

from sessions_app.transactions import disk, is_busy

MB = 1024 * 1024
FOLDER = Path("/srv/raptor")
_Status = namedtuple("_Status", "f_bavail f_frsize f_files f_favail")


def sqlite_error(code: int, text: str) -> sqlite3.OperationalError:
    error = sqlite3.OperationalError(text)
    error.sqlite_errorcode = code
    return error


def wrapped(cause: Exception) -> Exception:
    """Wrap an error as Django does."""
    try:
        raise OperationalError(str(cause)) from cause
    except OperationalError as error:
        return error


@pytest.fixture
def free(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A function that sets the free bytes of the database's disk and of all others."""

    def set_free(of_database: int, others: int = 500 * MB, *, inodes: int = 1000) -> None:
        def statvfs(folder: Any) -> _Status:
            free = of_database if Path(folder) == FOLDER else others
            return _Status(free // 4096, 4096, 5000, inodes)

        monkeypatch.setattr(os, "statvfs", statvfs)

    monkeypatch.setattr(disk, "database_folder", lambda: FOLDER)
    set_free(0)
    return set_free


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_and_a_used_up_quota_are_recognized(number: int) -> None:
    assert disk.is_disk_full(OSError(number, os.strerror(number)))


def test_other_errors_are_not_a_full_disk(free: Any) -> None:
    for error in (None, ValueError("disk is full"), OSError(errno.EIO, "I/O error"), PermissionError()):
        assert not disk.is_disk_full(error)


def test_a_full_disk_of_sqlite_is_recognized_in_an_error_of_django() -> None:
    assert disk.is_disk_full(wrapped(sqlite_error(13, "database or disk is full")))


def raised_while_handling_a_full_disk(*, is_hidden: bool) -> Exception:
    error = RuntimeError("the commit failed")
    error.__context__ = OSError(errno.ENOSPC, "No space left on device")
    error.__suppress_context__ = is_hidden
    return error


def test_an_indirect_cause_is_recognized_unless_it_is_suppressed() -> None:
    assert disk.is_disk_full(raised_while_handling_a_full_disk(is_hidden=False))
    assert not disk.is_disk_full(raised_while_handling_a_full_disk(is_hidden=True))


@pytest.mark.parametrize("code", [10, 778, 1034, 4874, 14])
def test_io_errors_are_a_full_disk_only_if_nothing_is_free(free: Any, code: int) -> None:
    error = wrapped(sqlite_error(code, "disk I/O error"))
    assert disk.is_disk_full(error)
    free(500 * MB)
    assert not disk.is_disk_full(error)
    free(500 * MB, inodes=0)
    assert disk.is_disk_full(error)


@pytest.mark.parametrize("code", [5, 517, 6, 262])
def test_a_lock_is_busy_and_not_a_full_disk(free: Any, code: int) -> None:
    error = wrapped(sqlite_error(code, "database is locked"))
    assert is_busy(error)
    assert not disk.is_disk_full(error)
    assert not is_busy(wrapped(sqlite_error(13, "database or disk is full")))
    assert not is_busy(wrapped(sqlite_error(10, "disk I/O error")))


def test_errors_of_postgresql_are_distinguished() -> None:
    assert disk.is_disk_full(wrapped(psycopg.errors.DiskFull("could not extend file")))
    assert is_busy(wrapped(psycopg.errors.LockNotAvailable("canceling statement")))
    assert not is_busy(wrapped(psycopg.errors.DiskFull("could not extend file")))


def test_the_message_names_the_folder_of_the_database_and_what_to_do(free: Any) -> None:
    free(3 * MB)
    message = disk.disk_full_message(wrapped(sqlite_error(13, "database or disk is full")))
    assert message.startswith("The disk is full: /srv/raptor (3 MB free). ")
    for advice in ("empty_archive", "RAPTOR_VAR_DIR"):
        assert advice in message


def test_the_message_names_the_folder_that_was_written_to(free: Any) -> None:
    error = OSError(errno.ENOSPC, "No space left on device", "a.json")
    assert disk.disk_full_message(error, folder="/home/ci/sessions").startswith(
        "The disk is full: /home/ci/sessions (500 MB free)."
    )
    named = OSError(errno.ENOSPC, "No space left on device", "/var/log/raptor/log")
    assert "/var/log/raptor (500 MB free)" in disk.disk_full_message(named)
    assert disk.disk_full_message(error).startswith("The disk is full. ")


def test_a_full_disk_of_temporary_files_is_named(free: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SQLITE_TMPDIR", "/scratch")
    free(500 * MB, others=0)
    message = disk.disk_full_message(wrapped(sqlite_error(13, "database or disk is full")))
    assert message.startswith("The disk is full: /scratch (0 MB free).")


def test_the_message_names_the_database_server() -> None:
    message = disk.disk_full_message(wrapped(psycopg.errors.DiskFull("could not extend file")))
    assert message.startswith("The disk is full: database server ")


def test_other_errors_have_no_message(free: Any) -> None:
    assert disk.disk_full_message(wrapped(sqlite_error(5, "database is locked"))) == ""
    assert disk.disk_full_message(None) == ""
