"""The schedule: one tick each minute, which starts the jobs and the policies that are due.

django-q2's own scheduler is switched off. It uses the worker's clock and calls any function that a row names,
and arguments that it cannot parse stop all schedules. Only the row of the tick is used here.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from cronsim import CronSim, CronSimError
from django.utils import timezone
from django_q.models import Schedule

from sessions_app.models import QueuedTask
from sessions_app.models.clock import database_now
from sessions_app.queue.enqueue import Task, send
from sessions_app.queue.machines import heard_machines
from sessions_app.queue.outbox import enqueue
from sessions_app.transactions import retried_when_busy, retry_when_busy
from sessions_app.transactions.reserve import retry_with_room

MINUTE = timedelta(minutes=1)
MAX_WAIT = timedelta(minutes=2)
"""The tick was set ahead, for example by a clock that was wrong, if it is due later than this."""


@dataclass(frozen=True)
class Job:
    """A task that runs at the instants of a cron expression in ``TIME_ZONE``.

    Args:
        is_on_each_machine: Queue one task for the worker of each machine, with the name of the machine.
        has_common_part: Queue one more task for any machine.
    """

    task: Task
    cron: str
    is_on_each_machine: bool = False
    has_common_part: bool = False

    def last_run(self, now: datetime) -> QueuedTask | None:
        """Return the last run for an instant of the schedule, ignoring what a wrong clock set ahead."""
        return QueuedTask.objects.filter(task=self.task.value, due_at__lte=now).order_by("-due_at").first()

    def next_run_at(self, last_run: QueuedTask | None) -> datetime | None:
        """Return when the job is due next; None if it has never run, so that it is due now."""
        return next_instant(self.cron, last_run.due_at) if last_run and last_run.due_at else None


JOBS = (
    Job(Task.SYNC_DIRECTORIES, "* * * * *", is_on_each_machine=True),
    Job(Task.PROBE_SESSIONS, "* * * * *", is_on_each_machine=True, has_common_part=True),
    Job(Task.TIDY_UP, "*/5 * * * *"),
    Job(Task.TAKE_SNAPSHOT, "*/15 * * * *"),
    Job(Task.EMPTY_ARCHIVE, "0 3 * * *"),
    Job(Task.CHECK_INDEX, "30 3 * * *"),
)


@retry_with_room
@retried_when_busy
def sync_schedules(*, now: datetime) -> str:
    """Install the tick, and put it right if it is due too late; a second call changes nothing.

    Returns: ``added``, ``changed`` or ``unchanged``.
    """
    ticks = Schedule.objects.filter(func=Task.TICK)
    if not ticks.exists():
        Schedule.objects.create(
            name="tick", func=Task.TICK.value, schedule_type=Schedule.MINUTES, minutes=1, next_run=now
        )
        return "added"
    # Also matches a tick without a time.
    is_changed = ticks.exclude(next_run__lte=now + MAX_WAIT).update(next_run=now)
    return "changed" if is_changed else "unchanged"


@retry_with_room
def send_due_tick() -> bool:
    """Send the tick if it is due, once for each minute on all machines; return whether this call did.

    Raises: QueueUnreachable.
    """
    now = database_now()
    due = Schedule.objects.filter(func=Task.TICK, next_run__lte=now)
    # SQLite locks the database for an update that changes nothing.
    if not due.exists():
        return False
    next_run = now.replace(second=0, microsecond=0) + MINUTE
    if not retry_when_busy(lambda: due.update(next_run=next_run)):
        return False
    send(Task.TICK)
    return True


def queue_due_jobs(now: datetime) -> list[Job]:
    """Queue the jobs that are due; one run replaces all that were missed while no worker ran."""
    queued = []
    for job in JOBS:
        next_run_at = job.next_run_at(job.last_run(now))
        if next_run_at is None or next_run_at <= now:
            due_at = now.replace(second=0, microsecond=0)
            rows = [
                enqueue(job.task, *filter(None, (machine,)), machine=machine, due_at=due_at)
                for machine in _machines(job, now)
            ]
            if any(rows):
                queued.append(job)
    return queued


def _machines(job: Job, now: datetime) -> list[str]:
    """Return the machines for which to queue a task of a job; blank stands for any machine."""
    if not job.is_on_each_machine:
        return [""]
    machines = list(heard_machines(now).order_by("name").values_list("name", flat=True))
    return ["", *machines] if job.has_common_part or not machines else machines


def next_instant(cron: str, after: datetime) -> datetime | None:
    """Return the next instant of a cron expression in ``TIME_ZONE``; None if it never occurs.

    Like Debian's cron, this runs a time of day that the clocks skip right after the change, and a time that
    occurs twice only once.

    Raises: CronSimError.
    """
    instants = CronSim(cron, timezone.localtime(after, timezone.get_default_timezone()))
    # In the hour that the clocks repeat, the first instant found may belong to its first pass.
    return next((utc for utc in (instant.astimezone(UTC) for instant in instants) if utc > after), None)


def describe_cron(cron: str) -> str:
    """Describe a cron expression in words; return it unchanged if it cannot be read."""
    try:
        words = str(CronSim(cron, timezone.now()).explain())
    except CronSimError:
        return cron
    # “Every 15th minute of every hour” is hard to read.
    interval = re.fullmatch(r"\*/(\d+) \* \* \* \*", cron.strip())
    return f"Every {interval[1]} minutes" if interval else words
