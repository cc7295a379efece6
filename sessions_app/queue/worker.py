"""The state of the workers, evaluated by the database's clock; read-only except for ``announce``."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum

from django.db.models import Max, Min

from sessions_app.models import Machine, QueuedTask
from sessions_app.models.clock import database_now
from sessions_app.queue.broker import is_reachable
from sessions_app.queue.machines import are_all_new, is_silent
from sessions_app.queue.schedules import JOBS
from sessions_app.transactions import retry_when_busy
from sessions_app.transactions.disk_space import disk_space
from sessions_app.transactions.reserve import retry_with_room

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
    """The state of the workers, and the time since which they are late.

    ``skewed`` lists the machines whose clock differs from the database's by over ``MAX_SKEW_SECONDS``, with
    the difference in seconds. ``machines`` lists all machines, the oldest first.
    """

    state: WorkerState
    since: datetime | None
    skewed: tuple[tuple[str, float], ...]
    machines: tuple[Machine, ...]
    is_queue_reachable: bool

    @property
    def is_away(self) -> bool:
        return self.state in (WorkerState.STOPPED, WorkerState.NEVER)


@retry_with_room
def announce(machine: str, *, started_at: datetime) -> None:
    """Store that a worker of a machine is alive, and how far its clock is from the database's."""
    now = database_now()
    skew = datetime.now(UTC) - now
    disk = disk_space()
    values = {
        "started_at": started_at,
        "heartbeat_at": now,
        "clock_skew_seconds": skew.total_seconds(),
        "disk_free_bytes": disk.free_bytes,
        "is_disk_full": disk.is_full,
    }
    retry_when_busy(lambda: Machine.objects.update_or_create(name=machine, defaults=values))
    retry_when_busy(Machine.objects.filter(heartbeat_at__lt=now - FORGOTTEN_AFTER).delete)


def worker_state(now: datetime) -> Worker:
    """Return the state of the workers. The number of queries is fixed."""
    machines = tuple(Machine.objects.order_by("pk"))
    alive = [machine for machine in machines if not is_silent(machine, now)]
    late = now - BEHIND_AFTER
    ended_at = QueuedTask.objects.aggregate(at=Max("finished_at"))["at"]
    waiting = QueuedTask.objects.filter(finished_at=None, started_at=None, machine="")
    waiting_since = waiting.aggregate(at=Min("queued_at"))["at"]
    state, since = WorkerState.RUNNING, ended_at
    if not alive:
        state = WorkerState.STOPPED if machines else WorkerState.NEVER
        since = max((machine.heartbeat_at for machine in machines), default=None)
    elif waiting_since is not None and waiting_since < late:
        state, since = WorkerState.BEHIND, waiting_since
    elif ended_at is None or ended_at < late:
        # A job is due each minute, so a worker that has run for long enough has finished one.
        state = WorkerState.BEHIND
    # Workers are not behind because of tasks that waited before all of them started.
    if state != WorkerState.RUNNING and are_all_new(machines, now, since=late):
        state = WorkerState.STARTING
    return Worker(
        state,
        since=since,
        machines=machines,
        skewed=tuple(
            (machine.name, machine.clock_skew_seconds)
            for machine in sorted(alive, key=lambda machine: machine.name)
            if abs(machine.clock_skew_seconds) > MAX_SKEW_SECONDS
        ),
        is_queue_reachable=is_reachable(),
    )


def failed_jobs() -> tuple[str, ...]:
    """Return the names of the jobs whose last run failed."""
    jobs = QueuedTask.objects.filter(task__in=[job.task for job in JOBS]).exclude(finished_at=None)
    last = jobs.values("task").annotate(last=Max("pk")).values("last")
    failed = QueuedTask.objects.filter(pk__in=last, has_failed=True).values_list("task", flat=True)
    return tuple(sorted(task.rpartition(".")[2] for task in failed))
