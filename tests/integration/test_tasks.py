"""The tasks as functions; the browser tests run them through a real qcluster."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from django_q.models import Schedule

from sessions_app import cleanup, directories, tasks
from sessions_app.criteria import Criteria
from sessions_app.models import ArchivedSession, BrowserSession, CleanupRun, SessionDirectory
from sessions_app.models.clock import database_now
from tests.integration.commands import SECRET, names_in, run, write

pytestmark = pytest.mark.django_db


@pytest.fixture
def queued(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, ...]]:
    """What was put into the queue."""
    calls: list[tuple[Any, ...]] = []
    monkeypatch.setattr(tasks, "async_task", lambda *args, **kwargs: calls.append((*args, kwargs)))
    return calls


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A recent session, an expired one and an invalid one."""
    folder = tmp_path / "sessions"
    now = datetime.now(UTC)
    write(folder, "recent", last_accessed=now.isoformat())
    write(folder, "expired", last_accessed=(now - timedelta(days=8)).isoformat())
    write(folder, "invalid", last_accessed=now.isoformat(), cdp_url="")
    run("sync_directories", folder)
    return folder


def test_the_sweeps_take_what_they_are_named_after(folder: Path) -> None:
    told = tasks.sweep_expired()
    assert names_in(folder) == {"recent", "invalid"}
    assert "1 of 1 sessions removed" in told
    tasks.sweep_invalid()
    assert names_in(folder) == {"recent"}
    ledger = CleanupRun.objects.order_by("pk").values_list("trigger", "actor", "state", "removed_count")
    assert list(ledger) == [
        ("schedule", "sweep_expired", "succeeded", 1),
        ("schedule", "sweep_invalid", "succeeded", 1),
    ]


def test_the_age_of_the_settings_decides(folder: Path, settings: Any) -> None:
    settings.RAPTOR_MAX_AGE_DAYS = 30
    tasks.sweep_expired()
    assert "expired" in names_in(folder)


def test_a_second_delivery_of_a_sweep_finds_nothing(folder: Path) -> None:
    tasks.sweep_expired()
    assert "0 of 0 sessions removed" in tasks.sweep_expired()


def test_a_sweep_past_its_deadline_goes_on_in_a_task_of_its_own(
    tmp_path: Path, settings: Any, queued: list[tuple[Any, ...]]
) -> None:
    run("demo_sessions", tmp_path / "demo", "--count", "1200", "--as-of", "2025-01-01")
    run("sync_directories", tmp_path / "demo")
    settings.RAPTOR_TASK_DEADLINE_SECONDS = 0
    assert "interrupted" in tasks.sweep_expired()
    ledger = CleanupRun.objects.get()
    assert queued == [("sessions_app.tasks.continue_cleanup", ledger.pk, {})]
    assert ArchivedSession.objects.count() == cleanup.runs.BATCH_SIZE
    settings.RAPTOR_TASK_DEADLINE_SECONDS = 60
    assert "1,200 of 1,200 sessions removed" in tasks.continue_cleanup(ledger.pk)
    assert (BrowserSession.objects.count(), len(names_in(tmp_path / "demo"))) == (0, 0)
    assert len(queued) == 1


@pytest.mark.parametrize("state", [CleanupRun.State.RUNNING, CleanupRun.State.SUCCEEDED])
def test_a_continuation_delivered_twice_leaves_the_run_alone(
    folder: Path, state: str, queued: list[tuple[Any, ...]]
) -> None:
    ledger = cleanup.plan_cleanup(Criteria(all=True), trigger="schedule")
    CleanupRun.objects.filter(pk=ledger.pk).update(state=state)
    assert "already" in tasks.continue_cleanup(ledger.pk)
    assert BrowserSession.objects.count() == 3
    assert not queued


def test_one_directory_that_fails_does_not_stop_the_others(folder: Path, tmp_path: Path) -> None:
    write(tmp_path / "away", "b")
    run("sync_directories", tmp_path / "away")
    (tmp_path / "away").rename(tmp_path / "gone")
    write(folder, "new")
    told = tasks.sync_directories()
    assert "1 directory mirrored, 1 added" in told
    assert "cannot be read" in told
    assert BrowserSession.objects.filter(name="new").exists()
    assert SessionDirectory.objects.get(path=tmp_path / "away").error


def test_an_unexpected_fault_does_not_stop_the_others_either(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / "another", "b")
    run("sync_directories", tmp_path / "another")
    sync_directory = directories.sync_directory

    def fail_once(directory: SessionDirectory, **kwargs: Any) -> Any:
        if directory.path == str(folder):
            raise ValueError(f"cannot use ws://127.0.0.1:9222/devtools/browser/{SECRET}")
        return sync_directory(directory, **kwargs)

    monkeypatch.setattr(directories, "sync_directory", fail_once)
    told = tasks.sync_directories()
    assert "1 directory mirrored" in told
    assert "ValueError" in told
    assert SECRET not in told


def test_a_disabled_directory_is_not_mirrored(folder: Path) -> None:
    SessionDirectory.objects.update(is_enabled=False)
    write(folder, "new")
    assert "0 directories mirrored" in tasks.sync_directories()
    assert not BrowserSession.objects.filter(name="new").exists()


def test_what_is_left_when_the_time_is_up_comes_first_the_next_time(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / "another", "b")
    run("sync_directories", tmp_path / "another")

    class OneOnly:
        asked = 0

        @property
        def has_passed(self) -> bool:
            self.asked += 1
            return self.asked > 1

    monkeypatch.setattr(tasks, "_deadline", OneOnly)
    # SQLite's clock has milliseconds, so the times of the first syncs are told apart by hand.
    hour_ago = database_now() - timedelta(hours=1)
    first, second = SessionDirectory.objects.order_by("pk")
    SessionDirectory.objects.filter(pk=first.pk).update(synced_at=hour_ago - timedelta(hours=1))
    SessionDirectory.objects.filter(pk=second.pk).update(synced_at=hour_ago)
    for directory in (first, second):
        assert "1 directory mirrored" in tasks.sync_directories()
        assert SessionDirectory.objects.filter(pk=directory.pk, synced_at__gt=hour_ago).exists()


def test_dead_runs_are_marked_and_schedules_put_right(folder: Path) -> None:
    ledger = cleanup.plan_cleanup(Criteria(all=True), trigger="admin")
    long_ago = database_now() - timedelta(minutes=10)
    CleanupRun.objects.filter(pk=ledger.pk).update(state=CleanupRun.State.RUNNING, heartbeat_at=long_ago)
    run("sync_schedules")
    Schedule.objects.filter(name="sync_directories").update(minutes=5)
    assert tasks.tidy_up() == "1 dead run marked, 1 schedule put right."
    ledger.refresh_from_db()
    assert ledger.state == CleanupRun.State.INTERRUPTED


def test_the_failure_of_a_task_tells_no_endpoint(
    folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*args: Any, **kwargs: Any) -> None:
        raise ValueError(f"Failing row contains (1, ws://127.0.0.1:9222/devtools/browser/{SECRET}).")

    monkeypatch.setattr(cleanup, "plan_cleanup", fail)
    with pytest.raises(tasks.TaskFailed) as caught:
        tasks.sweep_expired()
    assert "Failing row" in str(caught.value)
    assert "Failing row" in caplog.text
    assert SECRET not in str(caught.value) + caplog.text
    # django-q2 keeps what traceback.format_exc() gives: the cause must not be in it.
    assert caught.value.__suppress_context__
