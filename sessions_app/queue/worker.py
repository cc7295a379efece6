"""The state of the worker, as far as the database shows it; read-only.

The queue keeps its own statistics in process memory. Its scheduler advances each schedule after queueing the
task, however, and each finished task stores its result.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from django_q.models import Schedule, Task

from sessions_app.queue.schedules import PLANNED_TASKS

LATE_AFTER = timedelta(minutes=2)
"""The scheduler runs twice a minute."""

BEHIND_AFTER = timedelta(minutes=10)
"""A task ends within five minutes."""


class WorkerState(StrEnum):
    RUNNING = "running"
    STARTING = "starting"
    BEHIND = "behind"
    STOPPED = "stopped"
    NEVER = "never"


@dataclass(frozen=True)
class Worker:
    """The state of the worker, since when it is late, and when it last finished a task.

    ``failed`` lists the schedules whose last task failed.
    """

    state: WorkerState
    since: datetime | None = None
    ended_at: datetime | None = None
    failed: tuple[str, ...] = ()

    @property
    def is_away(self) -> bool:
        return self.state in (WorkerState.STOPPED, WorkerState.NEVER)


def worker_state(now: datetime) -> Worker:
    """Return whether tasks are queued and finished; this takes two queries."""
    functions = [task.func for task in PLANNED_TASKS]
    schedules = Schedule.objects.filter(func__in=functions).values_list("name", "minutes", "next_run", "task")
    scheduled = {name: (minutes, next_run, task) for name, minutes, next_run, task in schedules}
    if not scheduled:
        return Worker(WorkerState.NEVER)
    tasks = {task: name for name, (_, _, task) in scheduled.items() if task}
    results = list(Task.objects.filter(pk__in=tasks).values_list("pk", "success", "stopped"))
    ended_at = max((stopped for _, _, stopped in results), default=None)
    failed = tuple(sorted(tasks[key] for key, success, _ in results if not success))
    due_at = min((next_run for minutes, next_run, _ in scheduled.values() if minutes == 1), default=now)
    if due_at < now - LATE_AFTER:
        return Worker(WorkerState.STOPPED, since=due_at, ended_at=ended_at, failed=failed)
    if ended_at is None:
        return Worker(WorkerState.STARTING)
    state = WorkerState.BEHIND if ended_at < now - BEHIND_AFTER else WorkerState.RUNNING
    return Worker(state, since=ended_at, ended_at=ended_at, failed=failed)
