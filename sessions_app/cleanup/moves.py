"""Moves sessions between the live table and the archive within the database.

Exactly the rows that were inserted on one side are deleted on the other. PostgreSQL does both in one
statement. SQLite, which has one writer at a time, needs two.
"""

from __future__ import annotations

from typing import Any

from django.db import connection
from django.db.models import (
    BigIntegerField,
    BooleanField,
    Count,
    Exists,
    Func,
    JSONField,
    Model,
    OuterRef,
    QuerySet,
    Sum,
    Value,
)
from django.db.models.functions import Now
from django.db.models.sql import DeleteQuery

from sessions_app.models import ArchivedSession, BrowserSession, CleanupRun, DatabaseClock, StoredSession
from sessions_app.session.files import STAMP_COLUMNS

# All stored columns of a session. The database computes the generated columns again.
MOVED_COLUMNS = ("id", *(f.attname for f in StoredSession._meta.local_concrete_fields if not f.generated))
_LIVE = BrowserSession._meta.db_table
_ARCHIVE = ArchivedSession._meta.db_table
_Statement = tuple[str, tuple[Any, ...]]


class _Appended(Func):
    """A JSON list, or NULL, with a number appended."""

    output_field = JSONField()

    def as_sqlite(self, compiler: Any, connection: Any, **context: Any) -> tuple[str, tuple[Any, ...]]:
        return self._fill("JSON_INSERT(COALESCE({}, '[]'), '$[#]', {})", compiler)

    def as_postgresql(self, compiler: Any, connection: Any, **context: Any) -> tuple[str, tuple[Any, ...]]:
        return self._fill("(COALESCE({}, '[]'::jsonb) || TO_JSONB({}))", compiler)

    def _fill(self, template: str, compiler: Any) -> tuple[str, tuple[Any, ...]]:
        (numbers, params), (number, more_params) = map(compiler.compile, self.get_source_expressions())
        return template.format(numbers, number), (*params, *more_params)


def move_to_archive(
    run: CleanupRun, sessions: QuerySet[BrowserSession], archived: QuerySet[ArchivedSession]
) -> list[tuple[int, int, int]]:
    """Move live sessions to the archive, with the run and the reasons, in the caller's transaction.

    The statement waits for sessions that other transactions have locked, and skips those that were changed.

    Args:
        sessions: Sessions to move, filtered by their own columns only.
        archived: Matches the same sessions in the archive, and nothing before the move.
    Returns: For each combination of reasons: its bits, sessions and bytes.
    """
    if connection.vendor != "postgresql":
        _execute(_insert_into_archive(run, sessions))
        # Delete exactly the rows that are in the archive now.
        deleted = _execute(_delete(BrowserSession.objects.filter(pk__in=archived.values("pk"))))
        groups = totals(archived, "reasons")
        if deleted != (count := sum(count for _, count, _ in groups)):
            raise RuntimeError(f"Archived {count:,} sessions but deleted {deleted:,}; rolled back.")
        return groups
    delete, delete_params = _delete(sessions)
    # The deleted rows have the name of the table, so that the INSERT reads them instead of the table.
    insert, insert_params = _insert_into_archive(run, BrowserSession.objects.order_by())
    with connection.cursor() as cursor:
        cursor.execute(
            f"WITH {_LIVE} AS ({delete} RETURNING *), "  # noqa: S608
            f"archived AS ({insert} RETURNING reasons, size_bytes) "
            "SELECT reasons, COUNT(*), SUM(size_bytes) FROM archived GROUP BY reasons",
            (*delete_params, *insert_params),
        )
        return [(bits, count, int(size)) for bits, count, size in cursor.fetchall()]


def move_to_live(sessions: QuerySet[ArchivedSession]) -> tuple[int, int]:
    """Move archived sessions to the live table, in the caller's transaction; skip those with taken names.

    A mirrored session is restored without a file stamp until its file is written (``restore_missing_files``).
    ``updated_at`` is set, so that plans made while it was archived do not remove it. ``restored_at`` and
    ``past_runs`` record the restoration.

    Returns: Number of restored sessions, and bytes of their documents.
    """
    no_stamp = {name: Value(None, output_field=BigIntegerField()) for name in STAMP_COLUMNS}
    # Another undo, or the emptying of the archive, may process these sessions at the same time.
    locked = sessions.order_by("pk").select_for_update()
    insert, params = _insert_select(
        BrowserSession,
        locked,
        updated_at=DatabaseClock(),
        restored_at=DatabaseClock(),
        past_runs=_Appended("past_runs", "run_id"),
        **no_stamp,
    )
    # Only a name can conflict, because an id is never used twice.
    insert += " ON CONFLICT DO NOTHING"
    if connection.vendor != "postgresql":
        _execute((insert, params))
        # Delete exactly the rows that are in the live table now.
        restored = sessions.filter(Exists(BrowserSession.objects.filter(pk=OuterRef("pk"))))
        found = restored.order_by().aggregate(count=Count("*"), bytes=Sum("size_bytes", default=0))
        restored.delete()
        return found["count"], found["bytes"]
    with connection.cursor() as cursor:
        cursor.execute(
            f"WITH restored AS ({insert} RETURNING id, size_bytes), "  # noqa: S608
            f"gone AS (DELETE FROM {_ARCHIVE} WHERE id IN (SELECT id FROM restored)) "
            "SELECT COUNT(*), COALESCE(SUM(size_bytes), 0) FROM restored",
            params,
        )
        count, size = cursor.fetchone()
        return count, int(size)


def totals(sessions: QuerySet[Any], bits: str) -> list[tuple[int, int, int]]:
    """Count sessions and their bytes for each combination of reasons."""
    return list(
        sessions.order_by()
        .values(bits)
        .annotate(sessions=Count("*"), bytes=Sum("size_bytes"))
        .values_list(bits, "sessions", "bytes")
    )


def _insert_into_archive(run: CleanupRun, sessions: QuerySet[BrowserSession]) -> _Statement:
    return _insert_select(
        ArchivedSession,
        sessions,
        run_id=Value(run.pk),
        reasons=run.criteria.reasons(run.as_of),
        removed_at=Now(),
        has_vanished=Value(run.criteria.has_vanished, output_field=BooleanField()),
    )


def _insert_select(target: type[Model], source: QuerySet[Any], **changed: Any) -> _Statement:
    kept = [name for name in MOVED_COLUMNS if name not in changed]
    # An annotation must not have the name of a column.
    select = source.annotate(**{f"to_{name}": value for name, value in changed.items()})
    select = select.values_list(*kept, *(f"to_{name}" for name in changed))
    sql, params = select.query.sql_with_params()
    columns = ", ".join(map(connection.ops.quote_name, (*kept, *changed)))
    return f"INSERT INTO {target._meta.db_table} ({columns}) {sql}", params


def _delete(sessions: QuerySet[Any]) -> _Statement:
    query = sessions.order_by().query.chain(DeleteQuery)
    sql, params = query.get_compiler(connection=connection).as_sql()
    return sql, tuple(params)


def _execute(statement: _Statement) -> int:
    with connection.cursor() as cursor:
        cursor.execute(*statement)
        return int(cursor.rowcount)
