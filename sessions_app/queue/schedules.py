"""The schedule: one tick each minute, which starts the jobs and the policies that are due.

django-q2's own scheduler is switched off. It uses the worker's clock and calls any function that a row names,
and arguments that it cannot parse stop all schedules. Only the row of the tick is used here.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime, timedelta

from cronsim import CronSim, CronSimError
from django.utils import timezone
from django_q.models import Schedule

from sessions_app.models import QueuedTask
from sessions_app.models.clock import database_now
from sessions_app.queue.enqueue import Task, send
from sessions_app.queue.outbox import enqueue
from sessions_app.transactions import retried_when_busy, retry_when_busy

MINUTE = timedelta(minutes=1)
MAX_WAIT = timedelta(minutes=2)
"""The tick was set ahead, for example by a clock that was wrong, if it is due later than this."""


@dataclass(frozen=True)
class Job:
    """A task that runs at the instants of a cron expression in ``TIME_ZONE``."""

    task: Task
    cron: str

    def last_run(self, now: datetime) -> QueuedTask | None:
        """Return the last run for an instant of the schedule, ignoring what a wrong clock set ahead."""
        return QueuedTask.objects.filter(task=self.task.value, due_at__lte=now).order_by("-due_at").first()

    def next_run_at(self, last_run: QueuedTask | None) -> datetime | None:
        """Return when the job is due next; None if it has never run, so that it is due now."""
        return next_instant(self.cron, last_run.due_at) if last_run and last_run.due_at else None


JOBS = (
    Job(Task.SYNC_DIRECTORIES, "* * * * *"),
    Job(Task.TIDY_UP, "*/5 * * * *"),
    Job(Task.TAKE_SNAPSHOT, "*/15 * * * *"),
    Job(Task.EMPTY_ARCHIVE, "0 3 * * *"),
)


@dataclass
class SchedulesResult:
    """What ``sync_schedules`` did with the tick: its name is in one of the lists."""

    added: list[str] = field(default_factory=list)
    changed: list[str] = field(default_factory=list)
    unchanged: list[str] = field(default_factory=list)

    def to_json(self) -> dict[str, list[str]]:
        return asdict(self)


@retried_when_busy
def sync_schedules(*, now: datetime) -> SchedulesResult:
    """Install the tick, and put it right if it is due too late; a second call changes nothing."""
    ticks = Schedule.objects.filter(func=Task.TICK)
    if not ticks.exists():
        Schedule.objects.create(
            name="tick", func=Task.TICK.value, schedule_type=Schedule.MINUTES, minutes=1, next_run=now
        )
        return SchedulesResult(added=["tick"])
    late = ticks.filter(next_run__gt=now + MAX_WAIT) | ticks.filter(next_run=None)
    is_changed = late.update(next_run=now)
    return SchedulesResult(changed=["tick"]) if is_changed else SchedulesResult(unchanged=["tick"])


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
            if enqueue(job.task, due_at=due_at):
                queued.append(job)
    return queued


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
        return str(CronSim(cron, timezone.now()).explain())
    except CronSimError:
        return cron
