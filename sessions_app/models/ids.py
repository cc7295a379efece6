"""Ensures that the id of a session is never used for another session.

Runs, plans, events and log entries refer to sessions by their ids, also to deleted ones. The database takes
the next id from a sequence, and the sequence may be too low: on SQLite a migration that rebuilds a table sets
it to the highest id left in that table; on PostgreSQL an incomplete restore does not raise it.
"""

from __future__ import annotations

import logging
from typing import Any

from django.db import connections
from django.db.backends.base.base import BaseDatabaseWrapper

from sessions_app.models import BrowserSession, CleanupRun, PlannedSessions
from sessions_app.transactions import retry_when_busy

logger = logging.getLogger(__name__)

_SESSIONS = BrowserSession._meta.db_table
_RUNS = CleanupRun._meta.db_table
_PLANNED = PlannedSessions._meta.db_table

_sequences_before: dict[str, dict[str, int]] = {}
"""The sequences of SQLite as a migration found them, by database."""


def remember_sequences(using: str, **kwargs: Any) -> None:
    """Record the sequences of all tables before a migration, which may rebuild tables."""
    connection = connections[using]
    _sequences_before[using] = _sqlite_sequences(connection) if connection.vendor == "sqlite" else {}


def repair_after_migration(using: str, **kwargs: Any) -> None:
    """Raise the sequences after a migration."""
    connection = connections[using]
    tables = set(connection.introspection.table_names())
    before = _sequences_before.pop(using, {})
    for table in before.keys() & tables:
        _raise_sequence(connection, table, before[table])
    # A migration backwards may have removed the tables.
    if {_SESSIONS, _RUNS, _PLANNED} <= tables:
        repair_sequence(using)


def repair_sequence(using: str = "default") -> bool:
    """Raise the sequence of sessions above every id that is known.

    Returns: Whether the sequence was behind.
    """
    connection = connections[using]
    return retry_when_busy(lambda: _raise_sequence(connection, _SESSIONS, _highest_id(connection)))


def _highest_id(connection: BaseDatabaseWrapper) -> int:
    """Return the highest id that a session has or had: live, archived, planned, or deleted."""
    # A plan lists its sessions in the order of their ids.
    last_planned = (
        "ids_json -> -1" if connection.vendor == "postgresql" else "JSON_EXTRACT(ids_json, '$[#-1]')"
    )
    columns = (
        (_SESSIONS, "id"),
        (_RUNS, "position"),
        (_RUNS, "undo_position"),
        (_PLANNED, f"CAST({last_planned} AS bigint)"),
    )
    with connection.cursor() as cursor:
        found = []
        for table, column in columns:
            cursor.execute(f"SELECT MAX({column}) FROM {table}")  # noqa: S608
            found.append(cursor.fetchone()[0] or 0)
    return max(found)


def _raise_sequence(connection: BaseDatabaseWrapper, table: str, highest: int) -> bool:
    """Raise the sequence of a table above an id; return whether it was behind."""
    next_id = _next_id(connection, table)
    if next_id > highest:
        return False
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            cursor.execute(f"SELECT setval(pg_get_serial_sequence('{table}', 'id'), %s)", [highest])
        elif table in _sqlite_sequences(connection):
            # Another process may have taken ids in the meantime.
            cursor.execute(
                "UPDATE sqlite_sequence SET seq = %s WHERE name = %s AND seq < %s", [highest, table, highest]
            )
        else:
            cursor.execute("INSERT INTO sqlite_sequence (name, seq) VALUES (%s, %s)", [table, highest])
    logger.warning("The next id of %s was %s and is %s now.", table, next_id, highest + 1)
    return True


def _next_id(connection: BaseDatabaseWrapper, table: str) -> int:
    if connection.vendor != "postgresql":
        return _sqlite_sequences(connection).get(table, 0) + 1
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_get_serial_sequence(%s, 'id')", [table])
        cursor.execute(f"SELECT last_value, is_called FROM {cursor.fetchone()[0]}")  # noqa: S608
        last_value, is_called = cursor.fetchone()
        return int(last_value) + bool(is_called)


def _sqlite_sequences(connection: BaseDatabaseWrapper) -> dict[str, int]:
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1 FROM sqlite_master WHERE name = 'sqlite_sequence'")
        if cursor.fetchone() is None:
            return {}
        cursor.execute("SELECT name, seq FROM sqlite_sequence")
        return dict(cursor.fetchall())
