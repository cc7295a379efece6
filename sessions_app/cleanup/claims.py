"""Who works on a run: claims it, writes to it, and ends it; one process at a time, told by the database."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from datetime import datetime, timedelta
from functools import partial
from typing import Any

from django.db import DatabaseError, IntegrityError, OperationalError, connection, transaction
from django.db.models import F, Q, QuerySet
from django.db.models.functions import Coalesce

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
"""Sweeps that died are gone on with for so long; a later sweep takes what they left."""

_State = CleanupRun.State
_ACTIVE = (_State.RUNNING, _State.UNDOING)


class CleanupRefused(Exception):
    """A cleanup is not started; the message says why, and what to do."""


class CleanupInProgress(CleanupRefused):
    """The run is at work elsewhere, or has ended."""


class CleanupHeld(CleanupRefused):
    """The plan waits for a person to approve it."""


class PlanOutdated(CleanupRefused):
    """The plan is so old that it has to be made again."""


def bound_lock_waits() -> None:
    """Let the statements of this transaction fail rather than wait for long behind a forgotten one.

    SQLite has its busy timeout for that; PostgreSQL waits for ever, and others queue behind the waiter.
    """
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute(f"SET LOCAL lock_timeout TO {LOCK_WAIT_MILLISECONDS}")


@retry_with_room
def claim(run: CleanupRun, allowed: Q, *, state: str, **values: Any) -> None:
    """Make the run ours by compare-and-set, in its new state.

    A run that is at work only by its state, because its process died, is marked as interrupted first.

    Raises:
        CleanupInProgress: it is not in a state that is allowed, another process was faster, or
            another run of the same policy is at work.
        CleanupHeld, PlanOutdated: the plan may not be run, or no longer.
    """
    _refuse_outdated(run)
    if _try_to_claim(run, allowed, state, values):
        return
    interrupt_if_stalled(run)
    if not _try_to_claim(run, allowed, state, values):
        raise _refusal(run)


def _try_to_claim(run: CleanupRun, allowed: Q, state: str, values: dict[str, Any]) -> bool:
    """Report whether the run is ours now; it is read again in any case."""
    attempt = run.attempt + 1
    ours = CleanupRun.objects.filter(allowed, pk=run.pk, attempt=run.attempt)
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
        claimed = retry_when_busy(partial(_update_atomically, ours, changes))
    except IntegrityError:
        if run.policy is None:
            raise
        if told := busy_reason(run.policy):
            raise CleanupInProgress(told) from None
        # The run of the policy that was in the way has ended since, or its process died.
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
        return CleanupHeld(f"Run {run.pk} is held for a person. {run.held_because} Approve it on its page.")
    told = f"Run {run.pk} is {run.get_state_display().lower()} already."
    if run.state in _ACTIVE and run.heartbeat_at is not None:
        silent_seconds = max(0, round((database_now() - run.heartbeat_at).total_seconds()))
        told += (
            f" Another process is working on it and reported {count_of(silent_seconds, 'second')} ago. Wait "
            "until it has ended. If that process was killed, try again when it has been silent for "
            f"{HEARTBEAT_LIMIT.total_seconds():.0f} seconds."
        )
    return CleanupInProgress(told)


def interrupt_if_stalled(run: CleanupRun) -> CleanupRun:
    """Mark a run as interrupted if its process died, so that it can be resumed; read it again."""
    run.refresh_from_db()
    now = database_now()
    if run.is_stalled(now):
        # Only this one: the next tidy-up marks the others, and resumes their sweeps.
        mark_stalled_runs(as_of=now, run=run)
        run.refresh_from_db()
    return run


def _update_atomically(runs: QuerySet[CleanupRun], changes: dict[str, Any]) -> int:
    """Update runs in a transaction of its own, so that a refusal does not break the caller's."""
    with transaction.atomic():
        return runs.update(**changes)


def busy_reason(policy: CleanupPolicy) -> str:
    """Explain which run of a policy is at work, because only one runs at a time; blank where none is.

    A run whose process died does not count: the next run of the policy marks it as interrupted.
    """
    at_work = CleanupRun.objects.filter(policy=policy, state=_State.RUNNING)
    alive = at_work.exclude(heartbeat_at__lt=database_now() - HEARTBEAT_LIMIT).first()
    return f"“{policy}” is already running: run {alive.pk}." if alive else ""


def reload(run: CleanupRun) -> None:
    """Read a run again that is ours, but not whose it is.

    A process that was halted for long, and wakes up here, must not take itself for the one that took over.
    """
    attempt = run.attempt
    run.refresh_from_db()
    run.attempt = attempt


def _all_errors(run: CleanupRun) -> str:
    """What went wrong before: the ledger forgets nothing when a run is gone on with."""
    return "\n".join(filter(None, (run.earlier_errors, run.error)))


def _refuse_outdated(run: CleanupRun) -> None:
    if run.is_outdated(database_now()):
        raise PlanOutdated(f"The plan of run {run.pk} is over a day old: make it again, and look at it.")


@retried_when_busy
def update_own(run: CleanupRun, **values: Any) -> None:
    """Write to a run that this process has claimed, and beat its heart.

    Raises: CleanupInProgress: another process took it over meanwhile; a surrounding transaction is undone.
    """
    own = CleanupRun.objects.filter(pk=run.pk, attempt=run.attempt, state__in=_ACTIVE)
    if not own.update(**{"heartbeat_at": DatabaseClock(), **values}):
        raise CleanupInProgress(f"Run {run.pk} was taken over by another process.")


@retry_with_room
def end(run: CleanupRun, state: str, **values: Any) -> None:
    """End our work on a run, in the state that it has come to."""
    update_own(run, state=state, **values)
    reload(run)


@retried_when_busy
def drop_old_plans(*, as_of: datetime) -> int:
    """Delete the plans of which nothing came within a day; the ledger is of runs, and these never ran.

    Those of a policy are closed: deleted, a task that is delivered again would plan the step anew.
    """
    old = CleanupRun.objects.filter(state=_State.PLANNED, attempt=0, planned_at__lt=as_of - PLAN_LIMIT)
    with transaction.atomic():
        PlannedSessions.objects.filter(run__in=old).delete()
        closed = old.filter(policy__isnull=False).update(
            state=_State.CLOSED, closed_at=DatabaseClock(), error="Nothing came of the plan within a day."
        )
        _, deleted = old.filter(policy=None).delete()
    return closed + deleted.get(CleanupRun._meta.label, 0)


def mark_stalled_runs(*, as_of: datetime, run: CleanupRun | None = None) -> list[CleanupRun]:
    """Mark as interrupted the runs at work whose heart stopped, so that they can be resumed.

    Args:
        run: This one only, if it is dead.
    Returns: Those that this call has marked, each in its new state.
    """
    dead = CleanupRun.objects.filter(state__in=_ACTIVE, heartbeat_at__lt=as_of - HEARTBEAT_LIMIT)
    marked = []
    for found in dead if run is None else dead.filter(pk=run.pk):
        # Not one that has come back to life, or that somebody else has marked.
        still_dead = dead.filter(pk=found.pk, attempt=found.attempt)
        # A process that is halted in a transaction keeps its run locked: later, then.
        try:
            with transaction.atomic():
                bound_lock_waits()
                is_marked = still_dead.update(
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
    """Leave a run that is ours *failed*, with the reason, where the work on it raises.

    Not where another process has taken it over: it is not ours to write to any more.
    """
    try:
        yield
    except CleanupInProgress:
        raise
    except Exception as error:
        # Where even this cannot be written, the heartbeat tells that the run is dead.
        with suppress(DatabaseError):
            end(run, _State.FAILED, error=safe_message(error), **values)
        raise


def abandoned_sweeps(marked: Iterable[CleanupRun], *, as_of: datetime) -> list[CleanupRun]:
    """Give the runs whose worker died and that are gone on with by themselves.

    Args:
        marked: Those that were just found to be dead. Those that somebody else has marked, or whose task
            was lost with the one who marked them, are looked for.
    """
    return [run for run in (*marked, *_abandoned(as_of)) if _resumes_automatically(run)]


def _abandoned(as_of: datetime) -> QuerySet[CleanupRun]:
    """The dead runs that were marked a while ago, and with which nobody has gone on.

    Whose deadline has passed beats its heart with its last word, and has a task already. Where one of
    these has a task as well, the second finds nothing to do.
    """
    return CleanupRun.objects.filter(
        state=_State.INTERRUPTED,
        undo_started_at=None,
        finished_at__lt=as_of - ABANDONED_AFTER,
        finished_at__gt=as_of - ABANDONED_UNTIL,
        heartbeat_at__lt=F("finished_at") - HEARTBEAT_LIMIT,
    )


def _resumes_automatically(run: CleanupRun) -> bool:
    """Whether a run whose worker died needs nobody: the sweeps of policies, but for a command's."""
    # A command's user sees it end. What a sync found to be gone may be back: the next sync tells.
    is_left_to_others = run.trigger == CleanupRun.Trigger.COMMAND or run.criteria.has_vanished
    is_of_schedule = run.trigger == CleanupRun.Trigger.SCHEDULE or run.policy_id is not None
    return run.is_resumable and is_of_schedule and not is_left_to_others
