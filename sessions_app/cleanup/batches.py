"""Keeps the transactions of long operations short on any machine and for documents of any size."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, ClassVar, TypeVar

from django.db import OperationalError, connection
from django.db.models import Count, Max, QuerySet, Sum

from sessions_app.deadline import Deadline
from sessions_app.models import ArchivedSession, CleanupRun
from sessions_app.transactions import is_busy
from sessions_app.transactions.disk import database_folder, free_bytes, is_disk_full
from sessions_app.transactions.reserve import make_room, truncate_log

_T = TypeVar("_T")

# Measured on SQLite: a transaction with 500 documents of 5 MB blocks other writers for a minute.
BATCH_BYTES = 8 * 1024 * 1024
FIRST_ROWS = 500
MIN_ROWS = 100
MAX_ROWS = 10_000
TARGET_SECONDS = 0.11
"""Target duration of a batch: less than half of the 0.25 s that other writers may have to wait."""

PAUSE_EVERY = 7
"""Batches between two pauses on SQLite, about 0.8 s."""

CHECKPOINT_EVERY = 3 * PAUSE_EVERY
"""Batches between two SQLite checkpoints. A page that several batches wrote is then copied back only once."""

STATEMENT_ROWS = 1_000
"""Maximum rows of one UPDATE on SQLite, which keeps the earlier versions of their pages in memory."""

AMPLE_BYTES = 128 * 1024 * 1024
"""If less space is free on the disk of a SQLite database, the free space limits the size of each batch."""

LOG_BYTES_PER_ROW = 64 * 1024
"""Maximum bytes that a row adds to SQLite's log beyond its document: a 4 kB page for each index and table."""

GROW_AFTER = 10
"""Number of batches that must fit on a full disk before a larger batch is tried."""

PAUSE_SECONDS = 0.11
"""SQLite retries a busy lock every 0.1 s, so a pause of this length lets every waiting writer proceed."""


class BatchSize:
    """The number of rows in the next batch: fixed, or adapted to the duration of earlier batches."""

    def __init__(self, fixed_rows: int | None = None) -> None:
        self.rows = fixed_rows or FIRST_ROWS
        self.fixed_rows = fixed_rows
        self.is_tight = False
        """Whether a larger batch did not fit on the disk."""
        self.is_low = False
        """Whether free space was low when the last batch began."""
        self._fitting_batches = 0

    @contextmanager
    def measured(self) -> Iterator[None]:
        """Time a batch and adapt the size of the next one."""
        began = time.perf_counter()
        yield
        seconds = time.perf_counter() - began
        if self.is_tight:
            self._grow()
        elif not self.fixed_rows:
            change = min(2.0, max(0.5, TARGET_SECONDS / seconds))
            self.rows = round(min(MAX_ROWS, max(MIN_ROWS, self.rows * change)))

    def bound(self) -> tuple[int, int]:
        """Return the maximum rows and document bytes of the next batch for the current free space.

        SQLite writes changes to its log first and copies them to the database file later. If the log took
        more than half of the free space, the file could not grow and no session could be removed.
        """
        folder = database_folder()
        free = None if folder is None else free_bytes(folder)
        self.is_low = free is not None and free < AMPLE_BYTES
        if free is None or not self.is_low:
            return self.rows, BATCH_BYTES
        rows = max(1, free // (4 * LOG_BYTES_PER_ROW))
        return min(self.rows, rows), min(BATCH_BYTES, free // 4)

    def halve(self) -> None:
        """Halve the number of rows, because a batch of the current size does not fit on the disk."""
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
    """Return the last key of the next batch, limited by rows and by bytes; None if no rows are left.

    Args:
        left: The remaining rows, in order of the primary key.
    """
    rows, max_bytes = size.bound()
    first = left.values("pk", "size_bytes")[:rows]
    found = first.aggregate(last=Max("pk"), bytes=Sum("size_bytes"), rows=Count("*"))
    last: int | None = found["last"]
    if found["rows"] <= 1 or found["bytes"] <= max_bytes:
        return last
    batch_bytes = 0
    for pk, size_bytes in left.values_list("pk", "size_bytes")[:rows]:
        batch_bytes += size_bytes
        if batch_bytes >= max_bytes:
            return int(pk)
    return last


def key_ranges(after: int, last: int, rows: int) -> Iterator[tuple[int, int]]:
    """Yield the ranges of keys of a batch that one UPDATE each changes: exclusive and inclusive bounds.

    Args:
        rows: Maximum rows of the batch.
    """
    parts = 1 if connection.vendor == "postgresql" else -(-rows // STATEMENT_ROWS)
    width = -(-(last - after) // parts)
    for start in range(after, last, width):
        yield start, min(last, start + width)


class Checkpoints:
    """Copies SQLite's log into the database file between transactions, when no writer has to wait for it.

    By default SQLite does this at the end of a commit, which then takes several times as long. Does nothing
    on other databases or inside the caller's transaction.
    """

    SETTINGS: ClassVar = {
        "wal_autocheckpoint": 0,
        # The log would be truncated at each checkpoint and grow again.
        "journal_size_limit": -1,
        # An UPDATE of many rows keeps the earlier version of each page, by default in a file.
        "temp_store": 2,
    }

    def __init__(self) -> None:
        self.is_needed = connection.vendor == "sqlite" and not connection.in_atomic_block
        self.batches = 0

    def __enter__(self) -> Checkpoints:
        if self.is_needed:
            with connection.cursor() as cursor:
                self.before = {name: cursor.execute(f"PRAGMA {name}").fetchone()[0] for name in self.SETTINGS}
            self._set(self.SETTINGS)
        return self

    def __exit__(self, error: type[BaseException] | None, *details: object) -> None:
        if self.is_needed and connection.connection is not None:
            try:
                if error is None and self.batches >= PAUSE_EVERY:
                    # Otherwise the next commit of another program would copy the whole log.
                    self._checkpoint()
            finally:
                self._set(self.before)

    def after_batch(self) -> None:
        """Checkpoint or pause after every few batches, so that waiting writers get the lock."""
        self.batches += 1
        if self.is_needed and self.batches % PAUSE_EVERY == 0:
            began = time.perf_counter()
            if self.batches % CHECKPOINT_EVERY == 0:
                self._checkpoint()
            time.sleep(max(0, PAUSE_SECONDS - (time.perf_counter() - began)))

    @staticmethod
    def _checkpoint() -> None:
        try:
            with connection.cursor() as cursor:
                cursor.execute("PRAGMA wal_checkpoint(PASSIVE)")
        except OperationalError as error:
            # The file cannot grow. The log holds the whole batch, and the next batch makes room.
            if not is_disk_full(error):
                raise

    @staticmethod
    def _set(settings: Mapping[str, int]) -> None:
        with connection.cursor() as cursor:
            for name, value in settings.items():
                cursor.execute(f"PRAGMA {name}={value}")


def run_fitting(run_batch: Callable[[], _T], size: BatchSize) -> _T:
    """Run a batch; if the disk is too full for it, make room and halve it, down to one row.

    Args:
        run_batch: Runs one batch of ``size`` in one transaction, so that a failed batch can be repeated.
    """
    while True:
        try:
            return run_batch()
        except Exception as error:
            if connection.in_atomic_block or not is_disk_full(error):
                raise
            has_room = make_room()
            if size.rows == 1 and (size.is_tight or not has_room):
                raise
            size.halve()


def run_batches(
    run_batch: Callable[[], int | None], size: BatchSize, deadline: Deadline, progress: Callable[[int], None]
) -> bool:
    """Run batches until none are left; return False if the deadline passed first.

    A database that stays busy until the deadline counts as a passed deadline.

    Args:
        run_batch: Runs the next batch and returns its number of sessions, or None if none are left.
        size: The size that ``run_batch`` uses.
    """
    with Checkpoints() as checkpoints:
        while True:
            try:
                session_count = run_fitting(run_batch, size)
            except OperationalError as error:
                if deadline.has_passed and is_busy(error):
                    return False
                raise
            if session_count is None:
                break
            progress(session_count)
            if size.is_tight or size.is_low:
                # The next batch needs the space that the log occupies.
                truncate_log()
            checkpoints.after_batch()
            if deadline.has_passed:
                return False
    return True


def refresh_statistics(run: CleanupRun) -> None:
    """Update PostgreSQL's statistics of the archive after a large run.

    Autovacuum does this only minutes later. Until then, each batch of an undo would read the whole run.
    """
    if connection.vendor == "postgresql" and run.removed_count > MAX_ROWS:
        with connection.cursor() as cursor:
            cursor.execute(f"ANALYZE {ArchivedSession._meta.db_table}")
