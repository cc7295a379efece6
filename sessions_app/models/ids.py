"""Ensures that the id of a session is never used for another session.

A session keeps its id in the archive. The database takes the next id from a sequence, and the sequence may be
too low: on SQLite a migration that rebuilds a table sets it to the highest id left in that table; on
PostgreSQL an incomplete restore does not raise it.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import Any, NamedTuple

from django.apps import apps
from django.db import connections, transaction
from django.db.backends.base.base import BaseDatabaseWrapper

from sessions_app.models import ArchivedSession, BrowserSession, CleanupRun, PlannedSessions, SessionDirectory
from sessions_app.session.files import rename_aside
from sessions_app.transactions import retry_when_busy

logger = logging.getLogger(__name__)

_LIVE = BrowserSession._meta.db_table
_ARCHIVE = ArchivedSession._meta.db_table
_RUNS = CleanupRun._meta.db_table
_PLANNED = PlannedSessions._meta.db_table
_LOG = "django_admin_log"

_sequences_before: dict[str, dict[str, int]] = {}
"""The sequences of SQLite as a migration found them, by database."""


class _Pair(NamedTuple):
    """An id that a live and an archived session share, and the new id of the archived one."""

    old_id: int
    new_id: int
    run_id: int
    directory_id: int | None
    live_since: Any


def remember_sequences(using: str, **kwargs: Any) -> None:
    """Record the sequences of all tables before a migration, which may rebuild tables."""
    connection = connections[using]
    _sequences_before[using] = _sqlite_sequences(connection) if connection.vendor == "sqlite" else {}


def repair_after_migration(using: str, **kwargs: Any) -> None:
    """Raise the sequences after a migration, and separate live and archived sessions that share an id."""
    connection = connections[using]
    tables = set(connection.introspection.table_names())
    before = _sequences_before.pop(using, {})
    for table in before.keys() & tables:
        _raise_sequence(connection, table, before[table])
    # A migration backwards may have removed the tables.
    if {_LIVE, _ARCHIVE, _RUNS, _PLANNED} <= tables:
        pairs = retry_when_busy(lambda: _repair(connection, has_log=_LOG in tables))
        _rename_asides(pairs)


def repair_sequence(using: str = "default") -> bool:
    """Raise the sequence of sessions above every id that is known.

    Returns: Whether the sequence was behind.
    """
    connection = connections[using]
    return retry_when_busy(lambda: _raise_sequence(connection, _LIVE, _highest_id(connection)))


def _repair(connection: BaseDatabaseWrapper, *, has_log: bool) -> list[_Pair]:
    with transaction.atomic(using=connection.alias):
        highest = _highest_id(connection)
        _raise_sequence(connection, _LIVE, highest)
        pairs = _pairs(connection, max(highest, _next_id(connection, _LIVE) - 1))
        for pair in pairs:
            with connection.cursor() as cursor:
                cursor.execute(
                    f"UPDATE {_ARCHIVE} SET id = %s WHERE id = %s",  # noqa: S608
                    [pair.new_id, pair.old_id],
                )
            if has_log:
                _move_log(connection, pair)
        if pairs:
            _move_planned(connection, pairs)
            _raise_sequence(connection, _LIVE, pairs[-1].new_id)
            logger.warning(
                "%s archived sessions shared their id with a live session and have new ids: %s to %s.",
                len(pairs),
                pairs[0].new_id,
                pairs[-1].new_id,
            )
    return pairs


def _highest_id(connection: BaseDatabaseWrapper) -> int:
    """Return the highest id that a session has or had: live, archived, planned, or deleted."""
    # A plan lists its sessions in the order of their ids.
    last_planned = (
        "ids_json -> -1" if connection.vendor == "postgresql" else "JSON_EXTRACT(ids_json, '$[#-1]')"
    )
    columns = (
        (_LIVE, "id"),
        (_ARCHIVE, "id"),
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


def _pairs(connection: BaseDatabaseWrapper, highest: int) -> list[_Pair]:
    live = BrowserSession.objects.using(connection.alias)
    with connection.cursor() as cursor:
        cursor.execute(
            f"SELECT id, run_id, directory_id FROM {_ARCHIVE} "  # noqa: S608
            f"WHERE id IN (SELECT id FROM {_LIVE}) ORDER BY id"
        )
        rows = cursor.fetchall()
    return [
        _Pair(old_id, new_id, run_id, directory_id, live.values_list("added_at", flat=True).get(pk=old_id))
        for new_id, (old_id, run_id, directory_id) in enumerate(rows, start=highest + 1)
    ]


def _move_planned(connection: BaseDatabaseWrapper, pairs: list[_Pair]) -> None:
    """Write the new ids into the plans that list the archived sessions."""
    plans = PlannedSessions.objects.using(connection.alias)
    for run_id, ids, sealed_at in list(plans.values_list("pk", "ids_json", "run__sealed_at")):
        listed = set(ids)
        new_ids = {
            pair.old_id: pair.new_id
            for pair in pairs
            if pair.old_id in listed and (pair.run_id == run_id or sealed_at <= pair.live_since)
        }
        if new_ids:
            plans.filter(pk=run_id).update(ids_json=sorted(new_ids.get(pk, pk) for pk in ids))


def _move_log(connection: BaseDatabaseWrapper, pair: _Pair) -> None:
    """Move the log entries of an archived session to its new id, so that its history keeps them."""
    if not apps.is_installed("django.contrib.admin"):
        return
    from django.contrib.admin.models import LogEntry

    LogEntry.objects.using(connection.alias).filter(
        content_type__app_label=BrowserSession._meta.app_label,
        content_type__model=BrowserSession._meta.model_name,
        object_id=str(pair.old_id),
        action_time__lt=pair.live_since,
    ).update(object_id=str(pair.new_id))


def _rename_asides(pairs: Iterable[_Pair]) -> None:
    """Rename the files that a killed removal has set aside, so that a sync finds their sessions."""
    for pair in pairs:
        if pair.directory_id is None:
            continue
        path = SessionDirectory.objects.values_list("path", flat=True).get(pk=pair.directory_id)
        try:
            rename_aside(path, pair.old_id, pair.new_id)
        except OSError as error:
            logger.warning("%s cannot be looked through: %s", path, error.strerror)


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
