"""Sets the old tables aside, unless something speaks against the copy, and creates the new ones."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from django.core.management import CommandError
from django.db import transaction
from django.db.models import CheckConstraint

from sessions_app.migrations.one_row.tables import (
    ARCHIVE,
    DOCUMENTS,
    LIVE,
    NEW_IDS,
    OLD_ARCHIVE,
    OLD_LIVE,
    PROGRESS,
    RUNS,
    one_of,
    rows_of,
    run_sql,
    tables_of,
)
from sessions_app.transactions.disk import database_file, free_bytes

HEARTBEAT_LIMIT = timedelta(minutes=2)
ROOM = 1.1
"""Free space that the copy needs, as a multiple of the used part of a SQLite database."""


class CopyRefused(CommandError):
    """The sessions cannot be copied now; nothing was changed."""


def set_aside(connection: Any, now: datetime) -> None:
    """Rename the old tables in one transaction, so that a process with the old code fails loudly.

    Raises: CopyRefused: a run is at work, or there is no room for a second copy.
    """
    if PROGRESS in tables_of(connection):
        return
    refuse_without_room(connection)
    with transaction.atomic(using=connection.alias):
        for old, aside in ((LIVE, OLD_LIVE), (ARCHIVE, OLD_ARCHIVE)):
            _drop_indexes(connection, old)
            run_sql(connection, f"ALTER TABLE {old} RENAME TO {aside}")
        # Checked after the tables were locked.
        _refuse_at_work(connection, now)
        run_sql(
            connection, f"CREATE TABLE {PROGRESS} (step varchar(40) PRIMARY KEY, position bigint NOT NULL)"
        )
        run_sql(
            connection, f"CREATE TABLE {NEW_IDS} (old_id bigint PRIMARY KEY, new_id bigint NOT NULL UNIQUE)"
        )


def create_tables(schema_editor: Any, session: Any, document: Any) -> None:
    """Create the tables of the new models without the indexes, which are built after the copy."""
    connection = schema_editor.connection
    there = tables_of(connection)
    for model, table in ((session, LIVE), (document, DOCUMENTS)):
        if table in there:
            continue
        indexes, constraints = model._meta.indexes, model._meta.constraints
        model._meta.indexes = []
        model._meta.constraints = [one for one in constraints if isinstance(one, CheckConstraint)]
        try:
            with transaction.atomic(using=connection.alias):
                schema_editor.create_model(model)
                # Django would run these statements after the whole migration.
                for statement in schema_editor.deferred_sql:
                    schema_editor.execute(statement)
                schema_editor.deferred_sql.clear()
        finally:
            model._meta.indexes, model._meta.constraints = indexes, constraints


def refuse_without_room(connection: Any) -> None:
    """Refuse if the disk of a SQLite database has no room for a second copy of the sessions.

    The free space of a PostgreSQL server is not visible to its clients.
    """
    file = database_file() if connection.vendor == "sqlite" else None
    if file is None:
        return
    pages = one_of(connection, "PRAGMA page_count") - one_of(connection, "PRAGMA freelist_count")
    needed = int(ROOM * pages * one_of(connection, "PRAGMA page_size"))
    free = free_bytes(file.parent)
    if free is not None and free < needed:
        raise CopyRefused(
            f"The sessions are copied into new tables, which needs {needed:,} bytes in {file.parent}. "
            f"Only {free:,} bytes are free. Nothing was changed."
        )


def _refuse_at_work(connection: Any, now: datetime) -> None:
    found = rows_of(
        connection,
        f"SELECT id FROM {RUNS} WHERE state IN ('running', 'undoing') AND heartbeat_at > %s",  # noqa: S608
        [connection.ops.adapt_datetimefield_value(now - HEARTBEAT_LIMIT)],
    )
    if found:
        raise CopyRefused(f"Run {found[0][0]} is at work. Stop the panel first. Nothing was changed.")


def _drop_indexes(connection: Any, table: str) -> None:
    """Drop the indexes of an old table: the new table's indexes have the same names."""
    if connection.vendor == "postgresql":
        # Foreign keys would keep folders and runs from being deleted.
        constraints = "SELECT conname FROM pg_constraint WHERE conrelid = %s::regclass AND contype IN ('u', 'f')"
        for (name,) in rows_of(connection, constraints, [table]):
            run_sql(connection, f'ALTER TABLE {table} DROP CONSTRAINT "{name}"')
        indexes = (
            "SELECT i.relname FROM pg_index x JOIN pg_class i ON i.oid = x.indexrelid "
            "WHERE x.indrelid = %s::regclass AND NOT x.indisprimary"
        )
    else:
        indexes = "SELECT name FROM sqlite_master WHERE type = 'index' AND tbl_name = %s AND sql IS NOT NULL"
    for (name,) in rows_of(connection, indexes, [table]):
        run_sql(connection, f'DROP INDEX "{name}"')
