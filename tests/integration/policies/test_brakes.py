"""The safety limits, and other reasons for which a sweep needs approval."""

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
class TestSafetyLimits:
    @pytest.fixture
    def policy(self) -> CleanupPolicy:
        return make_policy("Tidy", "invalid", ("expired", 7), ("expired", 1), brake_count=2)

    def held(self) -> CleanupRun:
        return CleanupRun.objects.get(state=State.HELD)

    def test_count_what_all_steps_have_removed(self, policy: CleanupPolicy) -> None:
        result = run_sweep(policy)
        assert run_rows() == [(1, State.SUCCEEDED, 1), (2, State.HELD, 0)]
        assert result.held == self.held()
        assert self.held().held_because == "This would remove 3 sessions; the safety limit is 2."
        assert len(live()) == 4

    def test_a_held_sweep_stays_held_when_it_is_delivered_again(self, policy: CleanupPolicy) -> None:
        run_sweep(policy)
        run_sweep(policy)
        assert run_rows() == [(1, State.SUCCEEDED, 1), (2, State.HELD, 0)]

    def test_an_approved_sweep_continues_with_the_next_steps(self, policy: CleanupPolicy) -> None:
        run_sweep(policy)
        cleanup.approve_cleanup(self.held(), actor="root")
        CleanupPolicy.objects.update(brake_count=4)
        message = tasks.continue_cleanup(CleanupRun.objects.get(step_position=2).pk)
        assert run_rows() == [(1, State.SUCCEEDED, 1), (2, State.SUCCEEDED, 2), (3, State.SUCCEEDED, 1)]
        assert live() == ["fresh"]
        assert "1 of 1 session removed" in message

    def test_an_approval_covers_one_step_and_the_next_is_checked_again(self, policy: CleanupPolicy) -> None:
        make_sessions(3, **aged(3))
        run_sweep(policy)
        cleanup.approve_cleanup(self.held(), actor="root")
        tasks.run_planned(CleanupRun.objects.get(step_position=2).pk, "admin", "root")
        assert run_rows() == [(1, State.SUCCEEDED, 1), (2, State.SUCCEEDED, 2), (3, State.HELD, 0)]
        assert self.held().held_because == "This would remove 4 sessions; the safety limit is 2."

    def test_approved_removals_do_not_count_again(self, policy: CleanupPolicy) -> None:
        run_sweep(policy)
        cleanup.approve_cleanup(self.held(), actor="root")
        tasks.run_planned(CleanupRun.objects.get(step_position=2).pk, "admin", "root")
        assert run_rows() == [(1, State.SUCCEEDED, 1), (2, State.SUCCEEDED, 2), (3, State.SUCCEEDED, 1)]

    def test_a_dismissed_plan_stops_the_sweep(self, policy: CleanupPolicy) -> None:
        run_sweep(policy)
        cleanup.close_cleanup(self.held(), actor="root")
        result = run_sweep(policy)
        assert not result.has_ended
        assert "was dismissed, so the sweep stopped" in result.describe()
        assert run_rows() == [(1, State.SUCCEEDED, 1), (2, State.CLOSED, 0)]

    def test_a_later_sweep_replaces_a_held_plan(self, policy: CleanupPolicy) -> None:
        run_sweep(policy)
        first = self.held()
        run_sweep(policy, DUE + timedelta(days=1))
        first.refresh_from_db()
        assert (first.state, first.error) == (State.CLOSED, "A later sweep of the policy replaced it.")
        assert self.held().due_at == DUE + timedelta(days=1)
        # A late delivery of the earlier sweep leaves the later one alone.
        run_sweep(policy)
        assert self.held().due_at == DUE + timedelta(days=1)

    def test_a_plan_is_checked_if_its_worker_died_before_the_check(self, policy: CleanupPolicy) -> None:
        step = policy.steps.get(position=2)
        run_sweep(make_policy("Other", "invalid"))
        criteria = step.criteria(max_age_days=7)
        cleanup.plan_cleanup(criteria, trigger="schedule", step=step, due_at=DUE)
        CleanupPolicy.objects.update(brake_count=1)
        policy.refresh_from_db()
        run_sweep(policy)
        assert CleanupRun.objects.get(policy=policy, step_position=2).state == State.HELD

    def test_the_preview_shows_the_safety_limit_that_would_stop_it(
        self, policy: CleanupPolicy, django_assert_max_num_queries: Any
    ) -> None:
        with django_assert_max_num_queries(5):
            found = policies.preview(policy)
        assert [(line.session_count, line.is_reached) for line in found.steps] == [
            (1, True),
            (2, True),
            (1, False),
        ]
        assert [line.hold_reason for line in found.steps] == [
            "",
            "This would remove 3 sessions; the safety limit is 2.",
            "",
        ]
        assert not CleanupRun.objects.exists()

    def test_the_preview_of_all_counts_pinned_sessions(self) -> None:
        make_session("dear", is_pinned=True, **aged(0))
        (line,) = policies.preview(make_policy("Everything", "all")).steps
        assert (line.session_count, line.pinned_count) == (6, 1)


class TestManualSweep:
    @pytest.mark.parametrize("trigger", ["admin", "command"])
    def test_removing_all_needs_approval_within_the_safety_limits_too(self, trigger: str) -> None:
        make_session("dear", is_pinned=True)
        make_sessions(3)
        policy = make_policy("CI", "all", brake_percent=50)
        assert policies.preview(policy, is_manual=True).steps[0].hold_reason
        assert not policies.preview(policy).steps[0].hold_reason
        result = sweep(policy, due_at=DUE, trigger=trigger)
        assert result.held is not None
        assert "4 of 4 sessions" in result.held.held_because
        assert len(live()) == 4

    @pytest.mark.usefixtures("mixed")
    def test_removing_less_than_half_needs_no_approval(self) -> None:
        policy = make_policy("Tidy", "invalid")
        assert sweep(policy, due_at=DUE, trigger="admin").held is None
        assert archived() == ["invalid"]
