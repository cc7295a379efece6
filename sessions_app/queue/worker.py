"""The state of the workers, evaluated by the database's clock; read-only except for ``announce``."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum

from django.db.models import Max, Min

from sessions_app.models import Machine, QueuedTask
from sessions_app.models.clock import database_now
from sessions_app.queue.broker import is_reachable
from sessions_app.queue.schedules import JOBS
from sessions_app.transactions import retry_when_busy

SILENT_AFTER = timedelta(minutes=2)
"""A worker announces its machine twice a minute."""
BEHIND_AFTER = timedelta(minutes=10)
"""A task ends within five minutes."""
FORGOTTEN_AFTER = timedelta(days=7)
MAX_SKEW_SECONDS = 30.0


class WorkerState(StrEnum):
    RUNNING = "running"
    STARTING = "starting"
    BEHIND = "behind"
    STOPPED = "stopped"
    NEVER = "never"


@dataclass(frozen=True)
class Worker:
    """The state of the workers, the time since which they are late, and the time of the last result.

    ``failed`` lists the jobs whose last run failed, ``skewed`` the machines whose clock differs from the
    database's by over ``MAX_SKEW_SECONDS``, with the difference in seconds.
    """

    state: WorkerState
    since: datetime | None = None
    ended_at: datetime | None = None
    failed: tuple[str, ...] = ()
    skewed: tuple[tuple[str, float], ...] = ()
    is_queue_reachable: bool = True

    @property
    def is_away(self) -> bool:
        return self.state in (WorkerState.STOPPED, WorkerState.NEVER)


def announce(machine: str, *, started_at: datetime) -> None:
    """Store that a worker of a machine is alive, and how far its clock is from the database's."""
    now = database_now()
    skew = datetime.now(UTC) - now
    values = {"started_at": started_at, "heartbeat_at": now, "clock_skew_seconds": skew.total_seconds()}
    retry_when_busy(lambda: Machine.objects.update_or_create(name=machine, defaults=values))
    retry_when_busy(Machine.objects.filter(heartbeat_at__lt=now - FORGOTTEN_AFTER).delete)


def worker_state(now: datetime) -> Worker:
    """Return whether workers are alive and finish tasks; the number of queries is fixed."""
    machines = list(Machine.objects.order_by("name"))
    heard_at = max((machine.heartbeat_at for machine in machines), default=None)
    if heard_at is None:
        return Worker(WorkerState.NEVER, is_queue_reachable=is_reachable())
    ended_at = QueuedTask.objects.aggregate(at=Max("finished_at"))["at"]
    waiting = QueuedTask.objects.filter(finished_at=None, started_at=None, machine="")
    waiting_since = waiting.aggregate(at=Min("queued_at"))["at"]
    alive = [machine for machine in machines if machine.heartbeat_at >= now - SILENT_AFTER]
    state, since = WorkerState.RUNNING, ended_at
    if not alive:
        state, since = WorkerState.STOPPED, heard_at
    elif waiting_since is not None and waiting_since < now - BEHIND_AFTER:
        state, since = WorkerState.BEHIND, waiting_since
    elif ended_at is None or ended_at < now - BEHIND_AFTER:
        # A job is due each minute, so a worker that has run for long has finished one.
        has_just_started = max(machine.started_at for machine in alive) > now - BEHIND_AFTER
        state = WorkerState.STARTING if has_just_started else WorkerState.BEHIND
    return Worker(
        state,
        since=since,
        ended_at=ended_at,
        failed=_failed_jobs(),
        skewed=tuple(
            (machine.name, machine.clock_skew_seconds)
            for machine in alive
            if abs(machine.clock_skew_seconds) > MAX_SKEW_SECONDS
        ),
        is_queue_reachable=is_reachable(),
    )


def _failed_jobs() -> tuple[str, ...]:
    """Return the names of the jobs whose last run failed."""
    jobs = QueuedTask.objects.filter(task__in=[job.task for job in JOBS]).exclude(finished_at=None)
    last = jobs.values("task").annotate(last=Max("pk")).values("last")
    failed = QueuedTask.objects.filter(pk__in=last, has_failed=True).values_list("task", flat=True)
    return tuple(sorted(task.rpartition(".")[2] for task in failed))
