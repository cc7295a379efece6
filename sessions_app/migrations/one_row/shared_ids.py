"""Gives a removed session that shares its id with a live one a new id, which its references follow."""

from __future__ import annotations

import json
import logging
from typing import Any, NamedTuple

from django.db import transaction

from sessions_app.migrations.one_row.tables import (
    EVENTS,
    NEW_IDS,
    OLD_ARCHIVE,
    OLD_LIVE,
    PLANNED,
    RUNS,
    SEARCH,
    is_done,
    one_of,
    record_done,
    rows_of,
    run_sql,
    tables_of,
)
from sessions_app.session.files import rename_aside

logger = logging.getLogger(__name__)

_LOG = "django_admin_log"


class _Pair(NamedTuple):
    """An id that a live and a removed session share, and the new id of the removed one."""

    old_id: int
    new_id: int
    run_id: int
    live_since: Any


def separate(connection: Any) -> None:
    """Choose the new ids and change the references, in one transaction; then rename files set aside."""
    if not is_done(connection, "ids"):
        with transaction.atomic(using=connection.alias):
            _choose(connection)
            record_done(connection, "ids")
    if not is_done(connection, "asides"):
        _rename_asides(connection)
        record_done(connection, "asides")


def highest_id(connection: Any) -> int:
    """Return the highest id that a session of the old tables has or had."""
    last = "ids_json -> -1" if connection.vendor == "postgresql" else "JSON_EXTRACT(ids_json, '$[#-1]')"
    columns = [
        (OLD_LIVE, "id"),
        (OLD_ARCHIVE, "id"),
        (NEW_IDS, "new_id"),
        (RUNS, "position"),
        (RUNS, "undo_position"),
        (PLANNED, f"CAST({last} AS bigint)"),
    ]
    found = [one_of(connection, f"SELECT MAX({column}) FROM {table}") or 0 for table, column in columns]  # noqa: S608
    if connection.vendor == "postgresql":
        sequence = one_of(connection, f"SELECT pg_get_serial_sequence('{OLD_LIVE}', 'id')")
        found.append(one_of(connection, f"SELECT last_value FROM {sequence}"))  # noqa: S608
    else:
        found += [seq for (seq,) in rows_of(connection, "SELECT seq FROM sqlite_sequence WHERE name = %s", [OLD_LIVE])]
    return max(found)


def _choose(connection: Any) -> None:
    rows = rows_of(
        connection,
        "SELECT removed.id, removed.run_id, live.added_at "  # noqa: S608
        f"FROM {OLD_ARCHIVE} removed JOIN {OLD_LIVE} live ON live.id = removed.id ORDER BY removed.id",
    )
    if not rows:
        return
    first = highest_id(connection) + 1
    pairs = [_Pair(old, new, run, since) for new, (old, run, since) in enumerate(rows, start=first)]
    with connection.cursor() as cursor:
        cursor.executemany(
            f"INSERT INTO {NEW_IDS} (old_id, new_id) VALUES (%s, %s)",  # noqa: S608
            [(pair.old_id, pair.new_id) for pair in pairs],
        )
    # The worker indexes both sessions again.
    run_sql(connection, f"DELETE FROM {SEARCH} WHERE session_key IN (SELECT old_id FROM {NEW_IDS})")  # noqa: S608
    has_log = _LOG in tables_of(connection)
    for pair in pairs:
        _move_events(connection, pair)
        if has_log:
            _move_log(connection, pair)
    _move_planned(connection, pairs)
    logger.warning("%s removed sessions shared their id with a live session and have new ids.", len(pairs))


def _move_events(connection: Any, pair: _Pair) -> None:
    run_sql(
        connection,
        f"UPDATE {EVENTS} SET session_key = %s WHERE session_key = %s AND at < %s",  # noqa: S608
        [pair.new_id, pair.old_id, pair.live_since],
    )


def _move_log(connection: Any, pair: _Pair) -> None:
    run_sql(
        connection,
        f"UPDATE {_LOG} SET object_id = %s WHERE object_id = %s AND action_time < %s "  # noqa: S608
        "AND content_type_id IN (SELECT id FROM django_content_type "
        "WHERE app_label = 'sessions_app' AND model = 'browsersession')",
        [str(pair.new_id), str(pair.old_id), pair.live_since],
    )


def _move_planned(connection: Any, pairs: list[_Pair]) -> None:
    """Write the new ids into the plans that list the removed sessions."""
    plans = rows_of(
        connection,
        f"SELECT p.run_id, p.ids_json, r.sealed_at FROM {PLANNED} p JOIN {RUNS} r ON r.id = p.run_id",  # noqa: S608
    )
    for run_id, text, sealed_at in plans:
        ids = json.loads(text)
        listed = set(ids)
        new_ids = {
            pair.old_id: pair.new_id
            for pair in pairs
            if pair.old_id in listed and (pair.run_id == run_id or sealed_at <= pair.live_since)
        }
        if new_ids:
            changed = json.dumps(sorted(new_ids.get(pk, pk) for pk in ids))
            run_sql(
                connection,
                f"UPDATE {PLANNED} SET ids_json = %s WHERE run_id = %s",  # noqa: S608
                [changed, run_id],
            )


def _rename_asides(connection: Any) -> None:
    """Rename the files that a killed removal has set aside, so that a sync finds their sessions."""
    found = rows_of(
        connection,
        f"SELECT m.old_id, m.new_id, d.path FROM {NEW_IDS} m "  # noqa: S608
        f"JOIN {OLD_ARCHIVE} a ON a.id = m.old_id JOIN sessions_app_sessiondirectory d ON d.id = a.directory_id",
    )
    for old_id, new_id, path in found:
        try:
            rename_aside(path, old_id, new_id)
        except OSError as error:
            logger.warning("%s cannot be looked through: %s", path, error.strerror)
