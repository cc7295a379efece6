from __future__ import annotations

from datetime import UTC, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from django.utils.module_loading import import_string
from django_q.conf import Conf
from django_q.models import Schedule

from sessions_app.models import CleanupPolicy
from sessions_app.queue.schedules import PLANNED_TASKS, PlannedTask, sync_schedules
from tests.clients import run

pytestmark = pytest.mark.django_db

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
NAMES = ["sync_directories", "start_sweeps", "tidy_up", "take_snapshot", "empty_archive"]


@pytest.fixture
def berlin(settings: Any, monkeypatch: pytest.MonkeyPatch) -> ZoneInfo:
    settings.TIME_ZONE = "Europe/Berlin"
    monkeypatch.setattr(Conf, "TIME_ZONE", "Europe/Berlin")
    return ZoneInfo("Europe/Berlin")


def next_run(name: str) -> datetime:
    instant = Schedule.objects.get(name=name).next_run
    assert isinstance(instant, datetime)
    return instant


def test_the_archive_is_emptied_daily_and_due_policies_are_checked_every_minute() -> None:
    assert sync_schedules(now=NOW).added == NAMES
    schedule = Schedule.objects.get(name="empty_archive")
    assert (schedule.schedule_type, schedule.repeats) == (Schedule.DAILY, -1)
    assert schedule.next_run == datetime(2026, 11, 23, 3, 0, tzinfo=UTC)
    for name in ("sync_directories", "start_sweeps"):
        each_minute = Schedule.objects.get(name=name)
        assert (each_minute.schedule_type, each_minute.minutes) == (Schedule.MINUTES, 1)
        assert each_minute.next_run == NOW + timedelta(minutes=1)


def test_retired_schedules_are_removed() -> None:
    for name in ("sweep_expired", "sweep_invalid"):
        Schedule.objects.create(name=name, func=f"sessions_app.tasks.{name}", schedule_type=Schedule.DAILY)
    result = sync_schedules(now=NOW)
    assert (result.added, result.removed) == (NAMES, ["sweep_expired", "sweep_invalid"])
    assert sorted(Schedule.objects.values_list("name", flat=True)) == sorted(NAMES)


def test_the_command_calculates_when_policies_are_due() -> None:
    run("sync_schedules")
    nightly = CleanupPolicy.objects.get(name="Nightly sweep")
    assert nightly.next_run_at is not None
    assert (nightly.next_run_at.hour, nightly.next_run_at.minute) == (2, 0)
    assert set(CleanupPolicy.objects.exclude(pk=nightly.pk).values_list("next_run_at", flat=True)) == {None}


@pytest.fixture(autouse=True)
def nightly_sweep() -> None:
    """Create a preset, because tests that flush the database remove it."""
    CleanupPolicy.objects.get_or_create(
        name="Nightly sweep", defaults={"schedule": "0 2 * * *", "is_enabled": True}
    )


def test_each_schedule_calls_an_existing_task() -> None:
    for task in PLANNED_TASKS:
        assert callable(import_string(task.func))


def test_a_second_call_changes_nothing() -> None:
    sync_schedules(now=NOW)
    before = list(Schedule.objects.order_by("pk").values())
    later = sync_schedules(now=NOW + timedelta(hours=1))
    assert (later.added, later.changed, later.removed, later.unchanged) == ([], [], [], NAMES)
    assert list(Schedule.objects.order_by("pk").values()) == before


def test_duplicates_are_removed_and_other_schedules_stay() -> None:
    sync_schedules(now=NOW)
    ours = Schedule.objects.get(name="empty_archive")
    Schedule.objects.create(name=ours.name, func=ours.func, schedule_type=Schedule.DAILY)
    others = [
        Schedule.objects.create(name="empty_archive", func="shop.tasks.sweep"),
        Schedule.objects.create(name="noon", func="sessions_app.tasks.empty_archive"),
        Schedule.objects.create(name=None, func="shop.tasks.report"),
    ]
    assert sync_schedules(now=NOW).removed == ["empty_archive"]
    left = set(Schedule.objects.values_list("pk", flat=True))
    assert left >= {ours.pk, *(other.pk for other in others)}
    assert len(left) == len(NAMES) + len(others)


def test_manual_changes_are_corrected() -> None:
    sync_schedules(now=NOW)
    Schedule.objects.filter(name="sync_directories").update(
        args="broken(", kwargs="{'timeout': 1}", schedule_type=Schedule.HOURLY, repeats=3
    )
    assert sync_schedules(now=NOW).changed == ["sync_directories"]
    schedule = Schedule.objects.get(name="sync_directories")
    assert (schedule.args, schedule.kwargs, schedule.schedule_type, schedule.repeats) == (
        None,
        None,
        Schedule.MINUTES,
        -1,
    )


def test_a_schedule_that_is_due_stays_due() -> None:
    sync_schedules(now=NOW)
    due = NOW - timedelta(seconds=5)
    Schedule.objects.filter(name="empty_archive").update(next_run=due)
    assert sync_schedules(now=NOW).changed == []
    assert next_run("empty_archive") == due


def test_another_time_zone_moves_the_schedules_without_starting_them(settings: Any) -> None:
    sync_schedules(now=NOW)
    for zone, utc_hour in (
        ("Asia/Kolkata", timedelta(hours=21, minutes=30)),
        ("Pacific/Honolulu", timedelta(hours=13)),
    ):
        settings.TIME_ZONE = zone
        sync_schedules(now=NOW)
        instant = next_run("empty_archive")
        assert NOW < instant <= NOW + timedelta(days=1)
        assert instant.astimezone(ZoneInfo(zone)).hour == 3
        assert instant - instant.replace(hour=0, minute=0) == utc_hour


def test_the_hour_stays_over_a_year_with_clock_changes(
    berlin: ZoneInfo, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Compare with django-q2 alone, which drifts to 01:00 on the night without 02:00 and stays there."""
    at_two = PlannedTask("empty_archive", daily_at=time(2, 0))
    monkeypatch.setattr("sessions_app.queue.schedules.PLANNED_TASKS", (at_two,))
    seen: dict[str, int] = {}
    for day in range(60):
        if day in (0, 30):
            # A month around each change of the clocks.
            Schedule.objects.all().delete()
            now = datetime(2027, 3 if day == 0 else 10, 15, 12, 0, tzinfo=UTC)
            sync_schedules(now=now)
        schedule = Schedule.objects.get(name="empty_archive")
        assert schedule.next_run is not None
        local = schedule.next_run.astimezone(berlin)
        seen[local.date().isoformat()] = local.hour
        # This is what the scheduler does for a due task, followed by tidy_up.
        now = schedule.next_run + timedelta(seconds=30)
        schedule.next_run = schedule.calculate_next_run(schedule.next_run)
        schedule.save()
        sync_schedules(now=now)
    assert len(seen) == 60
    assert seen.pop("2027-03-28") == 3
    assert set(seen.values()) == {2}


def test_django_q_alone_would_drift(berlin: ZoneInfo) -> None:
    """Show when ``PlannedTask.keep`` can be simplified: this fails once django-q2 keeps the hour itself."""
    schedule = Schedule(schedule_type=Schedule.DAILY)
    instant = datetime(2027, 3, 27, 2, 0, tzinfo=berlin).astimezone(UTC)
    for _ in range(3):
        instant = schedule.calculate_next_run(instant)
    assert instant.astimezone(berlin).hour == 1


def test_the_command_reports_what_it_did() -> None:
    assert run("sync_schedules").out == f"Added: {', '.join(NAMES)}.\n"
    assert run("sync_schedules").out == f"Unchanged: {', '.join(NAMES)}.\n"
    assert run("sync_schedules", "--format", "json").json == {
        "added": [],
        "changed": [],
        "unchanged": NAMES,
        "removed": [],
    }
