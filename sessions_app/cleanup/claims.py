"""Who works on a run: claims it, writes to it, and ends it; one process at a time, told by the database."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from django.db import connection
from django.db.models import F, Q
from django.db.models.functions import Coalesce

from sessions_app.models import CleanupRun, DatabaseClock

HEARTBEAT_LIMIT = timedelta(minutes=2)
"""A run at work that has not beaten its heart for so long is dead: a batch takes a second or two at most."""

PLAN_LIMIT = timedelta(days=1)
LOCK_WAIT_MILLISECONDS = 5_000

_State = CleanupRun.State
_AT_WORK = (_State.RUNNING, _State.UNDOING)


class CleanupInProgress(Exception):
    """The run is at work elsewhere, or has ended."""


def bound_lock_waits() -> None:
    """Let the statements of this transaction fail rather than wait for long behind a forgotten one.

    SQLite has its busy timeout for that; PostgreSQL waits for ever, and others queue behind the waiter.
    """
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute(f"SET LOCAL lock_timeout TO {LOCK_WAIT_MILLISECONDS}")


def claim(run: CleanupRun, allowed: Q, *, state: str, **values: Any) -> None:
    """Make the run ours by compare-and-set, in its new state.

    Raises: CleanupInProgress: it is not in a state that is allowed, or another process was faster.
    """
    claimed = CleanupRun.objects.filter(allowed, pk=run.pk, attempt=run.attempt).update(
        state=state,
        attempt=F("attempt") + 1,
        started_at=Coalesce("started_at", DatabaseClock()),
        heartbeat_at=DatabaseClock(),
        error="",
        **values,
    )
    run.refresh_from_db()
    if not claimed:
        raise CleanupInProgress(f"Run {run.pk} is {run.get_state_display().lower()} already.")


def update_own(run: CleanupRun, **values: Any) -> None:
    """Write to a run that this process has claimed, and beat its heart.

    Raises: CleanupInProgress: another process took it over meanwhile; a surrounding transaction is undone.
    """
    own = CleanupRun.objects.filter(pk=run.pk, attempt=run.attempt, state__in=_AT_WORK)
    if not own.update(**{"heartbeat_at": DatabaseClock(), **values}):
        raise CleanupInProgress(f"Run {run.pk} was taken over by another process.")


def end(run: CleanupRun, state: str, **values: Any) -> None:
    """End our work on a run, in the state that it has come to."""
    update_own(run, state=state, **values)
    run.refresh_from_db()


def drop_old_plans(*, as_of: datetime) -> int:
    """Delete the plans of which nothing came within a day; the ledger is of runs, and these never ran."""
    old = CleanupRun.objects.filter(state=_State.PLANNED, attempt=0, planned_at__lt=as_of - PLAN_LIMIT)
    deleted, _ = old.delete()
    return deleted


def mark_dead_runs(*, as_of: datetime) -> int:
    """Mark as interrupted the runs at work whose heart stopped, so that they can be resumed."""
    dead = CleanupRun.objects.filter(state__in=_AT_WORK, heartbeat_at__lt=as_of - HEARTBEAT_LIMIT)
    return dead.update(state=_State.INTERRUPTED, finished_at=Coalesce("finished_at", DatabaseClock()))
