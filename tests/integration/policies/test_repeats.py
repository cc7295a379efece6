"""Sweeps that are delivered twice, interrupted or concurrent, or whose policy changes."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from datetime import datetime, timedelta

import pytest
from django.db import connections

from sessions_app import cleanup, tasks
from sessions_app.deadline import Deadline
from sessions_app.models import CleanupPolicy, CleanupRun, CleanupStep
from sessions_app.models.clock import database_now
from sessions_app.policies import sweeps
from tests.factories import (
    DUE,
    INVALID,
    aged,
    archived,
    live,
    make_policy,
    make_session,
    make_sessions,
    run_rows,
    run_sweep,
)
from tests.faults import Died, Faulty

pytestmark = pytest.mark.django_db
State = CleanupRun.State


@pytest.mark.usefixtures("mixed")
class TestDeliveredTwice:
    def test_a_task_delivered_twice_creates_one_run(self) -> None:
        policy = make_policy("Tidy", "invalid", ("expired", 7))
        run_sweep(policy)
        before = list(CleanupRun.objects.order_by("pk").values())
        make_session("worse", **aged(0), **INVALID)
        result = run_sweep(policy)
        assert list(CleanupRun.objects.order_by("pk").values()) == before
        assert (result.removed_count("expired"), result.removed_count("invalid")) == (2, 1)
        assert "worse" in live()

    def test_an_undone_step_is_not_run_again(self) -> None:
        policy = make_policy("Tidy", "invalid")
        (run,) = run_sweep(policy).runs
        cleanup.undo_cleanup(run, actor="root")
        run_sweep(policy)
        assert run_rows() == [(1, State.UNDONE, 1)]
        assert "invalid" in live()

    @pytest.mark.parametrize("is_after", [False, True])
    def test_a_sweep_resumes_wherever_its_worker_was_killed(self, is_after: bool) -> None:
        policy = make_policy("Tidy", "invalid", ("expired", 7))
        # Dying after a statement is mostly the same as dying before the next one: every other one is enough.
        number = -1
        while True:
            number += 2
            due_at = DUE + timedelta(minutes=number)
            kill = Faulty(number, is_after=is_after)
            try:
                with kill:
                    run_sweep(policy, due_at)
            except Died:
                pass
            if not kill.has_failed:
                break
            cleanup.mark_stalled_runs(as_of=database_now() + timedelta(hours=1))
            run_sweep(policy, due_at)
            runs = CleanupRun.objects.filter(due_at=due_at).order_by("step_position")
            assert [(run.state, run.removed_count) for run in runs] == [
                (State.SUCCEEDED, 1),
                (State.SUCCEEDED, 2),
            ], f"killed at statement {number}"
            for run in runs:
                cleanup.undo_cleanup(run)
            assert len(live()) == 5
        assert number > 20

    def test_a_sweep_stopped_by_its_deadline_resumes(self) -> None:
        policy = make_policy("Tidy", "invalid", ("expired", 7))
        result = run_sweep(policy, deadline=Deadline.after(-1))
        assert (result.is_interrupted, run_rows()) == (True, [(1, State.INTERRUPTED, 1)])
        result = run_sweep(policy, deadline=Deadline.after(-1))
        assert (result.is_interrupted, len(result.runs)) == (True, 1)
        assert not run_sweep(policy).is_interrupted
        assert run_rows() == [(1, State.SUCCEEDED, 1), (2, State.SUCCEEDED, 2)]

    def test_an_approved_plan_that_never_ran_is_closed_and_not_planned_again(self) -> None:
        policy = make_policy("Tidy", "invalid", brake_count=0)
        run_sweep(policy)
        cleanup.approve_cleanup(CleanupRun.objects.get(), actor="root")
        assert cleanup.drop_old_plans(as_of=database_now() + timedelta(hours=25)) == 1
        run_sweep(policy)
        assert run_rows() == [(1, State.CLOSED, 0)]


@pytest.mark.usefixtures("mixed")
class TestChangedMidway:
    def test_a_sweep_of_a_changed_policy_stops(self, caplog: pytest.LogCaptureFixture) -> None:
        caplog.set_level(logging.INFO)
        policy = make_policy("Tidy", "invalid", ("expired", 7))
        run_sweep(policy, deadline=Deadline.after(-1))
        run_sweep(policy, deadline=Deadline.after(-1))
        first, second = policy.steps.all()
        CleanupStep.objects.filter(pk=first.pk).update(criterion="expired", max_age_days=7)
        CleanupStep.objects.filter(pk=second.pk).update(criterion="invalid", max_age_days=None)
        result = run_sweep(CleanupPolicy.objects.get(pk=policy.pk))
        assert "The policy was changed in the meantime" in result.describe()
        assert not result.has_ended
        assert not any("complete" in message for message in caplog.messages)
        assert run_rows() == [(1, State.SUCCEEDED, 1)]
        run_sweep(CleanupPolicy.objects.get(pk=policy.pk), DUE + timedelta(days=1))
        assert archived() == ["days-08", "days-31", "invalid"]


@pytest.mark.django_db(transaction=True)
class TestConcurrentSweeps:
    """Two threads with separate connections stand for two processes."""

    @pytest.fixture
    def policy(self) -> CleanupPolicy:
        make_session("invalid", **INVALID)
        make_session("old", **aged(8))
        # A manual sweep that removes more than half would need approval.
        make_sessions(3, **aged(0))
        return make_policy("Nightly", "invalid", ("expired", 7))

    @pytest.fixture
    def running_sweep(self, policy: CleanupPolicy) -> Iterator[int]:
        """A sweep in another thread that waits in its first run."""
        is_inside, may_end = threading.Event(), threading.Event()

        def wait(sessions: int) -> None:
            is_inside.set()
            may_end.wait(30)

        def work() -> None:
            try:
                run_sweep(CleanupPolicy.objects.get(pk=policy.pk), progress=wait)
            finally:
                connections.close_all()

        thread = threading.Thread(target=work)
        thread.start()
        assert is_inside.wait(30)
        yield CleanupRun.objects.get().pk
        may_end.set()
        thread.join(30)
        assert run_rows() == [(1, State.SUCCEEDED, 1), (2, State.SUCCEEDED, 1)]

    @pytest.mark.parametrize("due_at", [DUE, DUE + timedelta(days=1)], ids=["the same sweep", "another"])
    def test_a_second_sweep_is_refused(
        self, policy: CleanupPolicy, running_sweep: int, due_at: datetime
    ) -> None:
        with pytest.raises(
            cleanup.CleanupInProgress, match=f"“Nightly” is already running: run {running_sweep}"
        ):
            run_sweep(policy, due_at)
        assert CleanupRun.objects.count() == 1

    def test_the_database_refuses_a_second_sweep_without_the_first_check(
        self, policy: CleanupPolicy, running_sweep: int, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(sweeps, "_refuse_concurrent", lambda policy: None)
        make_session("worse", **INVALID)
        with pytest.raises(
            cleanup.CleanupInProgress, match=f"“Nightly” is already running: run {running_sweep}"
        ):
            run_sweep(policy, DUE + timedelta(days=1))
        assert CleanupRun.objects.count() == 1, "the plan of the refused sweep is deleted"

    def test_two_workers_that_start_together_run_each_step_once(self, policy: CleanupPolicy) -> None:
        barrier = threading.Barrier(2)
        results: list[str] = []

        def work() -> None:
            try:
                barrier.wait(30)
                results.append(tasks.sweep(policy.pk, DUE.isoformat(), "admin"))
            finally:
                connections.close_all()

        workers = [threading.Thread(target=work) for _ in range(2)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join(60)
        assert len(results) == 2
        assert run_rows() == [(1, State.SUCCEEDED, 1), (2, State.SUCCEEDED, 1)]
        assert archived() == ["invalid", "old"]
