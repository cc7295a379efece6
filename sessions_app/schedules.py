"""Which tasks run when: keeps django-q2's schedules as the product wants them.

Names of schedules are not unique in django-q2, so ours are told by their name and function both;
doubles of them go, and the schedules of others are left alone.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, time, timedelta
from typing import Any

from django.db import connection, transaction
from django.utils import timezone
from django_q.models import Schedule

from sessions_app import policies
from sessions_app.commits import retried_when_busy

ARCHIVE_TIME = time(3, 0)
FIRST_AFTER = timedelta(minutes=1)
"""What runs every so many minutes has its first turn soon."""
# What a person could have changed, and a task would then fail by or run too often.
_PLAIN: dict[str, Any] = {
    "hook": None,
    "args": None,
    "kwargs": None,
    "repeats": -1,
    "cron": None,
    "cluster": None,
    "intended_date_kwarg": None,
}


@dataclass(frozen=True)
class PlannedTask:
    """A task of ``sessions_app.tasks`` and when it runs: every so many minutes, or daily in ``TIME_ZONE``."""

    name: str
    minutes: int | None = None
    daily_at: time | None = None

    @property
    def func(self) -> str:
        return f"sessions_app.tasks.{self.name}"

    @property
    def fields(self) -> dict[str, Any]:
        kind = Schedule.DAILY if self.daily_at else Schedule.MINUTES
        return {**_PLAIN, "schedule_type": kind, "minutes": self.minutes}

    def first_run(self, now: datetime) -> datetime:
        return _next(self.daily_at, now) if self.daily_at else now + FIRST_AFTER

    def keep(self, next_run: datetime | None, now: datetime) -> datetime:
        """Tell when a schedule should run next, given when it would.

        django-q2 keeps the time of day over a change of the clocks, but for the night in which that
        time does not exist: it runs an hour early then, and on every day after. So the time of day is
        put right here. What is due already stays due.
        """
        if next_run is None:
            return self.first_run(now)
        if self.daily_at is None or next_run <= now:
            return next_run
        right = _at(self.daily_at, next_run)
        return right if right > now else _next(self.daily_at, now)


PLANNED_TASKS = (
    PlannedTask("sync_directories", minutes=1),
    PlannedTask("start_sweeps", minutes=1),
    PlannedTask("tidy_up", minutes=5),
    PlannedTask("take_snapshot", minutes=15),
    PlannedTask("empty_archive", daily_at=ARCHIVE_TIME),
)
# Policies have taken their place.
RETIRED = (PlannedTask("sweep_expired"), PlannedTask("sweep_invalid"))


@dataclass
class SchedulesResult:
    """What ``sync_schedules`` did, as names of schedules; a removed one was a double, or is retired."""

    added: list[str] = field(default_factory=list)
    changed: list[str] = field(default_factory=list)
    unchanged: list[str] = field(default_factory=list)
    removed: list[str] = field(default_factory=list)

    def to_json(self) -> dict[str, list[str]]:
        return {
            "added": self.added,
            "changed": self.changed,
            "unchanged": self.unchanged,
            "removed": self.removed,
        }


def sync_schedules(*, now: datetime) -> SchedulesResult:
    """Make the schedules of our tasks as they should be, and tell policies when they are due next.

    A second call changes nothing.
    """
    result = _sync_tasks(now)
    policies.plan_next_runs(now)
    return result


@retried_when_busy
def _sync_tasks(now: datetime) -> SchedulesResult:
    result = SchedulesResult()
    with transaction.atomic():
        if connection.vendor == "postgresql":
            # Two machines that start together, or the scheduler at work, must not do it side by side.
            with connection.cursor() as cursor:
                cursor.execute(f"LOCK TABLE {Schedule._meta.db_table} IN EXCLUSIVE MODE")
        for task in PLANNED_TASKS:
            _sync_task(task, now, result)
        for task in RETIRED:
            _, deleted = Schedule.objects.filter(name=task.name, func=task.func).delete()
            result.removed += [task.name] * deleted.get(Schedule._meta.label, 0)
    return result


def _sync_task(task: PlannedTask, now: datetime, result: SchedulesResult) -> None:
    schedules = list(Schedule.objects.filter(name=task.name, func=task.func).order_by("pk"))
    if not schedules:
        Schedule.objects.create(name=task.name, func=task.func, next_run=task.first_run(now), **task.fields)
        result.added.append(task.name)
        return
    kept, *doubles = schedules
    for double in doubles:
        double.delete()
        result.removed.append(task.name)
    wanted = {**task.fields, "next_run": task.keep(kept.next_run, now)}
    changes = {name: value for name, value in wanted.items() if _differs(getattr(kept, name), value)}
    if changes:
        Schedule.objects.filter(pk=kept.pk).update(**changes)
        result.changed.append(task.name)
    else:
        result.unchanged.append(task.name)


def _differs(value: Any, wanted: Any) -> bool:
    # django-q2's admin writes an empty text where the code writes None.
    return (value or None) != (wanted or None)


def _next(time_of_day: time, now: datetime) -> datetime:
    """The next instant at which the clock on the wall shows the time of day."""
    today = _at(time_of_day, now)
    return today if today > now else _at(time_of_day, now, days_later=1)


def _at(time_of_day: time, instant: datetime, *, days_later: int = 0) -> datetime:
    """The time of day on the date that an instant has in ``TIME_ZONE``."""
    zone = timezone.get_default_timezone()
    date = instant.astimezone(zone).date() + timedelta(days=days_later)
    return datetime.combine(date, time_of_day, tzinfo=zone).astimezone(UTC)
