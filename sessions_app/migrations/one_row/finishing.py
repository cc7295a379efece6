"""Compares the copy with the old tables, builds the indexes, and raises the sequence of ids."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from django.core.management import CommandError
from django.db.models import CheckConstraint

from sessions_app.migrations.one_row.copying import Source, batches
from sessions_app.migrations.one_row.shared_ids import highest_id
from sessions_app.migrations.one_row.tables import (
    DOCUMENTS,
    LIVE,
    NEW_IDS,
    OLD_ARCHIVE,
    OLD_LIVE,
    OURS,
    is_done,
    one_of,
    record_done,
    rows_of,
    run_sql,
    tables_of,
)


class CopyDiffers(CommandError):
    """The copy differs from the old tables, which are kept as they were."""


def compare(connection: Any, found: Iterable[Source], progress: Callable[[int], None]) -> None:
    """Compare the numbers, the bytes, each shared column, and each document.

    Raises: CopyDiffers.
    """
    if is_done(connection, "compare"):
        return
    _compare_totals(connection)
    for source in found:
        for after, last, count in batches(connection, source.table, 0):
            _compare_batch(connection, source, after, last)
            progress(count)
    record_done(connection, "compare")


def _compare_totals(connection: Any) -> None:
    old = rows_of(
        connection,
        "SELECT COUNT(*), COALESCE(SUM(size_bytes), 0) FROM "  # noqa: S608
        f"(SELECT size_bytes FROM {OLD_LIVE} UNION ALL SELECT size_bytes FROM {OLD_ARCHIVE}) both_tables",
    )
    new = rows_of(connection, f"SELECT COUNT(*), COALESCE(SUM(size_bytes), 0) FROM {LIVE}")  # noqa: S608
    documents = one_of(connection, f"SELECT COUNT(*) FROM {DOCUMENTS}")  # noqa: S608
    if old != new or documents != new[0][0]:
        raise CopyDiffers(
            f"The old tables have {old[0][0]:,} sessions of {old[0][1]:,} bytes; the new ones have "
            f"{new[0][0]:,} of {new[0][1]:,}, and {documents:,} documents. The old tables are kept."
        )


def _compare_batch(connection: Any, source: Source, after: int, last: int) -> None:
    differs = "IS DISTINCT FROM" if connection.vendor == "postgresql" else "IS NOT"
    pairs = [f"n.{name} {differs} o.{name}" for name in (*source.columns, "problems", "idle_since")]
    pairs += [f"d.{name} {differs} o.{name}" for name in ("cdp_url", "document", "last_good_document")]
    pairs.append("n.run_id IS NOT NULL" if source.step == "live" else "n.run_id IS NULL")
    key = "o.id" if source.step == "live" else "COALESCE(m.new_id, o.id)"
    different = rows_of(
        connection,
        f"SELECT o.id FROM {source.table} o LEFT JOIN {NEW_IDS} m ON m.old_id = o.id "  # noqa: S608
        f"LEFT JOIN {LIVE} n ON n.id = {key} LEFT JOIN {DOCUMENTS} d ON d.session_id = n.id "
        "WHERE o.id > %s AND o.id <= %s "
        f"AND (n.id IS NULL OR d.session_id IS NULL OR {' OR '.join(pairs)}) LIMIT 1",
        [after, last],
    )
    if different:
        raise CopyDiffers(
            f"The copy of session {different[0][0]} of {source.table} differs. The old tables are kept."
        )


def build_indexes(schema_editor: Any, session: Any) -> None:
    """Build the indexes that do not exist yet. On both databases each one is built completely or not at all."""
    connection = schema_editor.connection
    is_postgresql = connection.vendor == "postgresql"
    names = "SELECT indexname FROM pg_indexes" if is_postgresql else "SELECT name FROM sqlite_master"
    there = {name for (name,) in rows_of(connection, names)}
    for index in session._meta.indexes:
        if index.name not in there:
            schema_editor.add_index(session, index)
    for constraint in session._meta.constraints:
        if constraint.name not in there and not isinstance(constraint, CheckConstraint):
            schema_editor.add_constraint(session, constraint)
    # Django would run these statements after the whole migration.
    for statement in schema_editor.deferred_sql:
        schema_editor.execute(statement)
    schema_editor.deferred_sql.clear()


def raise_sequence(connection: Any) -> None:
    """Let the next session have an id that no session had."""
    highest = highest_id(connection)
    if connection.vendor == "postgresql":
        if highest:
            run_sql(connection, f"SELECT setval(pg_get_serial_sequence('{LIVE}', 'id'), %s)", [highest])
        run_sql(connection, f"ANALYZE {LIVE}")
    elif run_sql(connection, "UPDATE sqlite_sequence SET seq = MAX(seq, %s) WHERE name = %s", [highest, LIVE]) == 0:
        run_sql(connection, "INSERT INTO sqlite_sequence (name, seq) VALUES (%s, %s)", [LIVE, highest])


def drop_old_tables(connection: Any) -> bool:
    """Drop the old tables and the progress; return False if there were none."""
    there = tables_of(connection).intersection(OURS)
    for table in sorted(there):
        run_sql(connection, f"DROP TABLE {table}")
    return bool(there)
