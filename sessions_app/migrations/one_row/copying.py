"""Copies the sessions by id range: each batch is one transaction with its row of progress."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

from django.db import transaction

from sessions_app.migrations.one_row.earlier_runs import insert_events
from sessions_app.migrations.one_row.tables import (
    DOCUMENTS,
    LIVE,
    NEW_IDS,
    OLD_ARCHIVE,
    OLD_LIVE,
    is_done,
    position_of,
    record_done,
    record_position,
    rows_of,
    run_sql,
)
from sessions_app.session.endpoint import shown_endpoint

BATCH_ROWS = 2_000
BATCH_BYTES = 8 * 1024 * 1024
_DOCUMENT_COLUMNS = ("cdp_url", "document", "last_good_document")


class Source(NamedTuple):
    """An old table, and the columns that it shares with the new table of sessions."""

    step: str
    table: str
    columns: Sequence[str]

    @property
    def derived(self) -> dict[str, str]:
        """The other columns of the new table, as SQL over the old row ``o``."""
        if self.step == "archive":
            return {}
        is_current = "o.browser_endpoint = o.cdp_url"
        return {
            "browser_state": f"CASE WHEN {is_current} THEN o.browser_state END",
            "browser_since": f"CASE WHEN {is_current} THEN o.browser_since END",
            "has_vanished": "FALSE",
        }


def sources(old_live: Any, old_archive: Any, new: Any) -> list[Source]:
    """Return both old tables, from the models before and after."""
    names = {field.column for field in new._meta.local_concrete_fields if not field.generated}
    found = []
    for step, table, model in (("live", OLD_LIVE, old_live), ("archive", OLD_ARCHIVE, old_archive)):
        own = [field.column for field in model._meta.local_concrete_fields if not field.generated]
        skipped = {"id", "browser_state", "browser_since"}
        found.append(Source(step, table, [name for name in own if name in names - skipped]))
    return found


def batches(connection: Any, table: str, after: int) -> Iterator[tuple[int, int, int]]:
    """Yield ranges of ids that hold a bounded number of rows and bytes: after, last, and the rows."""
    while True:
        rows = rows_of(
            connection,
            f"SELECT id, size_bytes FROM {table} WHERE id > %s ORDER BY id LIMIT {BATCH_ROWS}",  # noqa: S608
            [after],
        )
        if not rows:
            return
        count = size_bytes = 0
        for pk, its_bytes in rows:
            count, size_bytes, last = count + 1, size_bytes + its_bytes, pk
            if size_bytes >= BATCH_BYTES:
                break
        yield after, last, count
        after = last


def copy_sessions(connection: Any, source: Source, progress: Callable[[int], None]) -> None:
    if is_done(connection, source.step):
        return
    for after, last, count in batches(connection, source.table, position_of(connection, source.step) or 0):
        with transaction.atomic(using=connection.alias):
            _copy_batch(connection, source, after, last)
            record_position(connection, source.step, last)
        progress(count)
    record_done(connection, source.step)


def _copy_batch(connection: Any, source: Source, after: int, last: int) -> None:
    columns = [*source.columns, *source.derived]
    values = [*(f"o.{name}" for name in source.columns), *source.derived.values()]
    lasting = "(o.past_runs ->> -1)::bigint" if connection.vendor == "postgresql" else "JSON_EXTRACT(o.past_runs, '$[#-1]')"
    shown, params = _shown(connection, source, after, last)
    new_id = "o.id" if source.step == "live" else "COALESCE(m.new_id, o.id)"
    moved = "" if source.step == "live" else f"LEFT JOIN {NEW_IDS} m ON m.old_id = o.id"
    limits = "WHERE o.id > %s AND o.id <= %s"
    run_sql(
        connection,
        f"INSERT INTO {LIVE} (id, {', '.join(columns)}, restored_from, endpoint_length, shown_endpoint) "  # noqa: S608
        f"SELECT {new_id}, {', '.join(values)}, {lasting}, s.length, s.shown "
        f"FROM {source.table} o {moved} JOIN {shown} ON s.id = o.id {limits}",
        [*params, after, last],
    )
    names = ", ".join(_DOCUMENT_COLUMNS)
    run_sql(
        connection,
        f"INSERT INTO {DOCUMENTS} (session_id, {names}) "  # noqa: S608
        f"SELECT {new_id}, {', '.join(f'o.{name}' for name in _DOCUMENT_COLUMNS)} "
        f"FROM {source.table} o {moved} {limits}",
        [after, last],
    )
    insert_events(connection, source.table, after, last)


def _shown(connection: Any, source: Source, after: int, last: int) -> tuple[str, list[Any]]:
    """Return a table ``s`` with the columns that are derived from the endpoints of a batch."""
    rows = rows_of(
        connection,
        f"SELECT id, cdp_url FROM {source.table} WHERE id > %s AND id <= %s",  # noqa: S608
        [after, last],
    )
    keys = [pk for pk, _ in rows]
    lengths = [len(url.strip()) for _, url in rows]
    texts = [shown_endpoint(url) for _, url in rows]
    if connection.vendor == "postgresql":
        table = "UNNEST(%s::bigint[], %s::integer[], %s::text[]) AS s(id, length, shown)"
        return table, [keys, lengths, texts]
    run_sql(connection, "CREATE TEMPORARY TABLE IF NOT EXISTS onerow_shown (id integer PRIMARY KEY, length, shown)")
    run_sql(connection, "DELETE FROM onerow_shown")
    with connection.cursor() as cursor:
        cursor.executemany(
            "INSERT INTO onerow_shown VALUES (%s, %s, %s)", list(zip(keys, lengths, texts, strict=True))
        )
    return "onerow_shown s", []
