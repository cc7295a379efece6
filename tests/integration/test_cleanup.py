from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from sessions_app.cleanup import (
    CleanupInProgress,
    batches,
    claims,
    close_cleanup,
    drop_old_plans,
    make_again,
    mark_dead_runs,
    matching,
    plan_cleanup,
    run_cleanup,
)
from sessions_app.criteria import Criteria
from sessions_app.deadline import Deadline
from sessions_app.models import (
    ArchivedSession,
    BrowserSession,
    CleanupPolicy,
    CleanupRun,
    PlannedSessions,
    StoredSession,
)
from sessions_app.models.clock import database_now
from tests.integration.faults import Died, Faulty
from tests.integration.sessions import (
    AS_OF,
    OLD,
    archived,
    forget_sessions,
    live,
    make_session,
    make_sessions,
    plan,
)

pytestmark = pytest.mark.django_db

State = CleanupRun.State
STORED = [field.attname for field in StoredSession._meta.local_concrete_fields]


def assert_counters_equal_rows(run: CleanupRun) -> None:
    rows = run.archived_sessions.all()
    assert run.removed_count == len(rows)
    assert run.removed_bytes == sum(row.size_bytes for row in rows)


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
        # The seal on SQLite asks the clock until it ticks.
        return len(
            [query for query in captured.captured_queries if "STRFTIME('%Y-%m-%dT" not in query["sql"]]
        )

    make_session("old", **OLD)
    few = queries()
    make_sessions(60, **OLD)
    assert queries() == few


@pytest.mark.parametrize(
    ("criteria", "taken"),
    [
        ({"expired": True}, ["old", "old-webkit", "other-old", "unreadable"]),
        ({"expired": True, "namespace": "shop"}, ["old", "old-webkit", "unreadable"]),
        ({"expired": True, "browser_type": "webkit"}, ["old-webkit"]),
        ({"expired": True, "max_age_days": 100}, ["unreadable"]),
        ({"invalid": True}, ["invalid", "unreadable"]),
        ({"expired": True, "invalid": True, "namespace": "bank"}, ["other-old"]),
        (
            {"all": True, "namespace": "shop"},
            ["invalid", "old", "old-webkit", "pinned-old", "unreadable", "valid"],
        ),
    ],
)
def test_a_run_takes_what_its_criteria_name(criteria: dict[str, Any], taken: list[str]) -> None:
    make_session("valid")
    make_session("invalid", session_id="")
    make_session("old", **OLD)
    make_session("old-webkit", browser_type="webkit", **OLD)
    make_session("unreadable", last_accessed="?")
    make_session("pinned-old", is_pinned=True, **OLD)
    make_session("other-old", namespace="bank", **OLD)
    everything = live()
    run = run_cleanup(plan(**criteria))
    assert archived() == taken
    assert live() == [name for name in everything if name not in taken]
    assert run.state == State.SUCCEEDED
    assert (run.removed_count, run.skipped_count) == (len(taken), 0)
    assert run.removed_reasons == run.matched_reasons
    assert_counters_equal_rows(run)


def test_selected_sessions_go_but_pinned_ones_stay() -> None:
    chosen = [make_session("a").pk, make_session("b", is_pinned=True).pk, 999_999]
    make_session("c")
    run = run_cleanup(plan(session_ids=tuple(chosen)))
    assert archived() == ["a"]
    assert run.matched_count == 1
    assert run.removed_reasons == {"selected": 1}


def test_the_archive_holds_every_column_byte_for_byte_and_the_reasons() -> None:
    session = make_session("old", metadata={"title": "Übersicht \0 \ud83e"}, cdp_url="", **OLD)
    before = BrowserSession.objects.values("id", *STORED).get()
    run = run_cleanup(plan(expired=True, invalid=True))
    after = ArchivedSession.objects.values("id", *STORED).get()
    assert bytes(after.pop("document")) == bytes(before.pop("document")) == bytes(session.document)
    assert after == before
    assert ArchivedSession.objects.get().reasons == 2 + 256
    assert ArchivedSession.objects.get().run == run


Change = Callable[[BrowserSession], Any]
CHANGES: dict[str, Change] = {
    "touched": lambda s: BrowserSession.objects.filter(pk=s.pk).update(last_accessed=AS_OF),
    "pinned": lambda s: BrowserSession.objects.filter(pk=s.pk).update(is_pinned=True),
    "saved": lambda s: s.save(),
    "still expired, but written": lambda s: BrowserSession.objects.filter(pk=s.pk).update(
        browser_type="webkit"
    ),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_session_changed_after_the_preview_survives(change: str) -> None:
    changed = make_session("changed", **OLD)
    make_session("old", **OLD)
    run = plan(expired=True)
    CHANGES[change](changed)
    make_session("arrived-later", **OLD)
    run_cleanup(run)
    assert live() == ["arrived-later", "changed"]
    assert (run.matched_count, run.removed_count, run.skipped_count) == (2, 1, 1)


def test_what_the_plan_counts_is_what_it_would_take() -> None:
    make_sessions(3, **OLD)
    run = plan(expired=True)
    assert matching(run).count() == run.matched_count == 3


def test_batches_commit_alone_and_a_failed_run_can_be_resumed() -> None:
    make_sessions(7, **OLD)
    run = plan(expired=True)
    with fail_at(is_second_delete()), pytest.raises(RuntimeError, match="injected"):
        run_cleanup(run, batch_size=3)
    run.refresh_from_db()
    assert run.state == State.FAILED
    assert "injected" in run.error
    assert (len(live()), len(archived())) == (4, 3)
    assert_counters_equal_rows(run)
    run_cleanup(run, batch_size=3)
    assert run.state == State.SUCCEEDED
    assert run.error == ""
    assert (len(live()), len(archived())) == (0, 7)
    assert_counters_equal_rows(run)


def test_a_run_that_meets_its_deadline_is_left_to_be_resumed() -> None:
    make_sessions(5, **OLD)
    run = run_cleanup(plan(expired=True), deadline=Deadline(0), batch_size=2)
    assert run.state == State.INTERRUPTED
    assert len(archived()) == 2
    while run.state == State.INTERRUPTED:
        run_cleanup(run, deadline=Deadline(0), batch_size=2)
    assert run.state == State.SUCCEEDED
    assert run.removed_count == 5


def test_large_documents_make_smaller_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    make_sessions(5, metadata={"har": "x" * 1_000}, **OLD)
    monkeypatch.setattr(batches, "BATCH_BYTES", 2_000)
    done: list[int] = []
    run_cleanup(plan(expired=True), progress=done.append)
    assert done == [2, 2, 1]


def test_the_ledger_names_who_ran_it_and_not_who_planned_it() -> None:
    make_session("old", **OLD)
    run = run_cleanup(plan(expired=True), trigger="admin", actor="operator")
    assert (run.trigger, run.actor) == ("admin", "operator")


def test_a_plan_of_all_tells_how_many_are_pinned() -> None:
    make_session("a")
    make_session("b", is_pinned=True)
    assert plan(all=True).matched_pinned_count == 1


def test_plans_of_which_nothing_came_are_dropped_after_a_day() -> None:
    make_session("old", **OLD)
    plan(expired=True)
    done = run_cleanup(plan(expired=True))
    assert drop_old_plans(as_of=database_now() + timedelta(hours=23)) == 0
    assert drop_old_plans(as_of=database_now() + timedelta(hours=25)) == 1
    assert CleanupRun.objects.get() == done


@pytest.mark.django_db(transaction=True)
@pytest.mark.skipif(connection.vendor != "postgresql", reason="SQLite has one writer, and a busy timeout")
def test_a_transaction_left_open_stops_no_plan_for_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(claims, "LOCK_WAIT_MILLISECONDS", 100)
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


@pytest.mark.parametrize("state", [State.RUNNING, State.SUCCEEDED])
def test_a_run_that_is_at_work_or_has_ended_is_not_run_again(state: str) -> None:
    make_session("old", **OLD)
    run = plan(expired=True)
    CleanupRun.objects.update(state=state)
    with pytest.raises(CleanupInProgress, match=f"Run {run.pk} is {state}"):
        run_cleanup(run)
    assert live() == ["old"]


def test_a_doubled_task_takes_the_run_once() -> None:
    make_session("old", **OLD)
    run = plan(expired=True)
    twin = CleanupRun.objects.get(pk=run.pk)
    run_cleanup(run)
    with pytest.raises(CleanupInProgress):
        run_cleanup(twin)
    assert CleanupRun.objects.get().removed_count == 1


def test_a_batch_of_a_run_that_was_taken_over_is_undone() -> None:
    make_sessions(4, **OLD)
    run = plan(expired=True)

    def take_over(execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        if "DELETE FROM" in sql:
            execute("UPDATE sessions_app_cleanuprun SET attempt = 99", None, False, context)
        return execute(sql, params, many, context)

    with connection.execute_wrapper(take_over), pytest.raises(CleanupInProgress, match="taken over"):
        run_cleanup(run, batch_size=2)
    assert (len(live()), archived()) == (4, [])


def test_a_run_whose_heart_stopped_can_be_resumed() -> None:
    make_session("old", **OLD)
    run = plan(expired=True)
    now = database_now()
    CleanupRun.objects.update(state=State.RUNNING, attempt=1, heartbeat_at=now - timedelta(minutes=1))
    assert mark_dead_runs(as_of=now) == []
    assert mark_dead_runs(as_of=now + timedelta(minutes=2)) == [run]
    run.refresh_from_db()
    assert run.state == State.INTERRUPTED
    assert run_cleanup(run).removed_count == 1


def is_second_delete() -> Callable[[str], bool]:
    seen: list[str] = []

    def is_it(sql: str) -> bool:
        if "DELETE FROM" in sql:
            seen.append(sql)
        return len(seen) == 2

    return is_it


def fail_at(is_the_one: Callable[[str], bool]) -> Any:
    """Let the first statement fail of which the function says so, as a lost connection would."""
    has_failed: list[str] = []

    def fail(execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        if not has_failed and is_the_one(sql):
            has_failed.append(sql)
            raise RuntimeError("injected")
        return execute(sql, params, many, context)

    return connection.execute_wrapper(fail)


@pytest.mark.parametrize("is_after", [False, True], ids=["before", "after"])
def test_a_fault_at_any_statement_leaves_each_session_live_or_archived_and_the_run_finishable(
    is_after: bool,
) -> None:
    fault = 0
    while True:
        fault += 1
        ArchivedSession.objects.all().delete()
        forget_sessions()
        make_sessions(5, **OLD)
        run = plan(expired=True)
        with Faulty(fault, is_after=is_after) as faulty, suppress(Died):
            run_cleanup(run, batch_size=2)
        assert sorted(live() + archived()) == [f"session-{number:03}" for number in range(5)]
        run.refresh_from_db()
        assert_counters_equal_rows(run)
        if not faulty.has_failed:
            break
        if run.state != State.SUCCEEDED:
            mark_dead_runs(as_of=database_now() + timedelta(hours=1))
            run.refresh_from_db()
            run_cleanup(run, batch_size=2)
        assert live() == []
        assert run.removed_count == 5
        assert_counters_equal_rows(run)
    assert fault > 15


def test_the_seal_lies_between_two_ticks_of_the_clock_on_sqlite() -> None:
    make_session("old", **OLD)
    sealed_at = plan(expired=True).sealed_at
    if connection.vendor == "sqlite":
        # As texts, a row of ".514" comes before a seal of ".514000".
        assert sealed_at.microsecond % 1000 == 500


def test_every_skipped_session_is_named_though_it_was_written_while_the_plan_was_made() -> None:
    make_sessions(3, **OLD)
    changed = BrowserSession.objects.earliest("pk")

    def change(execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        # Counted, and not listed yet.
        if sql.startswith("INSERT") and "cleanuprun" in sql:
            BrowserSession.objects.filter(pk=changed.pk).update(last_accessed=AS_OF)
        return execute(sql, params, many, context)

    with connection.execute_wrapper(change):
        run = plan(expired=True)
    run_cleanup(run)
    assert run.removed_count + run.skipped_count == run.matched_count
    assert [row["name"] for row in run.skipped_sessions] == [changed.name] * run.skipped_count


def test_a_process_that_was_halted_does_not_take_itself_for_the_one_that_took_over() -> None:
    make_sessions(6, **OLD)
    run = plan(expired=True)
    seen: list[str] = []

    def take_over(execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        # After the commit of the first batch, before the run is read again.
        if sql.startswith("SELECT") and '"attempt"' in sql and ArchivedSession.objects.exists() and not seen:
            seen.append(sql)
            execute("UPDATE sessions_app_cleanuprun SET attempt = attempt + 1", None, False, context)
        return execute(sql, params, many, context)

    with connection.execute_wrapper(take_over), pytest.raises(CleanupInProgress, match="taken over"):
        run_cleanup(run, batch_size=2)
    assert seen
    assert (len(live()), len(archived())) == (4, 2)
    assert CleanupRun.objects.get().removed_count == 2


def test_going_on_with_a_run_forgets_neither_who_started_it_nor_what_went_wrong() -> None:
    make_sessions(4, **OLD)
    run = plan(expired=True)
    with fail_at(is_second_delete()), pytest.raises(RuntimeError, match="injected"):
        run_cleanup(run, batch_size=2)
    run.refresh_from_db()
    run_cleanup(run, trigger="admin", actor="operator")
    assert (run.trigger, run.actor, run.resumed_by) == ("command", "tester", "operator")
    assert run.error == ""
    assert "injected" in run.earlier_errors


def test_what_the_plan_listed_is_not_kept_when_the_run_is_over() -> None:
    make_sessions(2, **OLD)
    close_cleanup(plan(expired=True))
    run_cleanup(plan(expired=True))
    assert not PlannedSessions.objects.exists()


def test_a_plan_of_a_policy_is_closed_when_it_is_made_again_and_another_one_goes() -> None:
    make_session("old", **OLD)
    step = CleanupPolicy.objects.create(name="Nightly").steps.create(criterion="expired")
    of_policy = plan_cleanup(Criteria(expired=True), trigger="schedule", step=step, due_at=AS_OF)
    by_hand = plan(expired=True)
    make_again(of_policy, trigger="admin", actor="operator")
    make_again(by_hand, trigger="admin", actor="operator")
    of_policy.refresh_from_db()
    assert of_policy.state == State.CLOSED
    assert not CleanupRun.objects.filter(pk=by_hand.pk).exists()
