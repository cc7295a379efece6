"""Runs plans: marks their sessions as removed, in bounded batches."""

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
from sessions_app.cleanup.batches import BatchSize, key_ranges, last_of_batch, run_batches
from sessions_app.cleanup.claims import bound_lock_waits, claim, end, recording_failure, reload, update_own
from sessions_app.cleanup.closings import BATCH_ROWS, BeforeRemoval
from sessions_app.cleanup.files import check_files, mirrored, remove_files
from sessions_app.cleanup.limits import measure_scope, scope_totals
from sessions_app.cleanup.marks import mark_removed
from sessions_app.cleanup.newest import drop_newest
from sessions_app.cleanup.plans import remaining
from sessions_app.cleanup.returned import returned
from sessions_app.cleanup.skipped import count_skipped, list_skipped
from sessions_app.deadline import Deadline
from sessions_app.models import ArchivedSession, CleanupRun, DatabaseClock, PlannedSessions
from sessions_app.session.criteria import count_reasons
from sessions_app.text import part_of
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
    before_removal: BeforeRemoval | None = None,
    progress: Callable[[int], None] = lambda sessions: None,
) -> CleanupRun:
    """Remove the sessions of a plan, in bounded batches; they stay in the archive.

    Each batch commits alone, so an interrupted run keeps what it did and can be resumed.

    Args:
        trigger, actor: The program and the user that start or resume the run, if they did not plan it;
            recorded in the history.
        deadline: Instant after which no further batch starts; the run is then left *interrupted*, resumable.
        batch_size: Maximum rows in one transaction; by default as many as take about a tenth of a second.
            Batches of large documents have fewer.
        before_removal: Function that closes the browsers of a batch; required if the run
            ``closes_browsers``.
        progress: Called after each batch with the number of sessions that it removed.
    Returns: The run, with ``removed_count`` in sessions and ``removed_bytes`` in bytes of documents.
    Raises:
        CleanupInProgress: the run, or another run of its policy, is running, or the run has ended.
        CleanupHeld, PlanOutdated: the plan needs approval, or is over a day old.
    """
    if run.closes_browsers and before_removal is None:
        raise TypeError(
            "A run that closes browsers requires before_removal; otherwise browsers would keep running."
        )
    deadline = deadline or Deadline()
    size = BatchSize(BATCH_ROWS if run.closes_browsers else batch_size)
    run_batch = partial(_run_batch, run, size, deadline, before_removal if run.closes_browsers else None)
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

    skipped = list_skipped(run)

    def write() -> None:
        with transaction.atomic():
            update_own(
                run,
                state=_State.SUCCEEDED,
                finished_at=DatabaseClock(),
                skipped_count=run.skipped_count,
                skipped_sessions=skipped,
                skipped_reasons=count_skipped(run, skipped),
                **after,
            )
            PlannedSessions.objects.filter(run=run).delete()
            drop_newest(run)

    retry_when_busy(write)
    reload(run)


def summary(run: CleanupRun) -> str:
    """Describe in one line what a run did."""
    return (
        f"Run {run.pk} ({run.criteria.describe()}) {run.get_state_display().lower()}: "
        f"{part_of(run.removed_count, run.matched_count, 'session')} removed, "
        f"{run.removed_bytes:,} bytes, {run.skipped_count:,} skipped"
    )


def _run_batch(
    run: CleanupRun, size: BatchSize, deadline: Deadline, before_removal: BeforeRemoval | None
) -> int | None:
    """Archive the next sessions of a run and remove their files; return their number, or None at the end."""
    closed = _close_browsers(run, size, before_removal) if before_removal else None
    if before_removal and closed is None:
        return None
    batch = retry_when_busy(partial(_archive_batch, run, size, closed), deadline=deadline)
    if batch is None:
        return None
    reload(run)
    if batch.has_files:
        _remove_batch_files(run, batch)
    if not run.keeps_archive:
        empty_run(run)
    return batch.session_count


class _Closed(NamedTuple):
    """The end of a batch, and its sessions without a running browser, which are removed."""

    last: int
    ended: list[int]


def _close_browsers(run: CleanupRun, size: BatchSize, before_removal: BeforeRemoval) -> _Closed | None:
    """Close and count the browsers of the next batch; return None if no session is left."""
    left = remaining(run)
    last = last_of_batch(left, size)
    if last is None:
        return None
    closings = before_removal(left.filter(pk__lte=last))
    closed = [one for one in closings if one.was_running and not one.reason]
    update_own(
        run,
        closed_count=run.closed_count + len(closed),
        closed_bytes=run.closed_bytes + sum(one.freed_bytes for one in closed),
    )
    reload(run)
    return _Closed(last, [one.pk for one in closings if not one.reason])


class _Batch(NamedTuple):
    """Sessions that one transaction removed: the sessions of the run with an id above ``after``."""

    after: int
    session_count: int
    has_files: bool


def _archive_batch(run: CleanupRun, size: BatchSize, closed: _Closed | None) -> _Batch | None:
    """Mark the next sessions of a run as removed, in one transaction; return None if none are left.

    The run object is only reloaded after the commit, so that a repeated batch counts nothing twice.
    """
    after = run.position
    left = remaining(run)
    last = closed.last if closed else last_of_batch(left, size)
    if last is None:
        return None
    batch = left.filter(pk__lte=last)
    if closed:
        # Django compiles no statement for an empty list. No session has the id 0.
        batch = batch.filter(pk__in=closed.ended or [0])
    has_files = mirrored(batch).exists()
    check = None
    if has_files and run.criteria.has_vanished:
        batch = batch.exclude(pk__in=returned(batch))
    elif has_files:
        check = check_files(batch, is_scheduled=run.criteria.settle_seconds > 0)
        batch = batch.exclude(pk__in=check.changed) if check.changed else batch
    parts = [batch.filter(pk__gt=low, pk__lte=high) for low, high in key_ranges(after, last, size.rows)]
    archived = ArchivedSession.objects.filter(run=run, pk__gt=after, pk__lte=last)
    # Files are removed after the commit, so that commit must survive a power failure.
    with size.measured(), transaction.atomic() if has_files else repeatable_transaction():
        bound_lock_waits()
        if check is not None:
            check.save()
        groups = mark_removed(run, parts, archived)
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
