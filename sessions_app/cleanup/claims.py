"""Claims runs, so that only one process at a time works on a run; the database arbitrates."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from datetime import datetime, timedelta
from functools import partial
from typing import Any

from django.db import DatabaseError, IntegrityError, OperationalError, connection, transaction
from django.db.models import F, Q, QuerySet
from django.db.models.functions import Coalesce

from sessions_app.cleanup.newest import drop_unused_newest
from sessions_app.models import CleanupPolicy, CleanupRun, DatabaseClock, PlannedSessions
from sessions_app.models.clock import database_now
from sessions_app.models.run import HEARTBEAT_LIMIT, PLAN_LIMIT
from sessions_app.session.masking import safe_message
from sessions_app.text import count_of
from sessions_app.transactions import is_busy, retried_when_busy, retry_when_busy
from sessions_app.transactions.reserve import retry_with_room

LOCK_WAIT_MILLISECONDS = 5_000

ABANDONED_AFTER = timedelta(minutes=5)
ABANDONED_UNTIL = timedelta(days=1)
"""Stalled sweeps are resumed within this time. After it, a later sweep removes what they left."""

_State = CleanupRun.State
_ACTIVE = (_State.RUNNING, _State.UNDOING)


class CleanupRefused(Exception):
    """A cleanup cannot start; the message gives the reason and what to do."""


class CleanupInProgress(CleanupRefused):
    """Another process is working on the run, or the run has ended."""


class CleanupHeld(CleanupRefused):
    """The plan needs approval."""


class PlanOutdated(CleanupRefused):
    """The plan is too old to be run and must be replanned."""


def bound_lock_waits() -> None:
    """Limit how long the statements of this transaction wait for locks.

    SQLite has a busy timeout. By default PostgreSQL waits forever behind a transaction that was left open,
    and other writers queue behind this one.
    """
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute(f"SET LOCAL lock_timeout TO {LOCK_WAIT_MILLISECONDS}")


@retry_with_room
def claim(run: CleanupRun, allowed: Q, *, state: str, **values: Any) -> None:
    """Claim a run for this process by compare-and-set, and set its new state.

    A run whose process died is marked as interrupted first.

    Raises:
        CleanupInProgress: the run is not in an allowed state, another process claimed it first, or another
            run of the same policy is running.
        CleanupHeld, PlanOutdated: the plan needs approval, or is too old.
    """
    _refuse_outdated(run)
    if _try_to_claim(run, allowed, state, values):
        return
    interrupt_if_stalled(run)
    if not _try_to_claim(run, allowed, state, values):
        raise _refusal(run)


def _try_to_claim(run: CleanupRun, allowed: Q, state: str, values: dict[str, Any]) -> bool:
    """Try to claim a run and reload it; return whether this process has claimed it."""
    attempt = run.attempt + 1
    claimable = CleanupRun.objects.filter(allowed, pk=run.pk, attempt=run.attempt)
    changes = {
        "state": state,
        "attempt": attempt,
        "started_at": Coalesce("started_at", DatabaseClock()),
        "heartbeat_at": DatabaseClock(),
        "earlier_errors": _all_errors(run),
        "error": "",
        **values,
    }
    try:
        claimed = retry_when_busy(partial(_update_atomically, claimable, changes))
    except IntegrityError:
        if run.policy is None:
            raise
        if reason := busy_reason(run.policy):
            raise CleanupInProgress(reason) from None
        # The conflicting run of the policy has ended since, or its process died.
        for other in CleanupRun.objects.filter(policy=run.policy, state=_State.RUNNING):
            interrupt_if_stalled(other)
        claimed = 0
    run.refresh_from_db()
    if claimed:
        run.attempt = attempt
    return claimed == 1


def _refusal(run: CleanupRun) -> CleanupRefused:
    """Explain why a run could not be claimed."""
    if run.state == _State.HELD:
        return CleanupHeld(f"Run {run.pk} needs approval. {run.held_because} Approve it on its page.")
    message = f"Run {run.pk} is already {run.state_in_words}."
    if run.state in _ACTIVE and run.heartbeat_at is not None:
        silent_seconds = max(0, round((database_now() - run.heartbeat_at).total_seconds()))
        message += (
            f" Another process is working on it; its last heartbeat was {count_of(silent_seconds, 'second')} "
            "ago. Wait until it has ended. If that process was killed, try again "
            f"{HEARTBEAT_LIMIT.total_seconds():.0f} seconds after its last heartbeat."
        )
    return CleanupInProgress(message)


def interrupt_if_stalled(run: CleanupRun) -> CleanupRun:
    """Reload a run, and mark it as interrupted if its process died, so that it can be resumed."""
    run.refresh_from_db()
    now = database_now()
    if run.is_stalled(now):
        # Mark only this run. The next tidy-up marks the others and resumes their sweeps.
        mark_stalled_runs(as_of=now, run=run)
        run.refresh_from_db()
    return run


def _update_atomically(runs: QuerySet[CleanupRun], changes: dict[str, Any]) -> int:
    """Update runs in a savepoint, so that an IntegrityError does not break the caller's transaction."""
    with transaction.atomic():
        return runs.update(**changes)


def busy_reason(policy: CleanupPolicy) -> str:
    """Return which run of a policy is running, because only one may run at a time; blank if none is.

    A run whose process died does not count: the next run of the policy marks it as interrupted.
    """
    running = CleanupRun.objects.filter(policy=policy, state=_State.RUNNING)
    alive = running.exclude(heartbeat_at__lt=database_now() - HEARTBEAT_LIMIT).first()
    return f"“{policy}” is already running: run {alive.pk}." if alive else ""


def reload(run: CleanupRun) -> None:
    """Reload a claimed run, but keep the number of this process's attempt.

    Another process may have taken the run over while this process was suspended. With the new number, this
    process would mistake that claim for its own.
    """
    attempt = run.attempt
    run.refresh_from_db()
    run.attempt = attempt


def _all_errors(run: CleanupRun) -> str:
    """Return the errors of all attempts, which the history keeps when a run is resumed."""
    return "\n".join(filter(None, (run.earlier_errors, run.error)))


def _refuse_outdated(run: CleanupRun) -> None:
    if run.is_outdated(database_now()):
        raise PlanOutdated(f"The plan of run {run.pk} is over a day old. Replan it and review the new plan.")


@retried_when_busy
def update_own(run: CleanupRun, **values: Any) -> None:
    """Update a run that this process has claimed, and its heartbeat.

    Raises: CleanupInProgress: another process has taken the run over; this rolls a surrounding transaction
        back.
    """
    claimed = CleanupRun.objects.filter(pk=run.pk, attempt=run.attempt, state__in=_ACTIVE)
    if not claimed.update(**{"heartbeat_at": DatabaseClock(), **values}):
        raise CleanupInProgress(f"Run {run.pk} was taken over by another process.")


@retry_with_room
def end(run: CleanupRun, state: str, **values: Any) -> None:
    """Store the final state of a claimed run."""
    update_own(run, state=state, **values)
    reload(run)


@retried_when_busy
def drop_old_plans(*, as_of: datetime) -> int:
    """Delete the plans that were not run within a day, because the history lists only runs.

    Plans of policies are closed instead, so that a task that is delivered again does not repeat them.
    """
    old = CleanupRun.objects.filter(state=_State.PLANNED, attempt=0, planned_at__lt=as_of - PLAN_LIMIT)
    drop_unused_newest(as_of)
    with transaction.atomic():
        PlannedSessions.objects.filter(run__in=old).delete()
        closed = old.filter(policy__isnull=False).update(
            state=_State.CLOSED, closed_at=DatabaseClock(), error="The plan was not run within a day."
        )
        _, deleted = old.filter(policy=None).delete()
    return closed + deleted.get(CleanupRun._meta.label, 0)


def mark_stalled_runs(*, as_of: datetime, run: CleanupRun | None = None) -> list[CleanupRun]:
    """Mark the running runs without a recent heartbeat as interrupted, so that they can be resumed.

    Args:
        run: Limits the check to this run.
    Returns: The runs that this call has marked, each in its new state.
    """
    stalled = CleanupRun.objects.filter(state__in=_ACTIVE, heartbeat_at__lt=as_of - HEARTBEAT_LIMIT)
    marked = []
    for found in stalled if run is None else stalled.filter(pk=run.pk):
        # Skip a run that has a heartbeat again, or that another process has marked.
        still_stalled = stalled.filter(pk=found.pk, attempt=found.attempt)
        # A process that is suspended inside a transaction keeps its run locked. A later call marks it.
        try:
            with transaction.atomic():
                bound_lock_waits()
                is_marked = still_stalled.update(
                    state=_State.INTERRUPTED, finished_at=Coalesce("finished_at", DatabaseClock())
                )
        except OperationalError as error:
            if not is_busy(error):
                raise
        else:
            if is_marked:
                marked.append(found)
    for found in marked:
        found.refresh_from_db()
    return marked


@contextmanager
def recording_failure(run: CleanupRun, **values: Any) -> Iterator[None]:
    """Mark a claimed run as *failed*, with the reason, if the block raises an exception.

    A run that another process has taken over is left unchanged.
    """
    try:
        yield
    except CleanupInProgress:
        raise
    except Exception as error:
        # If this update fails too, the missing heartbeat shows that the run has stalled.
        with suppress(DatabaseError):
            end(run, _State.FAILED, error=safe_message(error), **values)
        raise


def abandoned_sweeps(marked: Iterable[CleanupRun], *, as_of: datetime) -> list[CleanupRun]:
    """Return the runs whose worker died and that are resumed automatically.

    Args:
        marked: The runs that were just marked as stalled. Runs that another process has marked, or whose task
            was lost together with that process, are searched for.
    """
    return [run for run in (*marked, *_abandoned(as_of)) if _resumes_automatically(run)]


def _abandoned(as_of: datetime) -> QuerySet[CleanupRun]:
    """Return the stalled runs that were marked a while ago and have not been resumed.

    A run that stops at its deadline updates its heartbeat last and has already queued its continuation, so it
    is excluded. If a run has a task as well, the second task finds nothing to do.
    """
    return CleanupRun.objects.filter(
        state=_State.INTERRUPTED,
        undo_started_at=None,
        finished_at__lt=as_of - ABANDONED_AFTER,
        finished_at__gt=as_of - ABANDONED_UNTIL,
        heartbeat_at__lt=F("finished_at") - HEARTBEAT_LIMIT,
    )


def _resumes_automatically(run: CleanupRun) -> bool:
    """Check whether a run whose worker died is resumed automatically: a sweep that no command started."""
    # The user of a command sees it fail. Files that a sync found missing may exist again by the next sync.
    is_excluded = run.trigger == CleanupRun.Trigger.COMMAND or run.criteria.has_vanished
    is_sweep = run.trigger == CleanupRun.Trigger.SCHEDULE or run.policy_id is not None
    return run.is_resumable and is_sweep and not is_excluded
