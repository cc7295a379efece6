"""The operation of migration 0025: one table for live and removed sessions, and one for documents."""

from __future__ import annotations

from typing import Any

from django.db.migrations.operations import SeparateDatabaseAndState

from sessions_app.migrations.one_row.begin import CopyRefused, create_tables, set_aside
from sessions_app.migrations.one_row.counting import bar
from sessions_app.migrations.one_row.copying import copy_sessions, sources
from sessions_app.migrations.one_row.finishing import build_indexes, compare, drop_old_tables, raise_sequence
from sessions_app.migrations.one_row.shared_ids import separate
from sessions_app.migrations.one_row.tables import (
    ARCHIVE,
    DOCUMENTS,
    LIVE,
    OLD_ARCHIVE,
    OLD_LIVE,
    PROGRESS,
    is_done,
    one_of,
    record_done,
    run_sql,
    tables_of,
)
from sessions_app.models.clock import database_now

_APP = "sessions_app"


class CopyIntoOneTable(SeparateDatabaseAndState):
    """Replaces the tables of live and of removed sessions by one table, without losing a byte.

    Each step is one transaction, or leaves a row of progress with each batch. After a crash the migration
    continues where it was. The old tables stay under other names until ``drop_old_tables``.
    """

    reversible = True

    def database_forwards(self, app_label: str, schema_editor: Any, from_state: Any, to_state: Any) -> None:
        connection = schema_editor.connection
        set_aside(connection, database_now())
        if is_done(connection, "all"):
            return
        session = to_state.apps.get_model(_APP, "BrowserSession")
        create_tables(schema_editor, session, to_state.apps.get_model(_APP, "SessionDocument"))
        separate(connection)
        old_live, old_archive = (
            from_state.apps.get_model(_APP, name) for name in ("BrowserSession", "ArchivedSession")
        )
        found = sources(old_live, old_archive, session)
        with bar(connection) as progress:
            for source in found:
                copy_sessions(connection, source, progress)
            compare(connection, found, progress)
        build_indexes(schema_editor, session)
        raise_sequence(connection)
        record_done(connection, "all")
        if not _has_rows(connection, OLD_LIVE) and not _has_rows(connection, OLD_ARCHIVE):
            drop_old_tables(connection)

    def database_backwards(self, app_label: str, schema_editor: Any, from_state: Any, to_state: Any) -> None:
        connection = schema_editor.connection
        if _has_rows(connection, LIVE):
            raise CopyRefused("Sessions cannot be copied back into two tables. Restore a backup instead.")
        drop_old_tables(connection)
        for table in (DOCUMENTS, LIVE):
            run_sql(connection, f"DROP TABLE {table}")
        for name in ("BrowserSession", "ArchivedSession"):
            schema_editor.create_model(to_state.apps.get_model(_APP, name))

    def describe(self) -> str:
        return "Store each session in one row for life, and its document in a table of its own"


def _has_rows(connection: Any, table: str) -> bool:
    return bool(one_of(connection, f"SELECT EXISTS(SELECT 1 FROM {table})"))  # noqa: S608
