"""Tasks that are interrupted, refused, delivered twice or lost with their worker."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from sessions_app import cleanup, tasks
from sessions_app.models import ArchivedSession, BrowserSession, CleanupPolicy, CleanupRun
from sessions_app.models.clock import database_now
from sessions_app.policies import start_due
from sessions_app.session.criteria import Criteria
from tests.clients import run
from tests.factories import DUE, Queued, names_in, put, sync_three_sessions

pytestmark = pytest.mark.django_db


@pytest.fixture
def folder(tmp_path: Path, settings: Any) -> Path:
    """Three documents that the schedule need not wait for."""
    settings.RAPTOR_SETTLE_SECONDS = 0
    return sync_three_sessions(tmp_path / "sessions")


@pytest.fixture
def small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cleanup.batches, "FIRST_ROWS", 5)


def test_a_second_delivery_of_a_sweep_changes_nothing(folder: Path, nightly: CleanupPolicy) -> None:
    tasks.sweep(nightly.pk, DUE.isoformat())
    before = list(CleanupRun.objects.order_by("pk").values())
    put(folder, "invalid-later", cdp_url="")
    run("sync_directories", folder)
    tasks.sweep(nightly.pk, DUE.isoformat())
    assert list(CleanupRun.objects.order_by("pk").values()) == before
    assert "invalid-later" in names_in(folder)


@pytest.mark.usefixtures("small_batches")
def test_a_sweep_past_its_deadline_continues_in_a_new_task(
    tmp_path: Path, settings: Any, queued: Queued, nightly: CleanupPolicy
) -> None:
    CleanupPolicy.objects.update(brake_percent=None)
    run("demo_sessions", tmp_path / "demo", "--count", "12", "--as-of", "2025-01-01")
    run("sync_directories", tmp_path / "demo")
    settings.RAPTOR_TASK_DEADLINE_SECONDS = settings.RAPTOR_SETTLE_SECONDS = 0
    assert "interrupted" in tasks.sweep(nightly.pk, DUE.isoformat())
    again: tuple[Any, ...] = ("sessions_app.tasks.sweep", nightly.pk, DUE.isoformat(), "schedule", "")
    assert queued == [again]
    assert ArchivedSession.objects.count() == 5
    settings.RAPTOR_TASK_DEADLINE_SECONDS = 60
    assert "12 of 12 sessions removed" in tasks.sweep(*again[1:5])
    assert (BrowserSession.objects.count(), len(names_in(tmp_path / "demo"))) == (0, 0)
    assert len(queued) == 1
    assert CleanupRun.objects.count() == 2


@pytest.mark.usefixtures("small_batches")
def test_a_plan_confirmed_in_the_admin_runs_and_continues_in_the_worker(
    tmp_path: Path, settings: Any, queued: Queued
) -> None:
    run("demo_sessions", tmp_path / "demo", "--count", "12", "--as-of", "2025-01-01")
    run("sync_directories", tmp_path / "demo")
    ledger = cleanup.plan_cleanup(Criteria(all=True), trigger="command", actor="carol")
    settings.RAPTOR_TASK_DEADLINE_SECONDS = 0
    assert "interrupted" in tasks.run_planned(ledger.pk, "admin", "root")
    assert queued == [("sessions_app.tasks.continue_cleanup", ledger.pk)]
    settings.RAPTOR_TASK_DEADLINE_SECONDS = 60
    assert "12 of 12" in tasks.continue_cleanup(ledger.pk)
    ledger.refresh_from_db()
    assert (ledger.trigger, ledger.actor, ledger.state) == ("admin", "root", "succeeded")
    settings.RAPTOR_TASK_DEADLINE_SECONDS = 0
    tasks.undo_run(ledger.pk, "root")
    assert queued[1:] == [("sessions_app.tasks.continue_undo", ledger.pk)]
    settings.RAPTOR_TASK_DEADLINE_SECONDS = 60
    assert tasks.continue_undo(ledger.pk).startswith("12 sessions ")
    ledger.refresh_from_db()
    assert (ledger.undone_by, ledger.state) == ("root", "undone")


def test_a_refused_task_returns_the_reason_and_is_not_queued_again(folder: Path) -> None:
    held = cleanup.hold(cleanup.plan_cleanup(Criteria(all=True), trigger="command"), "Too much.")
    CleanupRun.objects.update(queued_at=database_now())
    assert "needs approval. Too much." in tasks.run_planned(held.pk, "admin", "root")
    assert "has removed nothing" in tasks.undo_run(held.pk, "root")
    held.refresh_from_db()
    assert (held.state, held.queued_at) == ("held", None)


@pytest.mark.parametrize("state", [CleanupRun.State.RUNNING, CleanupRun.State.SUCCEEDED])
def test_a_continuation_delivered_twice_leaves_the_run_alone(
    folder: Path, state: str, queued: Queued
) -> None:
    ledger = cleanup.plan_cleanup(Criteria(all=True), trigger="schedule")
    CleanupRun.objects.filter(pk=ledger.pk).update(state=state)
    assert "already" in tasks.continue_cleanup(ledger.pk)
    assert BrowserSession.objects.count() == 3
    assert not queued


def test_a_sweep_whose_worker_was_killed_resumes_by_itself(
    folder: Path, nightly: CleanupPolicy, queued: Queued
) -> None:
    step = nightly.steps.get(position=1)
    due_at = DUE
    dead = cleanup.plan_cleanup(Criteria(expired=True), trigger="schedule", step=step, due_at=due_at)
    manual = cleanup.plan_cleanup(Criteria(all=True), trigger="admin")
    long_ago = database_now() - timedelta(minutes=10)
    CleanupRun.objects.update(state=CleanupRun.State.RUNNING, attempt=1, heartbeat_at=long_ago)
    assert "2 stalled runs marked" in tasks.tidy_up()
    assert "0 stalled runs marked" in tasks.tidy_up()
    assert queued == [("sessions_app.tasks.sweep", nightly.pk, DUE.isoformat(), "schedule", "")]
    tasks.sweep(*queued[0][1:])
    assert names_in(folder) == ["recent"]
    assert CleanupRun.objects.get(pk=dead.pk).state == CleanupRun.State.SUCCEEDED
    assert CleanupRun.objects.get(pk=manual.pk).state == CleanupRun.State.INTERRUPTED
    assert CleanupRun.objects.filter(policy=nightly).count() == 2


def test_a_stalled_sweep_marked_by_another_process_resumes(
    folder: Path, nightly: CleanupPolicy, queued: Queued
) -> None:
    now, due_at = database_now(), DUE
    steps = {step.position: step for step in nightly.steps.all()}
    for position, step in steps.items():
        cleanup.plan_cleanup(step.criteria(max_age_days=7), trigger="schedule", step=step, due_at=due_at)
        marked = CleanupRun.objects.filter(step_position=position)
        marked.update(state=CleanupRun.State.INTERRUPTED, attempt=1, heartbeat_at=now - timedelta(hours=1))
    died, stopped = CleanupRun.objects.order_by("pk")
    CleanupRun.objects.filter(pk=died.pk).update(finished_at=now - timedelta(minutes=10))
    # This run reached its deadline, and its continuation is queued.
    CleanupRun.objects.filter(pk=stopped.pk).update(finished_at=now - timedelta(hours=1))
    assert "0 stalled runs marked" in tasks.tidy_up()
    assert queued == [("sessions_app.tasks.sweep", nightly.pk, DUE.isoformat(), "schedule", "")]
    CleanupRun.objects.filter(pk=died.pk).update(
        heartbeat_at=now - timedelta(hours=30), finished_at=now - timedelta(hours=25)
    )
    tasks.tidy_up()
    assert len(queued) == 1, "a later sweep has removed the rest"


class TestRefused:
    """Another run of the policy is running."""

    @pytest.fixture
    def other(self, folder: Path, nightly: CleanupPolicy) -> CleanupRun:
        criteria, step = Criteria(invalid=True), nightly.steps.get(position=1)
        other = cleanup.plan_cleanup(criteria, trigger="admin", step=step, due_at=database_now())
        CleanupRun.objects.filter(pk=other.pk).update(state="running", heartbeat_at=database_now())
        return other

    def test_a_scheduled_sweep_is_retried(
        self,
        nightly: CleanupPolicy,
        other: CleanupRun,
        queued: Queued,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        due_at = database_now() - timedelta(minutes=10)
        CleanupPolicy.objects.filter(pk=nightly.pk).update(next_run_at=due_at)
        for _ in range(2):
            assert start_due(database_now()) == [nightly]
            assert "retried in a minute" in tasks.sweep(*queued[-1][1:])
        assert len(queued) == 1
        assert "is already running" in caplog.text
        CleanupRun.objects.filter(pk=other.pk).update(state="closed")
        start_due(database_now())
        tasks.sweep(*queued[-1][1:])
        assert CleanupRun.objects.filter(due_at=due_at, state="succeeded").count() == 2
        assert start_due(database_now()) == []

    def test_old_and_manual_sweeps_are_not_retried(self, nightly: CleanupPolicy, other: CleanupRun) -> None:
        tomorrow = database_now() + timedelta(days=1)
        CleanupPolicy.objects.filter(pk=nightly.pk).update(next_run_at=tomorrow)
        assert "not retried" in tasks.sweep(nightly.pk, DUE.isoformat())
        recently = (database_now() - timedelta(minutes=10)).isoformat()
        assert "tried" not in tasks.sweep(nightly.pk, recently, "admin", "root")
        nightly.refresh_from_db()
        assert nightly.next_run_at == tomorrow

    def test_an_approved_plan_that_is_refused_needs_approval_again(
        self, folder: Path, nightly: CleanupPolicy, other: CleanupRun
    ) -> None:
        step = nightly.steps.get(position=1)
        due_at = DUE
        plan = cleanup.plan_cleanup(Criteria(expired=True), trigger="schedule", step=step, due_at=due_at)
        cleanup.hold(plan, "It would take too much.")
        for _ in range(2):
            cleanup.approve_cleanup(plan, actor="root")
            CleanupRun.objects.filter(pk=plan.pk).update(queued_at=database_now())
            assert "is already running" in tasks.run_planned(plan.pk, "admin", "root")
            plan.refresh_from_db()
            assert (plan.state, plan.queued_at, plan.approved_by) == ("held", None, "")
            assert plan.held_because == f"It would take too much. {cleanup.limits.APPROVAL_UNUSED}"
        CleanupRun.objects.filter(pk=other.pk).update(state="closed")
        cleanup.approve_cleanup(plan, actor="root")
        tasks.run_planned(plan.pk, "admin", "root")
        assert "expired" not in names_in(folder)
