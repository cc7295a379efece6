"""The progress of a run while the worker has it, for its page and for ``poll.js``."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from django.http import HttpRequest, JsonResponse
from django.template.defaultfilters import filesizeformat

from sessions_app.access.visibility import conceal
from sessions_app.admin.base import RaptorAdmin, get_run
from sessions_app.admin.formatting import duration
from sessions_app.admin.polling import LATE_AFTER, Phase, PollState
from sessions_app.models import CleanupRun
from sessions_app.models.clock import database_now
from sessions_app.text import part_of

_State = CleanupRun.State


@dataclass(frozen=True)
class Progress:
    """Sessions done of the total, and their bytes.

    Args:
        rate_per_second: Average since the start; None if it cannot be computed.
    """

    phase: Phase
    is_undo: bool
    done: int
    total: int
    bytes: int
    rate_per_second: float | None
    is_paused: bool

    @property
    def seconds_left(self) -> float | None:
        left = self.total - self.done
        return left / self.rate_per_second if self.rate_per_second else None

    @property
    def text(self) -> str:
        if not self.total:
            return ""
        verb = "restored" if self.is_undo else "removed"
        parts = [f"{part_of(self.done, self.total, 'session')} {verb}", filesizeformat(self.bytes)]
        if self.rate_per_second:
            parts.append(f"{self.rate_per_second:,.0f} sessions a second")
        if self.seconds_left is not None:
            parts.append(f"{duration(timedelta(seconds=self.seconds_left))} left")
        return ", ".join(parts)


def progress_view(screen: RaptorAdmin, request: HttpRequest, run_id: int) -> JsonResponse:
    run = conceal(request.user, get_run(screen, request, run_id))
    progress = progress_of(run, database_now())
    state = PollState(progress.phase, progress.text, progress.done, progress.total, progress.is_paused)
    return state.to_response()


def progress_of(run: CleanupRun, now: datetime) -> Progress:
    phase = phase_of(run, now)
    is_undo = run.undo_started_at is not None or run.state in (_State.SUCCEEDED, _State.CLOSED)
    done = run.restored_count if is_undo else run.removed_count
    return Progress(
        phase=phase,
        is_undo=is_undo,
        done=done,
        total=run.removed_count - run.emptied_count if is_undo else run.matched_count,
        bytes=run.restored_bytes if is_undo else run.removed_bytes,
        rate_per_second=_rate(run, done, now) if phase is Phase.WORKING else None,
        is_paused=run.state == _State.INTERRUPTED,
    )


def phase_of(run: CleanupRun, now: datetime) -> Phase:
    if run.is_stalled(now):
        return Phase.STALLED
    if run.state in (_State.RUNNING, _State.UNDOING):
        return Phase.WORKING
    if is_waiting(run) and run.queued_at is not None:
        return Phase.LATE if run.queued_at < now - LATE_AFTER else Phase.WAITING
    return Phase.DONE


def is_waiting(run: CleanupRun) -> bool:
    """Check whether the run is queued and the worker has not started it yet."""
    if run.queued_at is None or run.state in (_State.HELD, _State.UNDONE):
        return False
    worked_at = last_worked_at(run)
    # A run can end and be queued again within one tick of SQLite's clock, but never the other way round.
    return worked_at is None or worked_at <= run.queued_at


def last_worked_at(run: CleanupRun) -> datetime | None:
    """Return when the run last changed; tasks queued before that have been handled."""
    instants = (run.started_at, run.heartbeat_at, run.finished_at, run.undo_started_at, run.closed_at)
    return max(filter(None, instants), default=None)


def _rate(run: CleanupRun, done: int, now: datetime) -> float | None:
    # Only an uninterrupted cleanup or undo has a rate: the elapsed time of a resumed one includes the break.
    is_resumed = run.attempt > (1 if run.undo_started_at is None else 2)
    began_at = run.undo_started_at or run.started_at
    if is_resumed or began_at is None or not done or now <= began_at:
        return None
    return done / (now - began_at).total_seconds()
