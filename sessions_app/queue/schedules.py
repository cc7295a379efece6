"""The schedules of the panel's tasks in django-q2.

Schedule names are not unique in django-q2, so the panel's schedules are identified by name and function.
Duplicates of them are removed; other schedules are left alone.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime, time, timedelta
from typing import Any

from django.db import connection, transaction
from django.utils import timezone
from django_q.models import Schedule

from sessions_app.transactions import retried_when_busy

ARCHIVE_TIME = time(3, 0)
FIRST_DELAY = timedelta(minutes=1)
"""Delay of the first run of a task that runs every few minutes."""
# Fields that a person may have changed so that a task fails or runs too often.
_DEFAULTS: dict[str, Any] = {
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
    """A task of ``sessions_app.tasks``, run at an interval in minutes or daily at a time in ``TIME_ZONE``."""

    name: str
    minutes: int | None = None
    daily_at: time | None = None

    @property
    def func(self) -> str:
        return f"sessions_app.tasks.{self.name}"

    @property
    def fields(self) -> dict[str, Any]:
        kind = Schedule.DAILY if self.daily_at else Schedule.MINUTES
        return {**_DEFAULTS, "schedule_type": kind, "minutes": self.minutes}

    def first_run(self, now: datetime) -> datetime:
        return _next(self.daily_at, now) if self.daily_at else now + FIRST_DELAY

    def keep(self, next_run: datetime | None, now: datetime) -> datetime:
        """Return when a schedule should run next, given its stored next run.

        django-q2 keeps the time of day when the clocks change, except in the night in which that time does
        not exist: from then on it runs an hour early. The time of day is therefore corrected here. A schedule
        that is due stays due.
        """
        if next_run is None:
            return self.first_run(now)
        if self.daily_at is None or next_run <= now:
            return next_run
        corrected = _at(self.daily_at, next_run)
        return corrected if corrected > now else _next(self.daily_at, now)


PLANNED_TASKS = (
    PlannedTask("sync_directories", minutes=1),
    PlannedTask("start_sweeps", minutes=1),
    PlannedTask("tidy_up", minutes=5),
    PlannedTask("take_snapshot", minutes=15),
    PlannedTask("empty_archive", daily_at=ARCHIVE_TIME),
)
# Policies replace these tasks.
RETIRED = (PlannedTask("sweep_expired"), PlannedTask("sweep_invalid"))


@dataclass
class SchedulesResult:
    """Names of the schedules that ``sync_schedules`` handled; it removes duplicates and retired tasks."""

    added: list[str] = field(default_factory=list)
    changed: list[str] = field(default_factory=list)
    unchanged: list[str] = field(default_factory=list)
    removed: list[str] = field(default_factory=list)

    def to_json(self) -> dict[str, list[str]]:
        return asdict(self)


@retried_when_busy
def sync_schedules(*, now: datetime) -> SchedulesResult:
    """Update the schedules of the panel's tasks; a second call changes nothing."""
    result = SchedulesResult()
    with transaction.atomic():
        if connection.vendor == "postgresql":
            # Two machines that start together and the running scheduler must not do this concurrently.
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
    kept, *duplicates = schedules
    for duplicate in duplicates:
        duplicate.delete()
        result.removed.append(task.name)
    wanted = {**task.fields, "next_run": task.keep(kept.next_run, now)}
    changes = {name: value for name, value in wanted.items() if _differs(getattr(kept, name), value)}
    if changes:
        Schedule.objects.filter(pk=kept.pk).update(**changes)
        result.changed.append(task.name)
    else:
        result.unchanged.append(task.name)


def _differs(value: Any, wanted: Any) -> bool:
    # django-q2's admin stores an empty string where the code stores None.
    return (value or None) != (wanted or None)


def _next(time_of_day: time, now: datetime) -> datetime:
    """Return the next instant with a time of day in ``TIME_ZONE``."""
    today = _at(time_of_day, now)
    return today if today > now else _at(time_of_day, now, days_later=1)


def _at(time_of_day: time, instant: datetime, *, days_later: int = 0) -> datetime:
    """Return a time of day on the date that an instant has in ``TIME_ZONE``."""
    zone = timezone.get_default_timezone()
    date = instant.astimezone(zone).date() + timedelta(days=days_later)
    return datetime.combine(date, time_of_day, tzinfo=zone).astimezone(UTC)
