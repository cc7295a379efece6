"""Counts the sessions that are left to copy, for estimates and bars."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from django.core.management.base import OutputWrapper

from sessions_app.migrations.one_row.tables import (
    ARCHIVE,
    LIVE,
    OLD_ARCHIVE,
    OLD_LIVE,
    one_of,
    tables_of,
)


def sessions_to_copy(connection: Any) -> int:
    """Return the number of sessions in both old tables, before or after they were renamed."""
    there = tables_of(connection)
    tables = (OLD_LIVE, OLD_ARCHIVE) if OLD_LIVE in there else (LIVE, ARCHIVE)
    return sum(int(one_of(connection, f"SELECT COUNT(*) FROM {table}")) for table in tables)  # noqa: S608


@contextmanager
def bar(connection: Any) -> Iterator[Callable[[int], None]]:
    """Show a bar on a terminal; each session is copied once and compared once."""
    # The output of commands imports models, which migrations must not do before they are needed.
    from sessions_app.management.output import progress

    with progress(OutputWrapper(sys.stderr), "steps", total=2 * sessions_to_copy(connection)) as advance:
        yield advance
