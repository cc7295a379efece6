"""Moves sessions between the live table and the archive by one statement, past Python."""

from __future__ import annotations

from typing import Any

from django.db import connection
from django.db.models import (
    BigIntegerField,
    BooleanField,
    Count,
    Model,
    QuerySet,
    Sum,
    Value,
)
from django.db.models.functions import Now

from sessions_app.models import ArchivedSession, BrowserSession, CleanupRun, DatabaseClock, StoredSession

# What moves: every stored column of a session, the generated ones being computed anew.
MOVED_COLUMNS = ("id", *(f.attname for f in StoredSession._meta.local_concrete_fields if not f.generated))
_STAMP_COLUMNS = ("file_inode", "file_modified_ns", "file_changed_ns")


def copy_to_archive(run: CleanupRun, sessions: QuerySet[BrowserSession]) -> None:
    """Insert live sessions into the archive, with the run and the reasons."""
    _insert_select(
        ArchivedSession,
        # A session that somebody is writing right now is waited for, and stays if it was changed.
        sessions.select_for_update(),
        run_id=Value(run.pk),
        reasons=run.criteria.reasons(run.as_of),
        removed_at=Now(),
        has_vanished=Value(run.criteria.has_vanished, output_field=BooleanField()),
    )


def copy_to_live(sessions: QuerySet[ArchivedSession]) -> None:
    """Insert archived sessions into the live table, but for those whose names are taken.

    A mirrored session comes without its file's stamp: the file is owed (``files.write_owed_files``).
    It is dated now, so that no plan made while it was away takes it.
    """
    no_stamp = {name: Value(None, output_field=BigIntegerField()) for name in _STAMP_COLUMNS}
    _insert_select(BrowserSession, sessions, updated_at=DatabaseClock(), **no_stamp)


def _insert_select(target: type[Model], source: QuerySet[Any], **changed: Any) -> None:
    kept = [name for name in MOVED_COLUMNS if name not in changed]
    # A value may have the name of a column only under another one.
    select = source.annotate(**{f"to_{name}": value for name, value in changed.items()})
    select = select.values_list(*kept, *(f"to_{name}" for name in changed))
    sql, params = select.query.sql_with_params()
    columns = ", ".join(map(connection.ops.quote_name, (*kept, *changed)))
    table = connection.ops.quote_name(target._meta.db_table)
    with connection.cursor() as cursor:
        # A conflict can only be a name that is taken, for an id is never given twice.
        cursor.execute(f"INSERT INTO {table} ({columns}) {sql} ON CONFLICT DO NOTHING", params)


def totals(sessions: QuerySet[Any], bits: str) -> list[tuple[int, int, int]]:
    """Count sessions and their bytes for each combination of reasons."""
    return list(
        sessions.order_by()
        .values(bits)
        .annotate(sessions=Count("*"), bytes=Sum("size_bytes"))
        .values_list(bits, "sessions", "bytes")
    )
