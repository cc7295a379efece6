"""Cleanups of sessions whose browsers are gone, alive or in use."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest
from django.db.models import QuerySet

from sessions_app.browsers.probe import Liveness
from sessions_app.cleanup import plan_cleanup, run_cleanup, undo_cleanup
from sessions_app.cleanup.closings import Closing
from sessions_app.liveness.record import Answer, record
from sessions_app.models import ArchivedSession, BrowserSession, CleanupRun, SessionEvent
from sessions_app.models.clock import database_now
from sessions_app.policies import sweep
from sessions_app.session.browser_states import BrowserState
from sessions_app.session.criteria import Criteria
from tests.clients import run
from tests.factories import OLD, archived, live, make_policy, make_session, rewrite

pytestmark = pytest.mark.django_db
MINUTES = timedelta(minutes=1)
SCHEDULE = CleanupRun.Trigger.SCHEDULE


def set_state(
    name: str, state: BrowserState, *, ago: timedelta = MINUTES, probed: timedelta = MINUTES
) -> None:
    """Store the result of probes: a state, and the time of the last probe of a browser in use."""
    now = database_now()
    session = BrowserSession.objects.get(name=name)
    BrowserSession.objects.filter(pk=session.pk).record_browser(
        browser_state=state,
        browser_since=now - ago,
        in_use_at=now - probed if state is BrowserState.IN_USE else session.in_use_at,
    )


def planned(trigger: str = "admin", **criteria: Any) -> CleanupRun:
    return plan_cleanup(Criteria(**criteria), trigger=trigger)


@pytest.fixture(autouse=True)
def sessions() -> None:
    for state in BrowserState:
        make_session(state.code, **OLD)
        set_state(state.code, state)
    make_session("never-probed", **OLD)


class TestGone:
    def test_only_sessions_whose_browser_is_gone_are_removed(self) -> None:
        cleanup = run_cleanup(planned(gone=True))
        assert archived() == ["gone"]
        assert cleanup.removed_reasons == {"gone": 1}
        assert [one.reasons for one in ArchivedSession.objects.all()] == [1 << 12]
        undo_cleanup(cleanup, actor="root")
        assert "gone" in live()

    def test_a_browser_that_answers_again_keeps_its_session(self) -> None:
        plan = planned(gone=True)
        set_state("gone", BrowserState.ALIVE, ago=timedelta())
        assert run_cleanup(plan).removed_count == 0
        assert "gone" in live()

    def test_a_session_whose_browser_is_gone_after_the_plan_is_not_in_it(self) -> None:
        plan = planned(gone=True)
        set_state("alive", BrowserState.GONE, ago=timedelta())
        assert run_cleanup(plan).removed_count == 1
        assert "alive" in live()

    def test_a_session_with_another_endpoint_is_not_gone(self) -> None:
        rewrite(BrowserSession.objects.filter(name="gone"), cdp_url="ws://127.0.0.1:1/devtools/browser/new")
        assert planned(gone=True).matched_count == 0

    def test_a_probe_that_is_stored_after_the_plan_does_not_add_its_session(self) -> None:
        before = database_now() - MINUTES
        plan = planned(gone=True)
        session = BrowserSession.objects.get(name="alive")
        record([Answer(session.pk, session.cdp_url, Liveness.UNREACHABLE, is_closed=True)], before)
        assert run_cleanup(plan).removed_count == 1
        assert "alive" in live()

    def test_a_plan_for_a_future_instant_gains_no_sessions(self) -> None:
        future = database_now() + timedelta(hours=1)
        plan = plan_cleanup(Criteria(gone=True), trigger="command", as_of=future)
        set_state("alive", BrowserState.GONE, ago=timedelta())
        assert run_cleanup(plan).removed_count == 1
        assert "alive" in live()

    def test_a_pinned_session_stays(self) -> None:
        BrowserSession.objects.filter(name="gone").update(is_pinned=True)
        assert planned(gone=True).matched_count == 0

    def test_the_command_counts_each_reason(self) -> None:
        outcome = run("cleanup_sessions", "--gone", "--expired", "--dry-run", "--format", "json")
        assert outcome.json["reasons"] == {"expired": 5, "gone": 1}
        assert outcome.json["browsers"] == {"alive": 2, "in_use": 1}
        assert run("cleanup_sessions", "--gone", "--yes", "--format", "json").json["removed"] == 1

    def test_a_policy_step_removes_sessions_whose_browser_is_gone(self) -> None:
        policy = make_policy("Gone", "gone", brake_percent=None)
        assert sweep(policy, due_at=database_now(), trigger=SCHEDULE).runs[0].removed_count == 1
        assert archived() == ["gone"]


class TestExpired:
    def test_a_manual_cleanup_removes_expired_sessions_even_if_their_browsers_are_alive(self) -> None:
        assert run_cleanup(planned(expired=True)).removed_count == 5

    def test_sessions_whose_browser_is_alive_can_be_excluded(self) -> None:
        run_cleanup(planned(expired=True, not_alive=True))
        assert archived() == ["gone", "never-probed", "unknown"]
        assert live() == ["alive", "in_use"]
        outcome = run("cleanup_sessions", "--expired", "--not-alive", "--dry-run")
        assert "unless their browser is alive" in outcome.out

    @pytest.mark.parametrize("later", [BrowserState.IN_USE, BrowserState.GONE, BrowserState.UNKNOWN])
    def test_a_state_that_changes_later_adds_no_session_to_the_plan(self, later: BrowserState) -> None:
        plan = planned(expired=True, not_alive=True)
        set_state("alive", later, ago=timedelta(), probed=timedelta())
        assert run_cleanup(plan).removed_count == 3
        assert live() == ["alive", "in_use"]

    def test_a_policy_step_can_exclude_sessions_whose_browser_is_alive(self) -> None:
        policy = make_policy("Quiet", ("expired_not_alive", 3), brake_percent=None)
        sweep(policy, due_at=database_now(), trigger=SCHEDULE)
        assert live() == ["alive", "in_use"]


class TestInUse:
    def test_a_scheduled_cleanup_keeps_a_session_in_use(self) -> None:
        plan = planned(SCHEDULE, expired=True)
        assert plan.matched_count == 4
        run_cleanup(plan)
        assert live() == ["in_use"]

    @pytest.mark.parametrize(("minutes", "is_spared"), [(19, True), (21, False)])
    def test_an_older_probe_protects_no_session(self, minutes: int, is_spared: bool) -> None:
        set_state("in_use", BrowserState.IN_USE, probed=minutes * MINUTES)
        run_cleanup(planned(SCHEDULE, expired=True))
        assert (live() == ["in_use"]) == is_spared

    def test_a_session_that_comes_into_use_after_the_plan_is_skipped(self) -> None:
        plan = planned(SCHEDULE, expired=True)
        set_state("alive", BrowserState.IN_USE, ago=timedelta(), probed=timedelta())
        cleanup = run_cleanup(plan)
        assert live() == ["alive", "in_use"]
        (skipped,) = cleanup.skipped_sessions
        assert (skipped["name"], skipped["because"]) == ("alive", "A client is connected to its browser.")

    def test_a_session_whose_client_disconnects_after_the_plan_is_not_in_it(self) -> None:
        plan = planned(SCHEDULE, expired=True)
        set_state("in_use", BrowserState.ALIVE, ago=timedelta())
        run_cleanup(plan)
        assert live() == ["in_use"]
        run_cleanup(planned(SCHEDULE, expired=True))
        assert live() == []

    def test_an_approved_plan_still_keeps_a_session_in_use(self) -> None:
        plan = planned(SCHEDULE, expired=True)
        run_cleanup(plan, trigger="admin", actor="root")
        assert live() == ["in_use"]


class TestClosing:
    """Runs that close browsers. tests/e2e closes real browsers."""

    def close(self, sessions: QuerySet[BrowserSession]) -> list[Closing]:
        found = []
        for session in sessions:
            reason = "It did not end." if session.name == "in_use" else ""
            if reason:
                SessionEvent.objects.create(
                    session_key=session.pk, code=SessionEvent.Code.KEPT, details=reason
                )
            found.append(Closing(session.pk, reason, was_running=session.name != "gone", freed_bytes=1_000))
        return found

    def test_a_session_whose_browser_does_not_close_is_kept_with_the_reason(self) -> None:
        plan = plan_cleanup(Criteria(expired=True), trigger="admin", closes_browsers=True)
        cleanup = run_cleanup(plan, before_removal=self.close)
        assert live() == ["in_use"]
        assert (cleanup.removed_count, cleanup.skipped_count) == (4, 1)
        assert (cleanup.closed_count, cleanup.closed_bytes) == (3, 3_000)
        assert cleanup.skipped_sessions[0]["because"] == "It did not end."

    def test_a_session_without_a_closing_result_is_kept(self) -> None:
        plan = plan_cleanup(Criteria(expired=True), trigger="admin", closes_browsers=True)
        cleanup = run_cleanup(
            plan, before_removal=lambda sessions: self.close(sessions.exclude(name="alive"))
        )
        assert set(live()) == {"in_use", "alive"}
        assert cleanup.removed_count == 3

    def test_a_run_that_closes_browsers_requires_a_closing_function(self) -> None:
        plan = plan_cleanup(Criteria(expired=True), trigger="admin", closes_browsers=True)
        with pytest.raises(TypeError, match="requires before_removal"):
            run_cleanup(plan)
        assert len(live()) == 5

    def test_other_runs_close_no_browsers(self) -> None:
        def refuse(sessions: QuerySet[BrowserSession]) -> list[Closing]:
            raise AssertionError

        assert run_cleanup(planned(expired=True), before_removal=refuse).removed_count == 5

    def test_browsers_are_closed_in_small_batches_and_a_run_resumes(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("sessions_app.cleanup.runs.BATCH_ROWS", 2)
        plan = plan_cleanup(Criteria(expired=True), trigger="admin", closes_browsers=True)
        seen: list[int] = []

        def close(sessions: QuerySet[BrowserSession]) -> list[Closing]:
            if len(seen) == 2:
                raise ConnectionError
            seen.append(len(sessions))
            return self.close(sessions)

        with pytest.raises(ConnectionError):
            run_cleanup(plan, before_removal=close)
        seen.clear()
        assert run_cleanup(plan, before_removal=close).removed_count == 4
        assert live() == ["in_use"]


def test_later_states_add_no_session_to_a_filtered_selection() -> None:
    from sessions_app.session.selection import Selection

    chosen = Criteria(selection=Selection(browser="alive"))
    plan = plan_cleanup(chosen, trigger="admin")
    assert plan.matched_count == 1
    set_state("gone", BrowserState.ALIVE, ago=timedelta())
    assert run_cleanup(plan).removed_count == 1
    assert live() == ["gone", "in_use", "never-probed", "unknown"]


def test_a_past_instant_evaluates_the_states_of_that_time() -> None:
    before: datetime = database_now() - timedelta(hours=1)
    assert plan_cleanup(Criteria(gone=True), trigger="command", as_of=before).matched_count == 0
