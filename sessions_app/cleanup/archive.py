"""Empties the archive: the only step that cannot be undone."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable
from datetime import datetime
from functools import partial

from django.db import transaction
from django.db.models import F, QuerySet

from sessions_app.cleanup.batches import BatchSize, run_fitting
from sessions_app.cleanup.files import files_by_folder, remove_files
from sessions_app.cleanup.pins import holds_pin
from sessions_app.deadline import Deadline
from sessions_app.models import ArchivedSession, CleanupRun, DatabaseClock, delete_permanently
from sessions_app.search import remove_texts
from sessions_app.session.removals import owner_id_of
from sessions_app.transactions import retried_when_busy
from sessions_app.transactions.reserve import truncate_log

logger = logging.getLogger(__name__)

BATCH_SIZE = 500


def emptiable(before: datetime) -> QuerySet[ArchivedSession]:
    """Return the archived sessions that unprotected runs removed before an instant.

    A pinned session whose file is gone is excluded, because its pin is restored with the file.
    """
    return _removed(before).exclude(holds_pin())


def count_kept_pins(before: datetime) -> int:
    """Count the sessions that stay in the archive only because of their pins."""
    return _removed(before).filter(holds_pin()).count()


def _removed(before: datetime) -> QuerySet[ArchivedSession]:
    return ArchivedSession.objects.filter(removed_at__lt=before, run__is_protected=False)


def empty_archive(
    before: datetime,
    *,
    deadline: Deadline | None = None,
    batch_size: int = BATCH_SIZE,
    progress: Callable[[int], None] = lambda sessions: None,
) -> tuple[int, int]:
    """Delete permanently the sessions that were removed before an instant, except those of protected runs.

    A session whose file a crash left behind stays until the file is gone; otherwise the next sync would add
    it again. A pinned session whose file is gone stays too (``count_kept_pins``).

    Returns: Number of sessions deleted, and bytes of their documents.
    """
    deadline = deadline or Deadline()
    deleted_count = deleted_bytes = position = 0
    size = BatchSize(batch_size)
    while not deadline.has_passed:
        batch = emptiable(before).filter(pk__gt=position).order_by("pk")
        emptied = run_fitting(partial(_run_batch, batch, size), size)
        if emptied is None:
            break
        position, count, size_bytes = emptied
        deleted_count, deleted_bytes = deleted_count + count, deleted_bytes + size_bytes
        progress(count)
        if size.is_tight:
            truncate_log()
    if deleted_count:
        logger.info("Archive emptied: %s sessions, %s bytes", deleted_count, deleted_bytes)
    return deleted_count, deleted_bytes


def empty_run(run: CleanupRun) -> None:
    """Delete permanently the sessions that a run has archived so far."""
    ids = list(ArchivedSession.objects.filter(run=run).order_by("pk").values_list("pk", flat=True))
    _empty_batch(ArchivedSession.objects.filter(pk__in=_without_file(ids)))


def _run_batch(left: QuerySet[ArchivedSession], size: BatchSize) -> tuple[int, int, int] | None:
    """Delete the next sessions; return their last id, number and bytes, or None if none are left."""
    ids = list(left.values_list("pk", flat=True)[: size.rows])
    if not ids:
        return None
    with size.measured():
        return ids[-1], *_empty_batch(ArchivedSession.objects.filter(pk__in=_without_file(ids)))


@retried_when_busy
def _empty_batch(sessions: QuerySet[ArchivedSession]) -> tuple[int, int]:
    counts: Counter[int] = Counter()
    with transaction.atomic():
        # An undo may restore some of these sessions at the same time. It locks rows in the same order.
        in_order = sessions.order_by("pk").select_for_update()
        locked = list(in_order.values_list("pk", "run_id", "size_bytes"))
        counts.update(run_id for _, run_id, _ in locked)
        for run_id, count in counts.items():
            CleanupRun.objects.filter(pk=run_id).update(
                emptied_count=F("emptied_count") + count, emptied_at=DatabaseClock()
            )
        ids = [pk for pk, _, _ in locked]
        delete_permanently(ArchivedSession, ids)
        remove_texts(ids)
    return len(locked), sum(size for _, _, size in locked)


def _without_file(ids: list[int]) -> list[int]:
    """Exclude the sessions whose evaluated files still exist after another attempt to remove them."""
    mirrored = ArchivedSession.objects.filter(pk__in=ids, directory__isnull=False, has_vanished=False)
    remove_files(mirrored)
    left: set[int | None] = set()
    away: dict[str, str] = {}
    for folder, files in files_by_folder(mirrored, away):
        # Without its row, a file that was set aside would be added as a new session.
        left.update(map(owner_id_of, folder.names_aside()))
        left.update(file.pk for file in files if folder.is_unchanged(file.name, file.stamp))
    # If a folder cannot be opened, it is unknown whether its files exist.
    left.update(mirrored.filter(directory__path__in=away).values_list("pk", flat=True))
    return [pk for pk in ids if pk not in left]
