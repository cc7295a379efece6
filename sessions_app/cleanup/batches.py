"""Keeps the transactions of long work short, whatever the machine and the documents are like."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from django.db import OperationalError, connection
from django.db.models import Count, Max, QuerySet, Sum

from sessions_app.deadline import Deadline
from sessions_app.models import ArchivedSession, CleanupRun
from sessions_app.transactions import is_busy
from sessions_app.transactions.disk import database_folder, free_bytes, is_disk_full
from sessions_app.transactions.reserve import make_room, truncate_log

_T = TypeVar("_T")

# Measured on SQLite: 500 documents of 5 MB in one transaction lock other writers out for a minute.
BATCH_BYTES = 8 * 1024 * 1024
FIRST_ROWS = 500
MIN_ROWS = 100
MAX_ROWS = 10_000
TARGET_SECONDS = {"sqlite": 0.15, "postgresql": 0.11}
"""How long a batch is to take: about half of the 0.25 s that other writers may have to wait. On
PostgreSQL one batch and the next are less alike."""

CHECKPOINT_EVERY = 5
"""Batches between two checkpoints of SQLite: pages that several batches wrote are copied back once."""

AMPLE_BYTES = 128 * 1024 * 1024
"""While less is free on the disk of a SQLite database, each batch is bounded by what is free."""

LOG_BYTES_PER_ROW = 64 * 1024
"""What a row can add to SQLite's log besides its document: a page of 4 kB for each index and each table."""

GROW_AFTER = 10
"""Batches that fit on a full disk before a larger one is tried."""

PAUSE_SECONDS = 0.11
"""Who waits for SQLite's lock looks for it every 0.1 s: so long a pause lets everybody in."""


class BatchSize:
    """How many rows the next batch takes: a fixed number, or one that follows the time that batches take."""

    def __init__(self, fixed_rows: int | None = None) -> None:
        self.rows = fixed_rows or FIRST_ROWS
        self.fixed_rows = fixed_rows
        self.is_tight = False
        """Whether a larger batch did not fit on the disk."""
        self.is_low = False
        """Whether little was free when the last batch began."""
        self._fitting_batches = 0

    @contextmanager
    def measured(self) -> Iterator[None]:
        """Time a batch, and let the next one be larger or smaller."""
        began = time.perf_counter()
        yield
        seconds = time.perf_counter() - began
        if self.is_tight:
            self._grow()
        elif not self.fixed_rows:
            change = min(2.0, max(0.5, TARGET_SECONDS[connection.vendor] / seconds))
            self.rows = round(min(MAX_ROWS, max(MIN_ROWS, self.rows * change)))

    def bound(self) -> tuple[int, int]:
        """Return the rows and the bytes of documents that the next batch may have, as the disk is now.

        SQLite writes what changes to its log, and copies it to its file later. If the log took more than half
        of what is free, the file could not grow: the log would stay, and nothing could be removed any more.
        """
        folder = database_folder()
        free = None if folder is None else free_bytes(folder)
        self.is_low = free is not None and free < AMPLE_BYTES
        if free is None or not self.is_low:
            return self.rows, BATCH_BYTES
        rows = max(1, free // (4 * LOG_BYTES_PER_ROW))
        return min(self.rows, rows), min(BATCH_BYTES, free // 4)

    def halve(self) -> None:
        """Take half as many rows from now on: so many do not fit on the disk."""
        self.rows = max(1, self.rows // 2)
        self.is_tight = True
        self._fitting_batches = 0

    def _grow(self) -> None:
        self._fitting_batches += 1
        if self._fitting_batches % GROW_AFTER == 0:
            usual_rows = self.fixed_rows or FIRST_ROWS
            self.rows = min(usual_rows, 2 * self.rows)
            self.is_tight = self.rows < usual_rows


def last_of_batch(left: QuerySet[Any], size: BatchSize) -> int | None:
    """The last key of the next batch: its rows or its bytes, whichever is less; None at the end.

    Args:
        left: What is left to do, in order of the primary key.
    """
    rows, most_bytes = size.bound()
    first = left.values("pk", "size_bytes")[:rows]
    found = first.aggregate(last=Max("pk"), bytes=Sum("size_bytes"), rows=Count("*"))
    last: int | None = found["last"]
    if found["rows"] <= 1 or found["bytes"] <= most_bytes:
        return last
    batch_bytes = 0
    for pk, size_bytes in left.values_list("pk", "size_bytes")[:rows]:
        batch_bytes += size_bytes
        if batch_bytes >= most_bytes:
            return int(pk)
    return last


class Checkpoints:
    """Copies SQLite's log back into its file between transactions, where no writer has to wait for it.

    SQLite would do it at the end of a commit, which then takes several times as long. Does nothing on
    other databases, and nothing within a transaction of the caller's.
    """

    def __init__(self) -> None:
        self.is_needed = connection.vendor == "sqlite" and not connection.in_atomic_block
        self.batches = 0

    def __enter__(self) -> Checkpoints:
        if self.is_needed:
            with connection.cursor() as cursor:
                self.pages = cursor.execute("PRAGMA wal_autocheckpoint").fetchone()[0]
                cursor.execute("PRAGMA wal_autocheckpoint=0")
        return self

    def __exit__(self, *exception: object) -> None:
        if self.is_needed and connection.connection is not None:
            with connection.cursor() as cursor:
                cursor.execute(f"PRAGMA wal_autocheckpoint={self.pages}")

    def after_batch(self) -> None:
        """Copy back what some batches have written, and let those in who wait for the lock."""
        self.batches += 1
        if self.is_needed and self.batches % CHECKPOINT_EVERY == 0:
            began = time.perf_counter()
            try:
                with connection.cursor() as cursor:
                    cursor.execute("PRAGMA wal_checkpoint(PASSIVE)")
            except OperationalError as error:
                # The file cannot grow. The batch is in the log, whole; the next one makes room.
                if not is_disk_full(error):
                    raise
            time.sleep(max(0, PAUSE_SECONDS - (time.perf_counter() - began)))


def run_fitting(take: Callable[[], _T], size: BatchSize) -> _T:
    """Take a batch; where the disk is too full for it, make room and halve it, down to one row.

    Args:
        take: Takes one batch of ``size`` in one transaction, so that a failed one can be taken again.
    """
    while True:
        try:
            return take()
        except Exception as error:
            if connection.in_atomic_block or not is_disk_full(error):
                raise
            has_room = make_room()
            if size.rows == 1 and (size.is_tight or not has_room):
                raise
            size.halve()


def run_batches(
    take: Callable[[], int | None], size: BatchSize, deadline: Deadline, progress: Callable[[int], None]
) -> bool:
    """Take batch after batch; tell whether all was taken before the deadline.

    A batch for which the database was busy until the deadline is left for later too.

    Args:
        take: Takes the next batch and gives the number of its sessions; None where nothing is left.
        size: The size that ``take`` uses.
    """
    with Checkpoints() as checkpoints:
        while True:
            try:
                session_count = run_fitting(take, size)
            except OperationalError as error:
                if deadline.has_passed and is_busy(error):
                    return False
                raise
            if session_count is None:
                break
            progress(session_count)
            if size.is_tight or size.is_low:
                # The next batch needs the space that the log of this one takes.
                truncate_log()
            checkpoints.after_batch()
            if deadline.has_passed:
                return False
    return True


def refresh_statistics(run: CleanupRun) -> None:
    """Let PostgreSQL know how much a run has archived.

    It learns that by itself minutes later, and until then reads all of the run for each batch of an undo.
    """
    if connection.vendor == "postgresql" and run.removed_count > MAX_ROWS:
        with connection.cursor() as cursor:
            cursor.execute(f"ANALYZE {ArchivedSession._meta.db_table}")
