"""The tasks as functions; the browser tests run them through a real qcluster."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from django_q.models import Schedule

from sessions_app import cleanup, directories, tasks
from sessions_app.criteria import Criteria
from sessions_app.models import ArchivedSession, BrowserSession, CleanupPolicy, CleanupRun, SessionDirectory
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


@pytest.fixture
def nightly() -> CleanupPolicy:
    policy, _ = CleanupPolicy.objects.get_or_create(name="Nightly sweep")
    policy.steps.all().delete()
    for position, criterion in enumerate(("expired", "invalid"), 1):
        policy.steps.create(position=position, criterion=criterion)
    policy.is_enabled, policy.schedule, policy.next_run_at = True, "0 2 * * *", None
    policy.save()
    return policy


DUE = "2026-11-22T02:00:00+00:00"


def test_a_sweep_takes_the_steps_of_its_policy(folder: Path, nightly: CleanupPolicy) -> None:
    told = tasks.sweep(nightly.pk, DUE)
    assert names_in(folder) == {"recent"}
    assert told.count("1 of 1 sessions removed") == 2
    ledger = CleanupRun.objects.order_by("pk").values_list("trigger", "actor", "state", "removed_count")
    assert list(ledger) == [("schedule", "Nightly sweep", "succeeded", 1)] * 2


def test_the_age_of_the_settings_decides(folder: Path, nightly: CleanupPolicy, settings: Any) -> None:
    settings.RAPTOR_MAX_AGE_DAYS = 30
    tasks.sweep(nightly.pk, DUE)
    assert names_in(folder) == {"expired", "recent"}


def test_a_second_delivery_of_a_sweep_changes_nothing(folder: Path, nightly: CleanupPolicy) -> None:
    tasks.sweep(nightly.pk, DUE)
    before = list(CleanupRun.objects.order_by("pk").values())
    write(folder, "invalid-later", cdp_url="")
    run("sync_directories", folder)
    tasks.sweep(nightly.pk, DUE)
    assert list(CleanupRun.objects.order_by("pk").values()) == before
    assert "invalid-later" in names_in(folder)


def test_a_policy_that_was_disabled_or_deleted_meanwhile_is_not_swept(
    folder: Path, nightly: CleanupPolicy
) -> None:
    CleanupPolicy.objects.update(is_enabled=False)
    assert tasks.sweep(nightly.pk, DUE) == "“Nightly sweep” is disabled."
    assert tasks.sweep(0, DUE) == "There is no policy 0 any more."
    assert not CleanupRun.objects.exists()
    tasks.sweep(nightly.pk, DUE, "admin", "root")
    assert set(CleanupRun.objects.values_list("trigger", "actor")) == {("admin", "root")}


def test_what_is_due_is_started_and_swept_once(
    folder: Path, nightly: CleanupPolicy, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[tuple[Any, ...]] = []
    monkeypatch.setattr("sessions_app.policies.timing.async_task", lambda *args: calls.append(args))
    due_at = database_now() - timedelta(hours=3)
    CleanupPolicy.objects.filter(pk=nightly.pk).update(next_run_at=due_at)
    assert tasks.start_sweeps() == "1 started: “Nightly sweep”."
    assert tasks.start_sweeps() == "0 started."
    assert calls == [("sessions_app.tasks.sweep", nightly.pk, due_at.isoformat())]
    tasks.sweep(*calls[0][1:])
    assert set(CleanupRun.objects.values_list("due_at", flat=True)) == {due_at}


def test_a_sweep_past_its_deadline_goes_on_in_a_task_of_its_own(
    tmp_path: Path, settings: Any, queued: list[tuple[Any, ...]], nightly: CleanupPolicy
) -> None:
    CleanupPolicy.objects.update(brake_percent=None)
    run("demo_sessions", tmp_path / "demo", "--count", "1200", "--as-of", "2025-01-01")
    run("sync_directories", tmp_path / "demo")
    settings.RAPTOR_TASK_DEADLINE_SECONDS = 0
    assert "interrupted" in tasks.sweep(nightly.pk, DUE)
    again: tuple[Any, ...] = ("sessions_app.tasks.sweep", nightly.pk, DUE, "schedule", "", {})
    assert queued == [again]
    assert ArchivedSession.objects.count() == cleanup.batches.FIRST_ROWS
    settings.RAPTOR_TASK_DEADLINE_SECONDS = 60
    assert "1,200 of 1,200 sessions removed" in tasks.sweep(*again[1:5])
    assert (BrowserSession.objects.count(), len(names_in(tmp_path / "demo"))) == (0, 0)
    assert len(queued) == 1
    assert CleanupRun.objects.count() == 2


def test_a_plan_confirmed_in_the_admin_runs_and_goes_on_in_the_worker(
    tmp_path: Path, settings: Any, queued: list[tuple[Any, ...]]
) -> None:
    run("demo_sessions", tmp_path / "demo", "--count", "1200", "--as-of", "2025-01-01")
    run("sync_directories", tmp_path / "demo")
    ledger = cleanup.plan_cleanup(Criteria(all=True), trigger="command", actor="carol")
    settings.RAPTOR_TASK_DEADLINE_SECONDS = 0
    assert "interrupted" in tasks.run_planned(ledger.pk, "admin", "root")
    assert queued == [("sessions_app.tasks.continue_cleanup", ledger.pk, {})]
    settings.RAPTOR_TASK_DEADLINE_SECONDS = 60
    assert "1,200 of 1,200" in tasks.continue_cleanup(ledger.pk)
    ledger.refresh_from_db()
    assert (ledger.trigger, ledger.actor, ledger.state) == ("admin", "root", "succeeded")
    settings.RAPTOR_TASK_DEADLINE_SECONDS = 0
    tasks.undo_run(ledger.pk, "root")
    assert queued[1:] == [("sessions_app.tasks.continue_undo", ledger.pk, {})]
    settings.RAPTOR_TASK_DEADLINE_SECONDS = 60
    assert tasks.continue_undo(ledger.pk) == f"1,200 sessions of run {ledger.pk} are back."
    ledger.refresh_from_db()
    assert (ledger.undone_by, ledger.state) == ("root", "undone")


def test_what_is_refused_is_told_and_waits_no_longer(folder: Path) -> None:
    held = cleanup.hold(cleanup.plan_cleanup(Criteria(all=True), trigger="command"), "Too much.")
    CleanupRun.objects.update(queued_at=database_now())
    assert "is held for a person. Too much." in tasks.run_planned(held.pk, "admin", "root")
    assert "has removed nothing" in tasks.undo_run(held.pk, "root")
    held.refresh_from_db()
    assert (held.state, held.queued_at) == ("held", None)


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


def test_a_sweep_whose_worker_was_killed_needs_nobody(
    folder: Path, nightly: CleanupPolicy, queued: list[tuple[Any, ...]]
) -> None:
    step = nightly.steps.get(position=1)
    due_at = datetime.fromisoformat(DUE)
    dead = cleanup.plan_cleanup(Criteria(expired=True), trigger="schedule", step=step, due_at=due_at)
    by_hand = cleanup.plan_cleanup(Criteria(all=True), trigger="admin")
    long_ago = database_now() - timedelta(minutes=10)
    CleanupRun.objects.update(state=CleanupRun.State.RUNNING, attempt=1, heartbeat_at=long_ago)
    assert "2 dead runs marked" in tasks.tidy_up()
    assert "0 dead runs marked" in tasks.tidy_up()
    assert queued == [("sessions_app.tasks.sweep", nightly.pk, DUE, "schedule", "", {})]
    tasks.sweep(*queued[0][1:5])
    assert names_in(folder) == {"recent"}
    assert CleanupRun.objects.get(pk=dead.pk).state == CleanupRun.State.SUCCEEDED
    assert CleanupRun.objects.get(pk=by_hand.pk).state == CleanupRun.State.INTERRUPTED
    assert CleanupRun.objects.filter(policy=nightly).count() == 2


def test_a_dead_sweep_that_somebody_else_has_marked_goes_on(
    folder: Path, nightly: CleanupPolicy, queued: list[tuple[Any, ...]]
) -> None:
    now, due_at = database_now(), datetime.fromisoformat(DUE)
    steps = {step.position: step for step in nightly.steps.all()}
    for position, step in steps.items():
        cleanup.plan_cleanup(step.criteria(max_age_days=7), trigger="schedule", step=step, due_at=due_at)
        marked = CleanupRun.objects.filter(step_position=position)
        marked.update(state=CleanupRun.State.INTERRUPTED, attempt=1, heartbeat_at=now - timedelta(hours=1))
    died, stopped = CleanupRun.objects.order_by("pk")
    CleanupRun.objects.filter(pk=died.pk).update(finished_at=now - timedelta(minutes=10))
    # Its deadline has passed, and its task is in the queue.
    CleanupRun.objects.filter(pk=stopped.pk).update(finished_at=now - timedelta(hours=1))
    assert "0 dead runs marked" in tasks.tidy_up()
    assert queued == [("sessions_app.tasks.sweep", nightly.pk, DUE, "schedule", "", {})]
    CleanupRun.objects.filter(pk=died.pk).update(
        heartbeat_at=now - timedelta(hours=30), finished_at=now - timedelta(hours=25)
    )
    tasks.tidy_up()
    assert len(queued) == 1, "a later sweep has taken what it left"


class TestRefused:
    """Another run of the policy is at work."""

    @pytest.fixture
    def other(self, folder: Path, nightly: CleanupPolicy) -> CleanupRun:
        criteria, step = Criteria(invalid=True), nightly.steps.get(position=1)
        other = cleanup.plan_cleanup(criteria, trigger="admin", step=step, due_at=database_now())
        CleanupRun.objects.filter(pk=other.pk).update(state="running", heartbeat_at=database_now())
        return other

    def test_a_scheduled_sweep_is_tried_again(
        self,
        nightly: CleanupPolicy,
        other: CleanupRun,
        monkeypatch: pytest.MonkeyPatch,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        calls: list[tuple[Any, ...]] = []
        monkeypatch.setattr("sessions_app.policies.timing.async_task", lambda *args: calls.append(args))
        due_at = database_now() - timedelta(minutes=10)
        CleanupPolicy.objects.filter(pk=nightly.pk).update(next_run_at=due_at)
        for _ in range(2):
            assert tasks.start_sweeps() == "1 started: “Nightly sweep”."
            assert "tried again in a minute" in tasks.sweep(*calls[-1][1:])
        assert calls[0] == calls[1]
        assert "is already running" in caplog.text
        CleanupRun.objects.filter(pk=other.pk).update(state="closed")
        tasks.start_sweeps()
        tasks.sweep(*calls[-1][1:])
        assert CleanupRun.objects.filter(due_at=due_at, state="succeeded").count() == 2
        assert tasks.start_sweeps() == "0 started."

    def test_one_of_long_ago_or_by_hand_is_not(self, nightly: CleanupPolicy, other: CleanupRun) -> None:
        tomorrow = database_now() + timedelta(days=1)
        CleanupPolicy.objects.filter(pk=nightly.pk).update(next_run_at=tomorrow)
        assert "not tried again" in tasks.sweep(nightly.pk, DUE)
        recently = (database_now() - timedelta(minutes=10)).isoformat()
        assert "tried" not in tasks.sweep(nightly.pk, recently, "admin", "root")
        nightly.refresh_from_db()
        assert nightly.next_run_at == tomorrow

    def test_a_plan_approved_in_vain_waits_for_a_person_again(
        self, folder: Path, nightly: CleanupPolicy, other: CleanupRun
    ) -> None:
        step = nightly.steps.get(position=1)
        due_at = datetime.fromisoformat(DUE)
        plan = cleanup.plan_cleanup(Criteria(expired=True), trigger="schedule", step=step, due_at=due_at)
        cleanup.hold(plan, "It would take too much.")
        for _ in range(2):
            cleanup.approve_cleanup(plan, actor="root")
            CleanupRun.objects.filter(pk=plan.pk).update(queued_at=database_now())
            assert "is already running" in tasks.run_planned(plan.pk, "admin", "root")
            plan.refresh_from_db()
            assert (plan.state, plan.queued_at, plan.approved_by) == ("held", None, "")
            assert plan.held_because == (
                "It would take too much. It was approved, but another run of the policy was at work: "
                "approve it again."
            )
        CleanupRun.objects.filter(pk=other.pk).update(state="closed")
        cleanup.approve_cleanup(plan, actor="root")
        tasks.run_planned(plan.pk, "admin", "root")
        assert "expired" not in names_in(folder)


def test_the_failure_of_a_task_tells_no_endpoint(
    folder: Path, nightly: CleanupPolicy, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*args: Any, **kwargs: Any) -> None:
        raise ValueError(f"Failing row contains (1, ws://127.0.0.1:9222/devtools/browser/{SECRET}).")

    monkeypatch.setattr("sessions_app.policies.sweeps.plan_cleanup", fail)
    with pytest.raises(tasks.TaskFailed) as caught:
        tasks.sweep(nightly.pk, DUE)
    assert "Failing row" in str(caught.value)
    assert "Failing row" in caplog.text
    assert SECRET not in str(caught.value) + caplog.text
    # django-q2 keeps what traceback.format_exc() gives: the cause must not be in it.
    assert caught.value.__suppress_context__
