"""Stores estimates of the sizes of indexes for SQLite's planner.

Without statistics, SQLite takes every partial index for half of the table. All indexes of live sessions are
partial, so it would scan the smallest rows instead of the fewest. These estimates replace statistics that a
database does not have; ``ANALYZE`` overwrites them with measured ones.
"""

from __future__ import annotations

from typing import Any

from django.db import connections, transaction

from sessions_app.models.session import BrowserSession
from sessions_app.transactions import retry_when_busy

_ESTIMATED_ROWS = {
    "session_invalid": 100_000,
    "session_pinned": 50_000,
    "session_browser_state": 100_000,
    "session_owed": 1_000,
    "session_owed_by_run": 1_000,
    "session_in_use": 100,
}


def give_hints(using: str, **kwargs: Any) -> None:
    """Store the estimates for indexes without statistics; a migration may have built an index again."""
    connection = connections[using]
    if (
        connection.vendor == "sqlite"
        and BrowserSession._meta.db_table in connection.introspection.table_names()
    ):
        retry_when_busy(lambda: _store(connection))


def _store(connection: Any) -> None:
    table = BrowserSession._meta.db_table
    columns = {index.name: len(index.fields) for index in BrowserSession._meta.indexes}
    with transaction.atomic(using=connection.alias), connection.cursor() as cursor:
        cursor.execute("SELECT name FROM sqlite_master WHERE name = 'sqlite_stat1'")
        if not cursor.fetchall():
            # Only ANALYZE can create the table; an empty table leaves no statistics.
            cursor.execute("CREATE TABLE sessions_app_no_rows (id integer)")
            cursor.execute("ANALYZE sessions_app_no_rows")
            cursor.execute("DROP TABLE sessions_app_no_rows")
        cursor.execute("SELECT idx FROM sqlite_stat1 WHERE tbl = %s", [table])
        known = {name for (name,) in cursor.fetchall()}
        for name in _ESTIMATED_ROWS.keys() - known:
            statistics = " ".join([str(_ESTIMATED_ROWS[name]), *["1"] * columns[name]])
            cursor.execute("INSERT INTO sqlite_stat1 VALUES (%s, %s, %s)", [table, name, statistics])
        # Other connections read the estimates when they open the database.
        cursor.execute("ANALYZE sqlite_master")
