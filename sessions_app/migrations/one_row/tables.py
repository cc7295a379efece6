"""The names of the tables, and the progress of the copy, which outlives a killed process."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

LIVE = "sessions_app_browsersession"
ARCHIVE = "sessions_app_archivedsession"
DOCUMENTS = "sessions_app_sessiondocument"
OLD_LIVE = f"{LIVE}_old"
OLD_ARCHIVE = f"{ARCHIVE}_old"
RUNS = "sessions_app_cleanuprun"
PLANNED = "sessions_app_plannedsessions"
EVENTS = "sessions_app_sessionevent"
SEARCH = "sessions_app_sessionsearch"

PROGRESS = "sessions_app_onerow_progress"
NEW_IDS = "sessions_app_onerow_ids"
"""New ids of removed sessions that shared their ids with live sessions."""

OURS = (OLD_LIVE, OLD_ARCHIVE, PROGRESS, NEW_IDS)
"""The tables that exist only until ``drop_old_tables``."""


def tables_of(connection: Any) -> set[str]:
    return set(connection.introspection.table_names())


def run_sql(connection: Any, sql: str, params: Sequence[Any] = ()) -> int:
    with connection.cursor() as cursor:
        cursor.execute(sql, list(params))
        return int(cursor.rowcount)


def rows_of(connection: Any, sql: str, params: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(sql, list(params))
        return list(cursor.fetchall())


def one_of(connection: Any, sql: str, params: Sequence[Any] = ()) -> Any:
    return rows_of(connection, sql, params)[0][0]


def position_of(connection: Any, step: str) -> int | None:
    """Return the last id that a step has processed; None if it has not begun."""
    found = rows_of(connection, f"SELECT position FROM {PROGRESS} WHERE step = %s", [step])  # noqa: S608
    return int(found[0][0]) if found else None


def record_position(connection: Any, step: str, position: int) -> None:
    """Store the progress of a step, in the transaction of its batch."""
    changed = run_sql(
        connection, f"UPDATE {PROGRESS} SET position = %s WHERE step = %s", [position, step]  # noqa: S608
    )
    if not changed:
        run_sql(
            connection, f"INSERT INTO {PROGRESS} (step, position) VALUES (%s, %s)", [step, position]  # noqa: S608
        )


def is_done(connection: Any, step: str) -> bool:
    return position_of(connection, f"{step} done") is not None


def record_done(connection: Any, step: str) -> None:
    record_position(connection, f"{step} done", 0)
