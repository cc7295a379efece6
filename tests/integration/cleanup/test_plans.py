"""The counts and the costs of plans, and the end of unused plans."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from sessions_app.cleanup import (
    CleanupInProgress,
    claims,
    close_cleanup,
    drop_old_plans,
    matching,
    plan_cleanup,
    plans,
    replan,
    run_cleanup,
)
from sessions_app.models import CleanupPolicy, CleanupRun, PlannedSessions
from sessions_app.models.clock import database_now
from sessions_app.session.criteria import Criteria
from tests.factories import AS_OF, OLD, live, make_session, make_sessions, plan

pytestmark = pytest.mark.django_db

State = CleanupRun.State


def test_a_plan_counts_sessions_bytes_and_every_reason_and_removes_nothing() -> None:
    make_session("valid")
    old = make_session("old", **OLD)
    both = make_session("both", session_id="", **OLD)
    broken = make_session("broken", cdp_url="")
    run = plan(expired=True, invalid=True)
    assert run.state == State.PLANNED
    assert run.matched_count == 3
    assert run.matched_bytes == old.size_bytes + both.size_bytes + broken.size_bytes
    assert run.matched_reasons == {"expired": 2, "missing_session_id": 1, "missing_cdp_url": 1}
    assert live() == ["both", "broken", "old", "valid"]


def test_a_plan_costs_the_same_queries_whatever_the_size() -> None:
    def queries() -> int:
        with CaptureQueriesContext(connection) as captured:
            plan(expired=True)
        # On SQLite the seal queries the clock until it ticks.
        return len(
            [query for query in captured.captured_queries if "STRFTIME('%Y-%m-%dT" not in query["sql"]]
        )

    make_session("old", **OLD)
    few = queries()
    make_sessions(60, **OLD)
    assert queries() == few


def test_a_plan_counts_the_sessions_that_its_run_would_remove() -> None:
    make_sessions(3, **OLD)
    run = plan(expired=True)
    assert matching(run).count() == run.matched_count == 3


def test_a_plan_of_all_counts_the_pinned_sessions() -> None:
    make_session("a")
    make_session("b", is_pinned=True)
    assert plan(all=True).matched_pinned_count == 1


def test_unused_plans_are_dropped_after_a_day() -> None:
    make_session("old", **OLD)
    plan(expired=True)
    done = run_cleanup(plan(expired=True))
    assert drop_old_plans(as_of=database_now() + timedelta(hours=23)) == 0
    assert drop_old_plans(as_of=database_now() + timedelta(hours=25)) == 1
    assert CleanupRun.objects.get() == done


@pytest.mark.django_db(transaction=True)
@pytest.mark.skipif(connection.vendor != "postgresql", reason="SQLite has one writer, and a busy timeout")
def test_an_open_transaction_blocks_no_plan_for_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(claims, "LOCK_WAIT_MILLISECONDS", 100)
    monkeypatch.setattr(plans, "SEAL_SECONDS", 0.2)
    make_session("old", **OLD)
    other = connection.copy()
    try:
        other.set_autocommit(False)
        with other.cursor() as cursor:
            cursor.execute("UPDATE sessions_app_browsersession SET is_pinned = is_pinned")
        with pytest.raises(CleanupInProgress, match="Nothing was planned"):
            plan(expired=True)
    finally:
        other.rollback()
        other.close()
    assert plan(expired=True).matched_count == 1


def test_the_seal_lies_between_two_ticks_of_the_clock_on_sqlite() -> None:
    make_session("old", **OLD)
    sealed_at = plan(expired=True).sealed_at
    if connection.vendor == "sqlite":
        # Compared as text, a row dated ".514" is earlier than a seal of ".514000".
        assert sealed_at.microsecond % 1000 == 500


def test_the_planned_sessions_are_deleted_when_the_run_has_ended() -> None:
    make_sessions(2, **OLD)
    close_cleanup(plan(expired=True))
    run_cleanup(plan(expired=True))
    assert not PlannedSessions.objects.exists()


def test_replanning_closes_the_plan_of_a_policy_and_deletes_any_other() -> None:
    make_session("old", **OLD)
    step = CleanupPolicy.objects.create(name="Nightly").steps.create(criterion="expired")
    of_policy = plan_cleanup(Criteria(expired=True), trigger="schedule", step=step, due_at=AS_OF)
    manual = plan(expired=True)
    replan(of_policy, trigger="admin", actor="operator")
    replan(manual, trigger="admin", actor="operator")
    of_policy.refresh_from_db()
    assert of_policy.state == State.CLOSED
    assert not CleanupRun.objects.filter(pk=manual.pk).exists()
