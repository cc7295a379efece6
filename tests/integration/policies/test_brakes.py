"""Safety limits that hold a sweep until it is approved."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from sessions_app import cleanup, policies, tasks
from sessions_app.models import CleanupPolicy, CleanupRun
from sessions_app.policies import sweep
from tests.factories import (
    DUE,
    aged,
    archived,
    live,
    make_policy,
    make_session,
    make_sessions,
    run_rows,
    run_sweep,
)

pytestmark = pytest.mark.django_db
State = CleanupRun.State


@pytest.mark.usefixtures("mixed")
class TestBrakes:
    @pytest.fixture
    def policy(self) -> CleanupPolicy:
        return make_policy("Tidy", "invalid", ("expired", 7), ("expired", 1), brake_count=2)

    def held(self) -> CleanupRun:
        return CleanupRun.objects.get(state=State.HELD)

    def test_count_the_removals_of_all_steps(self, policy: CleanupPolicy) -> None:
        result = run_sweep(policy)
        assert run_rows() == [(1, State.SUCCEEDED, 1), (2, State.HELD, 0)]
        assert result.held == self.held()
        assert self.held().held_because == "It would take 3 sessions; the brake is at 2."
        assert len(live()) == 4

    def test_keep_a_held_sweep_when_it_is_delivered_again(self, policy: CleanupPolicy) -> None:
        run_sweep(policy)
        run_sweep(policy)
        assert run_rows() == [(1, State.SUCCEEDED, 1), (2, State.HELD, 0)]

    def test_an_approved_sweep_continues_with_the_rest(self, policy: CleanupPolicy) -> None:
        run_sweep(policy)
        cleanup.approve_cleanup(self.held(), actor="root")
        CleanupPolicy.objects.update(brake_count=4)
        message = tasks.continue_cleanup(CleanupRun.objects.get(step_position=2).pk)
        assert run_rows() == [(1, State.SUCCEEDED, 1), (2, State.SUCCEEDED, 2), (3, State.SUCCEEDED, 1)]
        assert live() == ["fresh"]
        assert "1 of 1 sessions removed" in message

    def test_an_approval_covers_one_step_only(self, policy: CleanupPolicy) -> None:
        run_sweep(policy)
        cleanup.approve_cleanup(self.held(), actor="root")
        tasks.run_planned(CleanupRun.objects.get(step_position=2).pk, "admin", "root")
        assert run_rows() == [(1, State.SUCCEEDED, 1), (2, State.SUCCEEDED, 2), (3, State.HELD, 0)]

    def test_a_dismissed_sweep_stops(self, policy: CleanupPolicy) -> None:
        run_sweep(policy)
        cleanup.close_cleanup(self.held(), actor="root")
        result = run_sweep(policy)
        assert not result.has_ended
        assert "was closed, and the sweep with it" in result.describe()
        assert run_rows() == [(1, State.SUCCEEDED, 1), (2, State.CLOSED, 0)]

    def test_a_later_sweep_replaces_a_held_plan(self, policy: CleanupPolicy) -> None:
        run_sweep(policy)
        first = self.held()
        run_sweep(policy, DUE + timedelta(days=1))
        first.refresh_from_db()
        assert (first.state, first.error) == (State.CLOSED, "A later sweep of the policy took its place.")
        assert self.held().due_at == DUE + timedelta(days=1)
        # A late delivery of the earlier sweep does not replace the later plan.
        run_sweep(policy)
        assert self.held().due_at == DUE + timedelta(days=1)

    def test_a_plan_is_checked_after_its_worker_died_before_the_check(self, policy: CleanupPolicy) -> None:
        step = policy.steps.get(position=2)
        run_sweep(make_policy("Other", "invalid"))
        criteria = step.criteria(max_age_days=7)
        cleanup.plan_cleanup(criteria, trigger="schedule", step=step, due_at=DUE)
        CleanupPolicy.objects.update(brake_count=1)
        policy.refresh_from_db()
        run_sweep(policy)
        assert CleanupRun.objects.get(policy=policy, step_position=2).state == State.HELD

    def test_the_preview_names_the_safety_limit(
        self, policy: CleanupPolicy, django_assert_max_num_queries: Any
    ) -> None:
        with django_assert_max_num_queries(4):
            found = policies.preview(policy)
        assert [(line.session_count, line.is_reached) for line in found.steps] == [
            (1, True),
            (2, True),
            (1, False),
        ]
        assert [line.held_because for line in found.steps] == [
            "",
            "It would take 3 sessions; the brake is at 2.",
            "",
        ]
        assert not CleanupRun.objects.exists()

    def test_the_preview_of_all_counts_the_pinned_ones(self) -> None:
        make_session("dear", is_pinned=True, **aged(0))
        (line,) = policies.preview(make_policy("Everything", "all")).steps
        assert (line.session_count, line.pinned_count) == (6, 1)


class TestManual:
    @pytest.mark.parametrize("trigger", ["admin", "command"])
    def test_all_requires_the_number_without_a_safety_limit(self, trigger: str) -> None:
        make_session("dear", is_pinned=True)
        make_sessions(3)
        policy = make_policy("CI", "all", brake_percent=50)
        assert policies.preview(policy, is_by_hand=True).steps[0].held_because
        assert not policies.preview(policy).steps[0].held_because
        result = sweep(policy, due_at=DUE, trigger=trigger)
        assert result.held is not None
        assert "4 of 4 sessions" in result.held.held_because
        assert len(live()) == 4

    @pytest.mark.usefixtures("mixed")
    def test_less_than_half_runs(self) -> None:
        policy = make_policy("Tidy", "invalid")
        assert sweep(policy, due_at=DUE, trigger="admin").held is None
        assert archived() == ["invalid"]
