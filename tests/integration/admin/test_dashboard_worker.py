"""The state of the worker on the first page."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta

import pytest

from sessions_app.models import Machine, QueuedTask
from sessions_app.queue.enqueue import Task
from sessions_app.queue.worker import WorkerState, worker_state
from tests.factories import AS_OF

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("at_noon")]
INDEX = "/admin/"


class TestWorker:
    def announce(self, at: datetime = AS_OF, *, skew_seconds: float = 0, name: str = "runner") -> None:
        Machine.objects.create(
            name=name,
            started_at=AS_OF - timedelta(hours=1),
            heartbeat_at=at,
            clock_skew_seconds=skew_seconds,
        )

    def ended(self, task: Task, at: datetime, *, has_failed: bool = False) -> None:
        QueuedTask.objects.create(task=task.value, started_at=at, finished_at=at, has_failed=has_failed)

    def see_at_noon(self, see: Callable[..., str], monkeypatch: pytest.MonkeyPatch) -> str:
        monkeypatch.setattr("sessions_app.admin.dashboard.database_now", lambda: AS_OF)
        return see(INDEX)

    def test_a_worker_that_was_never_started(self, see: Callable[..., str]) -> None:
        assert worker_state(AS_OF).state == WorkerState.NEVER
        assert "No worker has been started yet" in see(INDEX)

    def test_a_worker_that_starts(self, see: Callable[..., str], monkeypatch: pytest.MonkeyPatch) -> None:
        self.announce()
        self.ended(Task.SYNC_DIRECTORIES, AS_OF - timedelta(days=2))
        Machine.objects.update(started_at=AS_OF - timedelta(seconds=5))
        assert worker_state(AS_OF).state == WorkerState.STARTING
        assert "Starting" in self.see_at_noon(see, monkeypatch)

    def test_a_worker_that_runs(self, see: Callable[..., str], monkeypatch: pytest.MonkeyPatch) -> None:
        self.announce(AS_OF - timedelta(seconds=70))
        self.ended(Task.SYNC_DIRECTORIES, AS_OF - timedelta(minutes=1))
        assert worker_state(AS_OF).state == WorkerState.RUNNING
        page = self.see_at_noon(see, monkeypatch)
        assert ">Running</span>" in page
        assert "manage.py qcluster" not in page

    def test_a_worker_that_has_stopped(
        self, see: Callable[..., str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        self.announce(AS_OF - timedelta(minutes=3))
        self.ended(Task.SYNC_DIRECTORIES, AS_OF - timedelta(minutes=5))
        assert worker_state(AS_OF).state == WorkerState.STOPPED
        page = self.see_at_noon(see, monkeypatch)
        assert "the last heartbeat was at 11:57" in page
        assert "manage.py qcluster" in page

    def test_a_task_that_waits_for_too_long(
        self, see: Callable[..., str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        self.announce()
        self.ended(Task.SYNC_DIRECTORIES, AS_OF)
        QueuedTask.objects.create(task=Task.TAKE_SNAPSHOT.value, queued_at=AS_OF - timedelta(minutes=11))
        assert worker_state(AS_OF).state == WorkerState.BEHIND
        assert "or none has finished, since 11:49" in self.see_at_noon(see, monkeypatch)

    def test_a_worker_that_starts_does_not_hide_that_another_one_is_behind(self) -> None:
        QueuedTask.objects.create(task=Task.TAKE_SNAPSHOT.value, queued_at=AS_OF - timedelta(minutes=11))
        self.announce(name="first")
        self.announce(name="second")
        Machine.objects.filter(name="second").update(started_at=AS_OF - timedelta(seconds=5))
        assert worker_state(AS_OF).state == WorkerState.BEHIND
        Machine.objects.filter(name="first").update(heartbeat_at=AS_OF - timedelta(minutes=3))
        assert worker_state(AS_OF).state == WorkerState.STARTING

    def test_a_worker_that_finishes_nothing(
        self, see: Callable[..., str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        self.announce()
        self.ended(Task.SYNC_DIRECTORIES, AS_OF - timedelta(minutes=11))
        assert worker_state(AS_OF).state == WorkerState.BEHIND
        assert "or none has finished, since 11:49" in self.see_at_noon(see, monkeypatch)

    def test_a_job_whose_last_run_failed_is_named(
        self, see: Callable[..., str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        self.announce()
        self.ended(Task.TIDY_UP, AS_OF, has_failed=True)
        assert "The last <code>tidy_up</code> failed." in self.see_at_noon(see, monkeypatch)
        self.ended(Task.TIDY_UP, AS_OF)
        assert "failed." not in self.see_at_noon(see, monkeypatch)

    def test_a_clock_that_is_wrong_is_shown_without_an_alarm_about_the_worker(
        self, see: Callable[..., str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        self.announce(skew_seconds=-600, name="slow")
        self.announce(skew_seconds=29, name="good")
        self.ended(Task.SYNC_DIRECTORIES, AS_OF)
        page = self.see_at_noon(see, monkeypatch)
        assert "The clock of slow differs" in page
        assert "The clock of good" not in page
        assert ">Running</span>" in page

    def test_a_queue_that_cannot_be_reached_is_shown(
        self, see: Callable[..., str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("sessions_app.queue.worker.is_reachable", lambda: False)
        self.announce()
        assert "The task queue cannot be reached." in self.see_at_noon(see, monkeypatch)
