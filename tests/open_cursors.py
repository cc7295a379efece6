"""Report every write on a SQLite connection while one of its cursors has unread rows.

Such a write fails at once with "database is locked" if another process has committed since the read began
(SQLITE_BUSY_SNAPSHOT), and the busy timeout does not apply. A test alone on its database never sees this
error, so the cursors of all connections are watched instead.
"""

from __future__ import annotations

import re
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from weakref import WeakSet

from django.db.backends.sqlite3 import base

# BEGIN IMMEDIATE takes the write lock. Inside a test's transaction, Django issues SAVEPOINT instead.
_WRITE = re.compile(
    r"\s*(INSERT|UPDATE|DELETE|REPLACE|CREATE|ALTER|DROP|BEGIN|SAVEPOINT|WITH\b.*\b(INSERT|UPDATE|DELETE)\b)",
    re.IGNORECASE | re.DOTALL,
)
_READ = re.compile(r"\s*(SELECT|WITH|VALUES|INSERT|UPDATE|DELETE|REPLACE)\b", re.IGNORECASE)
_FOREIGN = re.compile("site-packages|^<frozen")
_FRAMES_SHOWN = 8

_unread: dict[int, WeakSet[WatchedCursor]] = {}
"""Cursors with unread rows, by the id of their connection, which they keep alive."""
_violations: list[str] = []


class WatchedCursor(base.SQLiteCursorWrapper):
    """A cursor that knows whether all of its rows were read."""

    statement = ""
    is_chunked = False
    """Whether ``QuerySet.iterator()`` reads it. It then counts as unread until an empty fetch, so that a loop
    over three rows is reported like a loop over three thousand."""

    def execute(self, query: str, params: Any = None) -> Any:
        self._begin(query)
        result = super().execute(query, params)
        if self.description is not None and _READ.match(query):
            self.statement = query
            self._siblings().add(self)
        return result

    def executemany(self, query: str, param_list: Any) -> Any:
        self._begin(query)
        return super().executemany(query, param_list)

    def fetchone(self) -> Any:
        row = super().fetchone()
        if row is None:
            self._siblings().discard(self)
        return row

    def fetchmany(self, size: int | None = None) -> Any:
        size = self.arraysize if size is None else size
        rows = super().fetchmany(size)
        if not rows or (len(rows) < size and not self.is_chunked):
            self._siblings().discard(self)
        return rows

    def fetchall(self) -> Any:
        self._siblings().discard(self)
        return super().fetchall()

    def __next__(self) -> Any:
        try:
            return super().__next__()
        except StopIteration:
            self._siblings().discard(self)
            raise

    def close(self) -> None:
        self._siblings().discard(self)
        super().close()

    def _siblings(self) -> WeakSet[WatchedCursor]:
        return _unread.setdefault(id(self.connection), WeakSet())

    def _begin(self, query: str) -> None:
        siblings = self._siblings()
        # A cursor that executes again discards its unread rows.
        siblings.discard(self)
        if siblings and _WRITE.match(query):
            _violations.append(_describe(query, [cursor.statement for cursor in siblings]))


def _describe(query: str, reads: list[str]) -> str:
    frames = [frame for frame in traceback.extract_stack() if not _FOREIGN.search(frame.filename)]
    where = "".join(traceback.format_list(frames[:-3][-_FRAMES_SHOWN:]))
    unread = "\n  ".join(read[:200] for read in reads)
    return (
        "A statement wrote while a cursor of its connection had unread rows. On SQLite it fails with "
        '"database is locked" as soon as another process has committed in between. Read the rows in '
        f"bounded chunks first.\nWrite:\n  {query[:200]}\nUnread:\n  {unread}\nAt:\n{where}"
    )


def _chunked_cursor(self: base.DatabaseWrapper) -> Any:
    cursor: Any = self.cursor()
    cursor.cursor.is_chunked = True
    return cursor


def install() -> None:
    """Watch the cursors of all SQLite connections of this process."""
    backend: Any = base
    backend.SQLiteCursorWrapper = WatchedCursor
    backend.DatabaseWrapper.chunked_cursor = _chunked_cursor


def take_violations() -> list[str]:
    """Return the violations found since the last call."""
    found = list(_violations)
    del _violations[: len(found)]
    return found


@contextmanager
def expected_violations() -> Iterator[list[str]]:
    """Collect the violations of a block, so that they do not fail the test.

    Only for the tests of this module. The list is filled when the block ends.
    """
    assert not _violations
    found: list[str] = []
    yield found
    found += take_violations()
