"""Turns the column ``past_runs`` into events. The times are those of the runs."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import datetime
from typing import Any, NamedTuple

from sessions_app.migrations.one_row.tables import EVENTS, NEW_IDS, OLD_ARCHIVE, RUNS, rows_of

_UNKNOWN = "It happened before this time; the exact time is unknown."


class _Run(NamedTuple):
    started_at: Any
    finished_at: Any
    undo_started_at: Any
    undone_at: Any
    undone_by: str


class _Row(NamedTuple):
    """A session, and what is known of its latest restoration."""

    key: int
    numbers: list[int]
    restored_at: Any
    updated_at: Any


def insert_events(connection: Any, table: str, after: int, last: int) -> None:
    """Insert the earlier restorations of a batch, with their removals, in its transaction."""
    rows = [
        _Row(key, json.loads(numbers), restored_at, updated_at)
        for key, numbers, restored_at, updated_at in _rows(connection, table, after, last)
    ]
    if not rows:
        return
    runs = _runs(connection, {number for row in rows for number in row.numbers})
    events = [event for row in rows for event in _events(row, runs)]
    with connection.cursor() as cursor:
        cursor.executemany(
            f"INSERT INTO {EVENTS} (session_key, run_key, code, removed_at, at, actor, details) "  # noqa: S608
            "VALUES (%s, %s, 'restored', %s, %s, %s, %s)",
            events,
        )


def _rows(connection: Any, table: str, after: int, last: int) -> list[tuple[Any, ...]]:
    key, moved = "o.id", ""
    if table == OLD_ARCHIVE:
        key, moved = "COALESCE(m.new_id, o.id)", f"LEFT JOIN {NEW_IDS} m ON m.old_id = o.id"
    return rows_of(
        connection,
        f"SELECT {key}, CAST(o.past_runs AS text), o.restored_at, o.updated_at FROM {table} o {moved} "  # noqa: S608
        "WHERE o.id > %s AND o.id <= %s AND o.past_runs IS NOT NULL ORDER BY o.id",
        [after, last],
    )


def _runs(connection: Any, numbers: set[int]) -> dict[int, _Run]:
    found: dict[int, _Run] = {}
    ordered = sorted(numbers)
    for start in range(0, len(ordered), 500):
        some = ordered[start : start + 500]
        marks = ", ".join(["%s"] * len(some))
        for number, *values in rows_of(
            connection,
            "SELECT id, started_at, finished_at, undo_started_at, undone_at, undone_by "  # noqa: S608
            f"FROM {RUNS} WHERE id IN ({marks})",
            some,
        ):
            found[number] = _Run(*values)
    return found


def _events(row: _Row, runs: dict[int, _Run]) -> list[tuple[Any, ...]]:
    """Return the events of a session, the earliest first, in the order of the columns of the INSERT."""
    return [*_latest_first(row, runs)][::-1]


def _latest_first(row: _Row, runs: dict[int, _Run]) -> Iterator[tuple[Any, ...]]:
    # The row has the time of the last restoration only; earlier ones are derived from the runs.
    restored_at, until = row.restored_at, row.restored_at or row.updated_at
    for number in reversed(row.numbers):
        run = runs.get(number)
        undo_at = _undo_at(run, until)
        restored_at = restored_at or undo_at
        actor = run.undone_by if run and undo_at else ""
        details = "" if restored_at else _UNKNOWN
        removed_at = _removed_at(run, restored_at or until)
        yield row.key, number, removed_at, restored_at or until, actor, details
        restored_at, until = None, removed_at or until


def _undo_at(run: _Run | None, until: datetime) -> Any:
    """Return when an undo restored the session; None if it had been restored separately before."""
    if run is None or run.undo_started_at is None or run.undo_started_at > until:
        return None
    return min(run.undone_at or run.undo_started_at, until)


def _removed_at(run: _Run | None, until: datetime) -> Any:
    """Return when the run ended, or when it started if the session was restored before the end."""
    if run is None:
        return None
    has_ended = run.finished_at is not None and run.finished_at <= until
    return run.finished_at if has_ended else run.started_at
