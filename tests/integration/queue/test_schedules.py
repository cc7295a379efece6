from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django_q.models import Schedule

from sessions_app.models import CleanupPolicy, Machine, QueuedTask
from sessions_app.models.clock import database_now
from sessions_app.queue import schedules
from sessions_app.queue.enqueue import Task
from sessions_app.queue.schedules import (
    JOBS,
    next_instant,
    queue_due_jobs,
    send_due_tick,
    sync_schedules,
)
from tests.clients import run
from tests.factories import Queued

pytestmark = pytest.mark.django_db

NOON = datetime(2026, 11, 22, 12, 0, 20, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
SYNC, PROBE, TIDY_UP, SNAPSHOT, ARCHIVE, CHECK = JOBS


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[Task]:
    """The tasks that were sent without a row."""
    tasks: list[Task] = []
    monkeypatch.setattr(schedules, "send", tasks.append)
    return tasks


def finish_all() -> None:
    QueuedTask.objects.update(finished_at=database_now())


class TestTick:
    def test_one_schedule_is_installed(self) -> None:
        assert run("sync_schedules").out == "Added: tick.\n"
        assert run("sync_schedules").out == "Unchanged: tick.\n"
        assert run("sync_schedules", "--format", "json").json == {
            "added": [],
            "changed": [],
            "unchanged": ["tick"],
        }
        schedule = Schedule.objects.get()
        assert (schedule.func, schedule.schedule_type, schedule.minutes) == (Task.TICK, Schedule.MINUTES, 1)

    @pytest.mark.parametrize("wrong", [timedelta(minutes=3), timedelta(days=400), None])
    def test_a_tick_that_is_set_ahead_is_put_right(self, wrong: timedelta | None, sent: list[Task]) -> None:
        now = database_now()
        sync_schedules(now=now)
        Schedule.objects.update(next_run=wrong and now + wrong)
        assert not send_due_tick()
        assert sync_schedules(now=now) == "changed"
        assert send_due_tick()

    def test_it_is_sent_once_a_minute_however_many_workers_look(
        self, sent: list[Task], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        # The real clock could reach the next minute in the meantime.
        monkeypatch.setattr(schedules, "database_now", lambda: NOON)
        sync_schedules(now=NOON - timedelta(hours=5))
        assert [send_due_tick() for _ in range(3)] == [True, False, False]
        assert Schedule.objects.get().next_run == NOON.replace(second=0) + MINUTE
        assert sent == [Task.TICK]

    def test_a_second_row_of_the_tick_changes_nothing(self, sent: list[Task]) -> None:
        sync_schedules(now=database_now())
        Schedule.objects.create(func=Task.TICK.value, next_run=database_now() - MINUTE)
        assert send_due_tick()
        assert not send_due_tick()
        assert sent == [Task.TICK]

    def test_rows_of_others_are_neither_run_nor_removed(self, sent: list[Task]) -> None:
        planted: list[dict[str, Any]] = [
            {"func": "os.system", "args": "'touch /tmp/planted'"},
            {"func": "os.system", "args": "("},
            {"func": Task.SWEEP.value, "hook": "os.system"},
        ]
        for fields in planted:
            Schedule.objects.create(next_run=database_now() - MINUTE, **fields)
        sync_schedules(now=database_now())
        assert send_due_tick()
        assert sent == [Task.TICK]
        assert Schedule.objects.count() == 4

    def test_the_command_calculates_when_policies_are_due(self) -> None:
        run("sync_schedules")
        nightly = CleanupPolicy.objects.get(name="Nightly sweep")
        assert nightly.next_run_at is not None
        assert (nightly.next_run_at.hour, nightly.next_run_at.minute) == (2, 0)
        others = CleanupPolicy.objects.exclude(pk=nightly.pk)
        assert set(others.values_list("next_run_at", flat=True)) == {None}


class TestJobs:
    def test_all_are_due_at_the_first_start_and_then_at_their_times(self) -> None:
        assert queue_due_jobs(NOON) == list(JOBS)
        finish_all()
        assert queue_due_jobs(NOON + timedelta(seconds=30)) == []
        assert queue_due_jobs(NOON + MINUTE) == [SYNC, PROBE]
        finish_all()
        assert queue_due_jobs(NOON + 5 * MINUTE) == [SYNC, PROBE, TIDY_UP]
        finish_all()
        assert queue_due_jobs(NOON + 15 * MINUTE) == [SYNC, PROBE, TIDY_UP, SNAPSHOT]
        finish_all()
        assert ARCHIVE in queue_due_jobs(NOON + timedelta(hours=15))

    def test_a_worker_that_was_off_for_days_runs_each_once(self, queued: Queued) -> None:
        queue_due_jobs(NOON)
        finish_all()
        back = NOON + timedelta(days=3)
        assert queue_due_jobs(back) == list(JOBS)
        finish_all()
        assert queue_due_jobs(back + timedelta(seconds=30)) == []
        assert len(queued) == 2 * len(JOBS)

    def test_a_job_for_machines_queues_a_task_for_each_live_machine_and_one_for_any(
        self, queued: Queued
    ) -> None:
        for name, minutes in (("runner-1", 1), ("runner-2", 0), ("silent", 3)):
            Machine.objects.create(name=name, heartbeat_at=NOON - minutes * MINUTE)
        queue_due_jobs(NOON)
        probes = QueuedTask.objects.filter(task=Task.PROBE_SESSIONS).values_list("machine", flat=True)
        assert sorted(probes) == ["", "runner-1", "runner-2"]
        assert QueuedTask.objects.filter(task=Task.TIDY_UP).count() == 1
        queue_due_jobs(NOON)
        assert QueuedTask.objects.filter(task=Task.PROBE_SESSIONS).count() == 3

    def test_a_job_that_is_still_running_is_not_queued_again(self, queued: Queued) -> None:
        queue_due_jobs(NOON)
        QueuedTask.objects.update(started_at=NOON)
        assert queue_due_jobs(NOON + timedelta(days=2)) == []
        assert not QueuedTask.objects.filter(is_requested_again=True).exists()
        finish_all()
        assert queue_due_jobs(NOON + timedelta(days=2)) == list(JOBS)

    def test_two_ticks_of_a_minute_queue_a_job_once(self, monkeypatch: pytest.MonkeyPatch) -> None:
        queue_due_jobs(NOON)
        finish_all()
        # The second tick has read the last instant before the first one stored its own.
        monkeypatch.setattr(schedules.Job, "last_run", lambda job, now: QueuedTask(due_at=NOON - MINUTE))
        assert queue_due_jobs(NOON) == []

    def test_a_job_that_was_set_ahead_by_a_wrong_clock_runs(self) -> None:
        queue_due_jobs(NOON + timedelta(days=365))
        finish_all()
        assert queue_due_jobs(NOON) == list(JOBS)

    def test_requests_of_people_do_not_move_a_job(self) -> None:
        queue_due_jobs(NOON)
        finish_all()
        QueuedTask.objects.create(task=SNAPSHOT.task.value, arguments=["2026-11-22T12:03:00+00:00"])
        last = SNAPSHOT.last_run(NOON + MINUTE)
        assert last is not None
        assert last.due_at == NOON.replace(second=0)

    @pytest.mark.parametrize(
        ("zone", "expected"),
        [
            ("UTC", datetime(2026, 11, 23, 3, 0, tzinfo=UTC)),
            ("Asia/Kolkata", datetime(2026, 11, 22, 21, 30, tzinfo=UTC)),
            ("Pacific/Honolulu", datetime(2026, 11, 22, 13, 0, tzinfo=UTC)),
        ],
    )
    def test_the_archive_is_emptied_at_three_in_the_time_zone(
        self, settings: Any, zone: str, expected: datetime
    ) -> None:
        settings.TIME_ZONE = zone
        assert ARCHIVE.next_run_at(QueuedTask(due_at=NOON)) == expected

    def test_the_hour_stays_over_a_change_of_the_clocks(self, settings: Any) -> None:
        settings.TIME_ZONE = "Europe/Berlin"
        instant, seen = datetime(2027, 3, 15, 12, tzinfo=UTC), []
        for _ in range(30):
            found = next_instant("0 2 * * *", instant)
            assert found is not None
            instant = found
            seen.append(instant.astimezone(settings_zone()).hour)
        assert seen.count(3) == 1
        assert set(seen) == {2, 3}


def settings_zone() -> Any:
    from django.utils import timezone

    return timezone.get_default_timezone()
