"""How far a run is while the worker has it, for its page and for the script on it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, JsonResponse
from django.template.defaultfilters import filesizeformat

from sessions_app.admin.base import RaptorAdmin, get_seen_run
from sessions_app.admin.formatting import duration
from sessions_app.models import CleanupRun
from sessions_app.models.clock import database_now

QUEUE_LIMIT = timedelta(minutes=2)
"""A worker that runs takes a task within seconds."""

_State = CleanupRun.State


class Phase(StrEnum):
    """What the page of a run is about; it is loaded again when this changes."""

    QUEUED = "queued"
    LATE = "late"
    WORKING = "working"
    DEAD = "dead"
    STILL = "still"


@dataclass(frozen=True)
class Progress:
    """Sessions done of all, and their bytes; the rate is that since the start, where it can be told."""

    phase: Phase
    state: str
    is_undo: bool
    done: int
    total: int
    bytes: int
    rate_per_second: float | None

    @property
    def seconds_left(self) -> float | None:
        left = self.total - self.done
        return left / self.rate_per_second if self.rate_per_second else None

    @property
    def text(self) -> str:
        verb = "back" if self.is_undo else "removed"
        parts = [f"{self.done:,} of {self.total:,} sessions {verb}", filesizeformat(self.bytes)]
        if self.rate_per_second:
            parts.append(f"{self.rate_per_second:,.0f} sessions a second")
        if self.seconds_left is not None:
            parts.append(f"{duration(timedelta(seconds=self.seconds_left))} left")
        return ", ".join(parts)

    def to_json(self) -> dict[str, Any]:
        return {
            "state": self.state,
            "phase": self.phase,
            "done": self.done,
            "total": self.total,
            "bytes": self.bytes,
            "rate_per_second": self.rate_per_second,
            "seconds_left": self.seconds_left,
            "is_dead": self.phase is Phase.DEAD,
            "text": self.text,
        }


def progress_view(screen: RaptorAdmin, request: HttpRequest, run_id: int) -> JsonResponse:
    if not screen.has_view_permission(request):
        raise PermissionDenied
    run = get_seen_run(request.user, run_id)
    return JsonResponse(progress_of(run, database_now()).to_json())


def progress_of(run: CleanupRun, now: datetime) -> Progress:
    phase = phase_of(run, now)
    is_undo = run.undo_started_at is not None or run.state in (_State.SUCCEEDED, _State.CLOSED)
    done = run.restored_count if is_undo else run.removed_count
    return Progress(
        phase=phase,
        state=run.state,
        is_undo=is_undo,
        done=done,
        total=run.removed_count - run.emptied_count if is_undo else run.matched_count,
        bytes=run.restored_bytes if is_undo else run.removed_bytes,
        rate_per_second=_rate(run, done, now) if phase is Phase.WORKING else None,
    )


def phase_of(run: CleanupRun, now: datetime) -> Phase:
    if run.is_dead(now):
        return Phase.DEAD
    if run.state in (_State.RUNNING, _State.UNDOING):
        return Phase.WORKING
    if is_waiting(run) and run.queued_at is not None:
        return Phase.LATE if run.queued_at < now - QUEUE_LIMIT else Phase.QUEUED
    return Phase.STILL


def is_waiting(run: CleanupRun) -> bool:
    """Whether the worker was asked for it, and nothing has come of that yet."""
    if run.queued_at is None or run.state in (_State.HELD, _State.UNDONE):
        return False
    worked_at = last_worked_at(run)
    # In one tick of SQLite's clock, a run can end and be queued again; never the other way round.
    return worked_at is None or worked_at <= run.queued_at


def last_worked_at(run: CleanupRun) -> datetime | None:
    """When something was last done with a run; what asked for the worker before is done with."""
    instants = (run.started_at, run.heartbeat_at, run.finished_at, run.undo_started_at, run.closed_at)
    return max(filter(None, instants), default=None)


def _rate(run: CleanupRun, done: int, now: datetime) -> float | None:
    # A cleanup, and an undo of it, that each went through without a break; of others the time in which
    # they lay still is no time of work, and what was done before it is not of this attempt.
    is_resumed = run.attempt > (1 if run.undo_started_at is None else 2)
    began_at = run.undo_started_at or run.started_at
    if is_resumed or began_at is None or not done or now <= began_at:
        return None
    return done / (now - began_at).total_seconds()
