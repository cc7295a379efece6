"""Sessions that a user leaves out of a plan are always kept."""

from __future__ import annotations

from datetime import timedelta

import pytest

from sessions_app.cleanup import (
    CleanupInProgress,
    CleanupRefused,
    approve_cleanup,
    discard_plan,
    hold,
    include_again,
    leave_out,
    left_out,
    replan,
    run_cleanup,
)
from sessions_app.deadline import Deadline
from sessions_app.models import BrowserSession, CleanupRun, PlannedSessions
from sessions_app.models.clock import database_now
from sessions_app.session.browser_states import BrowserState
from tests.factories import OLD, archived, live, make_session, make_sessions, plan, swept

pytestmark = pytest.mark.django_db


def id_of(name: str) -> int:
    return BrowserSession.objects.get(name=name).pk


def test_a_left_out_session_is_kept_and_no_longer_counted() -> None:
    make_sessions(4, **OLD)
    run = plan(expired=True)
    planned_bytes = run.matched_bytes
    assert leave_out(run, [id_of("session-001"), id_of("session-001")]) == 1
    assert (run.matched_count, run.matched_reasons) == (3, {"expired": 3})
    assert run.matched_bytes * 4 == planned_bytes * 3
    assert run.criteria.describe().endswith("ago), except 1 left out")
    run = run_cleanup(run)
    assert (run.removed_count, run.skipped_count, run.skipped_sessions) == (3, 0, [])
    assert live() == ["session-001"]


def test_a_resumed_run_still_keeps_left_out_sessions() -> None:
    make_sessions(6, **OLD)
    run = plan(expired=True)
    leave_out(run, [id_of("session-004"), id_of("session-005")])
    run = run_cleanup(run, batch_size=2, deadline=Deadline.after(0))
    assert run.state == CleanupRun.State.INTERRUPTED
    run = run_cleanup(CleanupRun.objects.get(pk=run.pk), batch_size=2)
    assert live() == ["session-004", "session-005"]
    assert (run.removed_count, run.matched_count) == (4, 4)


def test_a_session_that_has_changed_is_still_counted_as_skipped() -> None:
    make_sessions(3, **OLD)
    run = plan(expired=True)
    BrowserSession.objects.filter(name="session-000").update(is_pinned=True)
    # The changed session is no longer part of the plan.
    assert leave_out(run, [id_of("session-000"), id_of("session-001")]) == 1
    run = run_cleanup(run)
    assert (run.matched_count, run.removed_count, run.skipped_count) == (2, 1, 1)
    assert [session["name"] for session in run.skipped_sessions] == ["session-000"]


def test_a_plan_that_needs_approval_and_its_replacement_leave_out_the_same_sessions() -> None:
    make_sessions(3, **OLD)
    run = hold(plan(expired=True), "Too many.")
    leave_out(run, [id_of("session-002")])
    run = replan(approve_cleanup(run, actor="ada"), trigger="admin", actor="ada")
    assert run.matched_count == 2
    run_cleanup(run)
    assert live() == ["session-002"]


def test_left_out_sessions_are_included_again_unless_they_have_changed() -> None:
    make_session("pinned", is_pinned=True)
    make_sessions(3, **OLD)
    run = plan(all=True)
    leave_out(run, [id_of("pinned"), id_of("session-000"), id_of("session-001")])
    assert (run.matched_count, run.matched_pinned_count) == (1, 0)
    assert PlannedSessions.objects.get(pk=run.pk).ids_json == [id_of("session-002")]
    BrowserSession.objects.filter(name="session-001").update(is_pinned=True)
    assert include_again(run) == 2
    assert (run.matched_count, run.matched_pinned_count) == (3, 1)
    assert run.criteria_json == plan(all=True).criteria_json
    run_cleanup(run)
    assert archived() == ["pinned", "session-000", "session-002"]


@pytest.mark.parametrize("column", ["queued_at", "approved_at"])
def test_no_session_can_be_added_to_a_confirmed_plan(column: str) -> None:
    make_sessions(3, **OLD)
    run = plan(expired=True)
    leave_out(run, [id_of("session-000")])
    CleanupRun.objects.filter(pk=run.pk).update(**{column: run.planned_at})
    with pytest.raises(CleanupInProgress, match="already confirmed"):
        include_again(run)
    run_cleanup(run)
    assert live() == ["session-000"]


def test_live_browsers_are_counted_again() -> None:
    make_sessions(2, **OLD)
    BrowserSession.objects.filter(name="session-000").record_browser(
        browser_state=BrowserState.ALIVE,
        browser_since=database_now() - timedelta(hours=1),
    )
    run = plan(expired=True)
    assert run.matched_browsers == {"alive": 1, "in_use": 0}
    leave_out(run, [id_of("session-000")])
    assert run.matched_browsers == {}
    include_again(run)
    assert run.matched_browsers == {"alive": 1, "in_use": 0}


def test_no_session_can_be_left_out_of_a_run_that_has_started() -> None:
    make_session("old", **OLD)
    run = swept(expired=True)
    with pytest.raises(CleanupInProgress, match="already succeeded"):
        leave_out(run, [1])
    with pytest.raises(CleanupInProgress, match="already succeeded"):
        include_again(run)


def test_the_number_of_left_out_sessions_is_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(left_out, "LEFT_OUT_LIMIT", 2)
    make_sessions(4, **OLD)
    run = plan(expired=True)
    ids = list(BrowserSession.objects.order_by("pk").values_list("pk", flat=True))
    leave_out(run, ids[:2])
    with pytest.raises(CleanupRefused, match="at most 2"):
        leave_out(run, ids[2:])
    run.refresh_from_db()
    assert run.matched_count == 2


def test_discarding_deletes_a_preview_and_closes_a_plan_of_a_policy() -> None:
    make_session("old", age=timedelta(days=30))
    preview = plan(expired=True)
    assert discard_plan(preview, actor="ada") is None
    assert not CleanupRun.objects.exists()
    approved = approve_cleanup(hold(plan(expired=True), "Too many."), actor="ada")
    closed = discard_plan(approved, actor="grace")
    assert closed is not None
    assert (closed.state, closed.closed_by) == ("closed", "grace")
    assert live() == ["old"]
    with pytest.raises(CleanupInProgress):
        discard_plan(closed, actor="grace")
