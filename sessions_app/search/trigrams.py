"""The index of the database on parts of texts: FTS5 of SQLite, or ``pg_trgm`` of PostgreSQL.

Both index each three successive characters. Without them, everything works except the search for parts of
texts in all sessions.
"""

from __future__ import annotations

import logging
from typing import Any

from django.db import DatabaseError, connection, transaction

from sessions_app.models import SessionSearch
from sessions_app.transactions import retried_when_busy

logger = logging.getLogger(__name__)

TABLE = SessionSearch._meta.db_table
INDEX = "sessions_app_search_trigrams"

_ready: dict[str, bool] = {}

_ADD = f"INSERT INTO {INDEX} (rowid, text) VALUES (new.session_key, new.text)"  # noqa: S608
_DROP = f"INSERT INTO {INDEX} ({INDEX}, rowid, text) VALUES ('delete', old.session_key, old.text)"  # noqa: S608
_TRIGGERS = {
    f"{INDEX}_insert": f"AFTER INSERT ON {TABLE} BEGIN {_ADD}; END",
    f"{INDEX}_delete": f"AFTER DELETE ON {TABLE} BEGIN {_DROP}; END",
    f"{INDEX}_update": f"AFTER UPDATE OF text ON {TABLE} WHEN old.text <> new.text "
    f"BEGIN {_DROP}; {_ADD}; END",
}
"""Keep the index equal to the table, also when Django flushes it."""


def prepare() -> bool:
    """Create what is missing of the index; a second call changes nothing.

    Returns: Whether the database has the index. On PostgreSQL it needs the extension ``pg_trgm``, which the
    owner of the database may create.
    """
    if is_ready():
        _drop_statistics()
        return True
    try:
        return _prepare_postgresql() if connection.vendor == "postgresql" else _prepare_sqlite()
    except DatabaseError as error:
        logger.warning("The search index cannot be created, so only recent sessions are searched: %s", error)
        return False


def prepare_after_migration(using: str, **kwargs: Any) -> None:
    """Create the index after a migration; if that fails, the worker tries again."""
    # A migration backwards may have removed the table.
    if using == connection.alias and TABLE in connection.introspection.table_names():
        prepare()


def is_ready() -> bool:
    """Check whether the index exists and is complete."""
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            cursor.execute(
                "SELECT indisvalid FROM pg_index WHERE indexrelid = TO_REGCLASS(%s)",
                [INDEX],
            )
            found = cursor.fetchone()
            return bool(found and found[0])
        names = (INDEX, *_TRIGGERS)
        marks = ", ".join(["%s"] * len(names))
        cursor.execute(f"SELECT COUNT(*) FROM sqlite_master WHERE name IN ({marks})", names)  # noqa: S608
        return bool(cursor.fetchone()[0] == len(names))


def was_ready() -> bool:
    """Check whether the index existed when this process looked for it; it is created only once."""
    if not _ready.get(connection.alias):
        _ready[connection.alias] = is_ready()
    return _ready[connection.alias]


@retried_when_busy
def rebuild() -> None:
    """Build the index again from the texts."""
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            cursor.execute(f"REINDEX INDEX {INDEX}")
        else:
            cursor.execute(f"INSERT INTO {INDEX} ({INDEX}) VALUES ('rebuild')")  # noqa: S608


def is_damaged() -> bool:
    """Check whether the index of SQLite differs from the texts; PostgreSQL has no such check.

    Reads the whole index, about a minute for a million sessions.
    """
    if connection.vendor == "postgresql":
        return False
    try:
        # 1: compare it with the texts too.
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(f"INSERT INTO {INDEX} ({INDEX}, rank) VALUES ('integrity-check', 1)")  # noqa: S608
    except DatabaseError as error:
        if "malformed" not in str(error):
            raise
        return True
    return False


@retried_when_busy
def _drop_statistics() -> None:
    """Delete the statistics that ``ANALYZE`` stores of the tables of FTS5 while they are small.

    With them, SQLite scans a table for each small change of the index: measured, adding texts to an index of
    100,000 takes 20 times as long.
    """
    if connection.vendor != "sqlite" or "sqlite_stat1" not in connection.introspection.table_names():
        return
    with connection.cursor() as cursor:
        cursor.execute("SELECT COUNT(*) FROM sqlite_stat1 WHERE tbl LIKE %s", [f"{INDEX}%"])
        if not cursor.fetchone()[0]:
            return
        cursor.execute("DELETE FROM sqlite_stat1 WHERE tbl LIKE %s", [f"{INDEX}%"])
    if not connection.in_atomic_block:
        # A connection keeps the statistics that it has read.
        connection.close()


def _prepare_sqlite() -> bool:
    with connection.cursor() as cursor:
        if not _has_trigrams(cursor):
            logger.warning("This SQLite has no FTS5 with trigrams, so only recent sessions are searched.")
            # Without them, texts can still be stored.
            for name in _TRIGGERS:
                cursor.execute(f"DROP TRIGGER IF EXISTS {name}")
            return False
    _create_sqlite()
    return True


@retried_when_busy
def _create_sqlite() -> None:
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(
            f"CREATE VIRTUAL TABLE IF NOT EXISTS {INDEX} USING fts5"
            f"(text, content='{TABLE}', content_rowid='session_key', tokenize='trigram')"
        )
        for name, does in _TRIGGERS.items():
            cursor.execute(f"CREATE TRIGGER IF NOT EXISTS {name} {does}")
        cursor.execute(f"INSERT INTO {INDEX} ({INDEX}) VALUES ('rebuild')")  # noqa: S608


def _has_trigrams(cursor: Any) -> bool:
    try:
        cursor.execute("CREATE VIRTUAL TABLE temp.raptor_trigrams USING fts5(text, tokenize='trigram')")
    except DatabaseError:
        return False
    cursor.execute("DROP TABLE temp.raptor_trigrams")
    return True


def _prepare_postgresql() -> bool:
    # The role may have no right to create the extension.
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("CREATE EXTENSION IF NOT EXISTS pg_trgm")
    # Do not block sessions that are saved in the meantime, but CONCURRENTLY is not allowed in a transaction.
    how = "" if connection.in_atomic_block else "CONCURRENTLY"
    with connection.cursor() as cursor:
        # An interrupted attempt leaves an invalid index.
        cursor.execute(f"DROP INDEX {how} IF EXISTS {INDEX}")
        cursor.execute(f"CREATE INDEX {how} IF NOT EXISTS {INDEX} ON {TABLE} USING gin (text gin_trgm_ops)")
    return True
