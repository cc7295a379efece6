"""The check for open cursors, which is active in all tests, reports violations."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from django.db import OperationalError
from django.db.backends.sqlite3.base import DatabaseWrapper

from tests.open_cursors import expected_violations, take_violations

# The tests open their own connections, which pytest-django permits only with this mark.
pytestmark = pytest.mark.django_db

ROWS = 30


def connect(path: Path) -> Any:
    """Open a connection as the panel does, whatever database the tests run on."""
    connection = DatabaseWrapper(
        {
            "NAME": str(path),
            "OPTIONS": {"init_command": "PRAGMA journal_mode=WAL", "transaction_mode": "IMMEDIATE"},
            "AUTOCOMMIT": True,
            "CONN_HEALTH_CHECKS": False,
            "CONN_MAX_AGE": 0,
            "TIME_ZONE": None,
            "TEST": {},
        },
        "watched",
    )
    connection.inc_thread_sharing()
    return connection


@pytest.fixture
def own(tmp_path: Path) -> Iterator[Any]:
    connection = connect(tmp_path / "own.sqlite3")
    with connection.cursor() as cursor:
        cursor.execute("CREATE TABLE thing (id INTEGER PRIMARY KEY, size INTEGER)")
        cursor.executemany("INSERT INTO thing (size) VALUES (%s)", [(1,)] * ROWS)
    yield connection
    connection.close()


def write(connection: Any) -> None:
    with connection.cursor() as cursor:
        cursor.execute("UPDATE thing SET size = 2 WHERE id = 1")


def read_in_chunks(connection: Any) -> Any:
    cursor = connection.chunked_cursor()
    cursor.execute("SELECT id FROM thing")
    # These are all rows, but the loop that reads them does not know that yet.
    assert len(cursor.fetchmany(100)) == ROWS
    return cursor


def read_one(connection: Any) -> Any:
    cursor = connection.cursor()
    cursor.execute("SELECT id FROM thing")
    assert cursor.fetchone() == (1,)
    return cursor


def loop(connection: Any) -> Any:
    cursor = connection.cursor()
    rows = iter(cursor.execute("SELECT id FROM thing"))
    assert next(rows) == (1,)
    return rows


@pytest.mark.parametrize("read", [read_in_chunks, read_one, loop])
def test_a_write_beside_unread_rows_is_reported_with_both_statements(
    own: Any, read: Callable[[Any], Any]
) -> None:
    with expected_violations() as found:
        rows = read(own)
        write(own)
        del rows
    (message,) = found
    assert "UPDATE thing" in message
    assert "SELECT id FROM thing" in message
    assert "test_open_cursors.py" in message


def test_the_start_of_a_transaction_counts_as_a_write(own: Any) -> None:
    with expected_violations() as found:
        cursor = read_one(own)
        own.set_autocommit(False, force_begin_transaction_with_broken_autocommit=True)
        own.rollback()
        cursor.close()
    assert "BEGIN IMMEDIATE" in found[0]


def test_the_connection_of_a_thread_is_watched_too(own: Any, tmp_path: Path) -> None:
    def work() -> None:
        connection = connect(tmp_path / "own.sqlite3")
        cursor = read_one(connection)
        write(connection)
        cursor.close()
        connection.close()

    with expected_violations() as found:
        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
    assert len(found) == 1


def test_cursors_that_are_exhausted_closed_or_of_another_connection_are_allowed(
    own: Any, tmp_path: Path
) -> None:
    other = connect(tmp_path / "own.sqlite3")
    unread = read_one(other)
    for end in (lambda cursor: cursor.fetchall(), lambda cursor: list(cursor), lambda cursor: cursor.close()):
        cursor = read_one(own)
        end(cursor)
        write(own)
    cursor = own.chunked_cursor()
    cursor.execute("SELECT id FROM thing")
    while cursor.fetchmany(7):
        pass
    write(own)
    # A cursor without references has been closed.
    read_one(own)
    write(own)
    unread.close()
    other.close()
    assert take_violations() == []


def test_sqlite_refuses_such_a_write_if_another_connection_has_committed(own: Any, tmp_path: Path) -> None:
    other = connect(tmp_path / "own.sqlite3")
    with expected_violations() as found:
        cursor = read_one(own)
        write(other)
        with pytest.raises(OperationalError, match="database is locked"):
            write(own)
        cursor.close()
    write(own)
    assert len(found) == 1
    other.close()
