"""The tasks as functions; the browser tests run them through a real qcluster."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from sessions_app import cleanup, tasks
from sessions_app.mirror import registry
from sessions_app.models import BrowserSession, CleanupPolicy, CleanupRun, SessionDirectory
from sessions_app.models.clock import database_now
from sessions_app.queue.enqueue import Task
from sessions_app.session.criteria import Criteria
from tests.clients import run
from tests.factories import DUE, SECRET, Queued, names_in, put, sync_three_sessions

pytestmark = pytest.mark.django_db


@pytest.fixture
def folder(tmp_path: Path, settings: Any) -> Path:
    """Three documents that the schedule need not wait for."""
    settings.RAPTOR_SETTLE_SECONDS = 0
    return sync_three_sessions(tmp_path / "sessions")


def test_a_sweep_runs_the_steps_of_its_policy(folder: Path, nightly: CleanupPolicy) -> None:
    message = tasks.sweep(nightly.pk, DUE.isoformat())
    assert names_in(folder) == ["recent"]
    assert message.count("1 of 1 session removed") == 2
    ledger = CleanupRun.objects.order_by("pk").values_list("trigger", "actor", "state", "removed_count")
    assert list(ledger) == [("schedule", "Nightly sweep", "succeeded", 1)] * 2


def test_a_step_without_an_age_uses_the_settings(folder: Path, nightly: CleanupPolicy, settings: Any) -> None:
    settings.RAPTOR_MAX_AGE_DAYS = 30
    tasks.sweep(nightly.pk, DUE.isoformat())
    assert names_in(folder) == ["expired", "recent"]


def test_a_disabled_or_deleted_policy_is_not_swept(folder: Path, nightly: CleanupPolicy) -> None:
    CleanupPolicy.objects.update(is_enabled=False)
    assert tasks.sweep(nightly.pk, DUE.isoformat()) == "“Nightly sweep” is disabled."
    assert tasks.sweep(0, DUE.isoformat()) == "Policy 0 no longer exists."
    assert not CleanupRun.objects.exists()
    tasks.sweep(nightly.pk, DUE.isoformat(), "admin", "root")
    assert set(CleanupRun.objects.values_list("trigger", "actor")) == {("admin", "root")}


def test_a_due_policy_is_started_and_swept_once(folder: Path, nightly: CleanupPolicy, queued: Queued) -> None:
    due_at = database_now() - timedelta(hours=3)
    CleanupPolicy.objects.filter(pk=nightly.pk).update(next_run_at=due_at)
    assert tasks.tick() == (
        "0 lost tasks, 6 jobs, 1 sweep, 1 indexing task, 0 alerts, 0 delivery tasks queued."
    )
    assert "0 sweeps, " in tasks.tick()
    (sweep,) = (message for message in queued if message[0] == Task.SWEEP)
    assert sweep[1:] == (nightly.pk, due_at.isoformat())
    tasks.sweep(*sweep[1:])
    assert set(CleanupRun.objects.values_list("due_at", flat=True)) == {due_at}


def test_a_failing_directory_does_not_stop_the_others(folder: Path, tmp_path: Path) -> None:
    put(tmp_path / "away", "b")
    run("sync_directories", tmp_path / "away")
    (tmp_path / "away").rename(tmp_path / "gone")
    put(folder, "new")
    message = tasks.sync_directories()
    assert "1 directory mirrored, 1 added" in message
    assert "cannot be read" in message
    assert BrowserSession.objects.filter(name="new").exists()
    assert SessionDirectory.objects.get(path=tmp_path / "away").error


def test_an_unexpected_error_does_not_stop_the_others(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(tmp_path / "another", "b")
    run("sync_directories", tmp_path / "another")
    sync_directory = registry.sync_directory

    def fail_once(directory: SessionDirectory, **kwargs: Any) -> Any:
        if directory.path == str(folder):
            raise ValueError(f"cannot use ws://127.0.0.1:9222/devtools/browser/{SECRET}")
        return sync_directory(directory, **kwargs)

    monkeypatch.setattr(registry, "sync_directory", fail_once)
    message = tasks.sync_directories()
    assert "1 directory mirrored" in message
    assert "ValueError" in message
    assert SECRET not in message


def test_a_disabled_directory_is_not_mirrored(folder: Path) -> None:
    SessionDirectory.objects.update(is_enabled=False)
    put(folder, "new")
    assert "0 directories mirrored" in tasks.sync_directories()
    assert not BrowserSession.objects.filter(name="new").exists()


def test_directories_left_at_the_deadline_come_first_the_next_time(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(tmp_path / "another", "b")
    run("sync_directories", tmp_path / "another")

    class OneOnly:
        asked = 0

        @property
        def has_passed(self) -> bool:
            self.asked += 1
            return self.asked > 1

    monkeypatch.setattr(tasks, "_deadline", OneOnly)
    # SQLite's clock has milliseconds, so give the first syncs different times.
    hour_ago = database_now() - timedelta(hours=1)
    first, second = SessionDirectory.objects.order_by("pk")
    SessionDirectory.objects.filter(pk=first.pk).update(synced_at=hour_ago - timedelta(hours=1))
    SessionDirectory.objects.filter(pk=second.pk).update(synced_at=hour_ago)
    for directory in (first, second):
        assert "1 directory mirrored" in tasks.sync_directories()
        assert SessionDirectory.objects.filter(pk=directory.pk, synced_at__gt=hour_ago).exists()


def test_stalled_runs_are_marked(folder: Path) -> None:
    ledger = cleanup.plan_cleanup(Criteria(all=True), trigger="admin")
    long_ago = database_now() - timedelta(minutes=10)
    CleanupRun.objects.filter(pk=ledger.pk).update(state=CleanupRun.State.RUNNING, heartbeat_at=long_ago)
    assert tasks.tidy_up() == "1 stalled run marked."
    ledger.refresh_from_db()
    assert ledger.state == CleanupRun.State.INTERRUPTED


def test_the_failure_of_a_task_contains_no_endpoint(
    folder: Path, nightly: CleanupPolicy, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*args: Any, **kwargs: Any) -> None:
        raise ValueError(f"Failing row contains (1, ws://127.0.0.1:9222/devtools/browser/{SECRET}).")

    monkeypatch.setattr("sessions_app.policies.sweeps.plan_cleanup", fail)
    with pytest.raises(tasks.TaskFailed) as caught:
        tasks.sweep(nightly.pk, DUE.isoformat())
    assert "Failing row" in str(caught.value)
    assert "Failing row" in caplog.text
    assert SECRET not in str(caught.value) + caplog.text
    # django-q2 stores traceback.format_exc(), which must not contain the cause.
    assert caught.value.__suppress_context__
