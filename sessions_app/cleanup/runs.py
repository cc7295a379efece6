"""Runs plans: moves their sessions to the archive in bounded batches."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable
from datetime import timedelta
from functools import partial
from typing import NamedTuple

from django.db import transaction
from django.db.models import Q

from sessions_app.cleanup.archive import empty_run
from sessions_app.cleanup.batches import BatchSize, last_of_batch, run_batches
from sessions_app.cleanup.claims import bound_lock_waits, claim, end, recording_failure, reload, update_own
from sessions_app.cleanup.files import check_files, mirrored, remove_files
from sessions_app.cleanup.limits import measure_scope, scope_totals
from sessions_app.cleanup.moves import move_to_archive
from sessions_app.cleanup.plans import remaining
from sessions_app.cleanup.returned import returned
from sessions_app.cleanup.skipped import list_skipped
from sessions_app.deadline import Deadline
from sessions_app.models import ArchivedSession, CleanupRun, DatabaseClock, PlannedSessions
from sessions_app.session.criteria import count_reasons
from sessions_app.transactions import repeatable_transaction, retry_when_busy
from sessions_app.transactions.reserve import retry_with_room

logger = logging.getLogger(__name__)

SCOPE_COUNT_MAX_AGE = timedelta(minutes=1)
"""Reuse a scope count younger than this; counting again scans the whole scope."""

_State = CleanupRun.State


def run_cleanup(
    run: CleanupRun,
    *,
    trigger: str = "",
    actor: str = "",
    deadline: Deadline | None = None,
    batch_size: int | None = None,
    progress: Callable[[int], None] = lambda sessions: None,
) -> CleanupRun:
    """Move the sessions of a plan to the archive, in bounded batches.

    Each batch commits alone, so an interrupted run keeps what it did and can be resumed.

    Args:
        trigger, actor: What and who starts or resumes the run, if not its planner; recorded in the history.
        deadline: Instant after which no further batch starts; the run is then left *interrupted*, resumable.
        batch_size: Maximum rows in one transaction; by default as many as take about a tenth of a second.
            Batches of large documents have fewer.
        progress: Called after each batch with the number of sessions that it removed.
    Returns: The run, with ``removed_count`` in sessions and ``removed_bytes`` in bytes of documents.
    Raises:
        CleanupInProgress: the run, or another run of its policy, is running, or the run has ended.
        CleanupHeld, PlanOutdated: the plan needs approval, or is over a day old.
    """
    deadline = deadline or Deadline()
    size = BatchSize(batch_size)
    run_batch = partial(_run_batch, run, size, deadline)
    _claim(run, trigger, actor)
    with recording_failure(run, finished_at=DatabaseClock()):
        _measure_scope_before(run)
        if not run_batches(run_batch, size, deadline, progress):
            end(run, _State.INTERRUPTED, finished_at=DatabaseClock())
            return run
        _succeed(run)
    logger.info("%s", summary(run))
    return run


def _claim(run: CleanupRun, trigger: str, actor: str) -> None:
    """Claim a plan, or an interrupted run; the history records who started it and who resumed it last."""
    named = {}
    if trigger:
        named = {"resumed_by": actor} if run.attempt else {"trigger": trigger, "actor": actor}
    # Resuming a run must not remove sessions that its undo has restored.
    free = Q(state__in=CleanupRun.RESUMABLE, undo_started_at=None)
    claim(run, free, state=_State.RUNNING, finished_at=None, **named)


def _measure_scope_before(run: CleanupRun) -> None:
    # Archiving vanished sessions is not a cleanup of a scope.
    if run.attempt == 1 and not run.criteria.has_vanished and not _was_just_measured(run):
        measure_scope(run)


def _was_just_measured(run: CleanupRun) -> bool:
    """Check whether the scope of a plan was counted recently; an approved plan may be hours old."""
    is_new = run.started_at is not None and run.started_at - run.planned_at < SCOPE_COUNT_MAX_AGE
    return is_new and run.before_count is not None


@retry_with_room
def _succeed(run: CleanupRun) -> None:
    run.skipped_count = run.matched_count - run.removed_count
    after = {}
    if run.before_count is not None:
        after["after_count"], after["after_bytes"] = scope_totals(run.criteria)

    def write() -> None:
        with transaction.atomic():
            update_own(
                run,
                state=_State.SUCCEEDED,
                finished_at=DatabaseClock(),
                skipped_count=run.skipped_count,
                skipped_sessions=list_skipped(run),
                **after,
            )
            PlannedSessions.objects.filter(run=run).delete()

    retry_when_busy(write)
    reload(run)


def summary(run: CleanupRun) -> str:
    """Describe in one line what a run did."""
    return (
        f"Run {run.pk} ({run.criteria.describe()}) {run.get_state_display().lower()}: "
        f"{run.removed_count:,} of {run.matched_count:,} sessions removed, "
        f"{run.removed_bytes:,} bytes, {run.skipped_count:,} skipped"
    )


def _run_batch(run: CleanupRun, size: BatchSize, deadline: Deadline) -> int | None:
    """Archive the next sessions of a run and remove their files; return their number, or None at the end."""
    batch = retry_when_busy(partial(_archive_batch, run, size), deadline=deadline)
    if batch is None:
        return None
    reload(run)
    if batch.has_files:
        _remove_batch_files(run, batch)
    if not run.keeps_archive:
        empty_run(run)
    return batch.session_count


class _Batch(NamedTuple):
    """Sessions that one transaction removed: the sessions of the run with an id above ``after``."""

    after: int
    session_count: int
    has_files: bool


def _archive_batch(run: CleanupRun, size: BatchSize) -> _Batch | None:
    """Move the next sessions of a run to the archive, in one transaction; return None if none are left.

    The run object is only reloaded after the commit, so that a repeated batch counts nothing twice.
    """
    after = run.position
    left = remaining(run)
    last = last_of_batch(left, size)
    if last is None:
        return None
    batch = left.filter(pk__lte=last)
    has_files = mirrored(batch).exists()
    check = None
    if has_files and run.criteria.has_vanished:
        batch = batch.exclude(pk__in=returned(batch))
    elif has_files:
        check = check_files(batch, is_scheduled=run.criteria.settle_seconds > 0)
        batch = batch.exclude(pk__in=check.changed) if check.changed else batch
    archived = ArchivedSession.objects.filter(run=run, pk__gt=after, pk__lte=last)
    # Files are removed after the commit, so that commit must survive a power failure.
    with size.measured(), transaction.atomic() if has_files else repeatable_transaction():
        bound_lock_waits()
        if check is not None:
            check.save()
        groups = move_to_archive(run, batch, archived)
        count = sum(count for _, count, _ in groups)
        reasons = Counter(run.removed_reasons)
        reasons.update(count_reasons((bits, count) for bits, count, _ in groups))
        update_own(
            run,
            position=last,
            removed_count=run.removed_count + count,
            removed_bytes=run.removed_bytes + sum(size for _, _, size in groups),
            removed_reasons=dict(reasons),
        )
    return _Batch(after, count, has_files)


def _remove_batch_files(run: CleanupRun, batch: _Batch) -> None:
    """Remove the mirrored files of a committed batch; the next sync removes the files that remain."""
    removed = ArchivedSession.objects.filter(run=run, pk__gt=batch.after, has_vanished=False)
    if failures := remove_files(removed):
        update_own(run, error=" ".join(failures))
        logger.warning("Run %s: %s", run.pk, " ".join(failures))
