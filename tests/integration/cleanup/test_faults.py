"""Runs that fail, stop or die midway, and runs that two processes start."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection

from sessions_app.cleanup import CleanupInProgress, mark_stalled_runs, run_cleanup
from sessions_app.deadline import Deadline
from sessions_app.models import ArchivedSession, CleanupRun
from sessions_app.models.clock import database_now
from tests.factories import (
    OLD,
    archived,
    assert_counters_equal_rows,
    forget_sessions,
    live,
    make_session,
    make_sessions,
    plan,
)
from tests.faults import Died, Faulty

pytestmark = pytest.mark.django_db

State = CleanupRun.State


def is_second_batch() -> Callable[[str], bool]:
    seen: list[str] = []

    def is_it(sql: str) -> bool:
        if 'SET "run_id"' in sql:
            seen.append(sql)
        return len(seen) == 2

    return is_it


def fail_at(is_the_one: Callable[[str], bool]) -> Any:
    """Fail the first statement that the function selects, as a lost connection would."""
    has_failed: list[str] = []

    def fail(execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        if not has_failed and is_the_one(sql):
            has_failed.append(sql)
            raise RuntimeError("injected")
        return execute(sql, params, many, context)

    return connection.execute_wrapper(fail)


def test_batches_commit_alone_and_a_failed_run_can_be_resumed() -> None:
    make_sessions(7, **OLD)
    run = plan(expired=True)
    with fail_at(is_second_batch()), pytest.raises(RuntimeError, match="injected"):
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


def test_a_run_stopped_by_its_deadline_can_be_resumed() -> None:
    make_sessions(5, **OLD)
    run = run_cleanup(plan(expired=True), deadline=Deadline(0), batch_size=2)
    assert run.state == State.INTERRUPTED
    assert len(archived()) == 2
    while run.state == State.INTERRUPTED:
        run_cleanup(run, deadline=Deadline(0), batch_size=2)
    assert run.state == State.SUCCEEDED
    assert run.removed_count == 5


@pytest.mark.parametrize("state", [State.RUNNING, State.SUCCEEDED])
def test_a_run_that_is_running_or_has_ended_is_not_run_again(state: str) -> None:
    make_session("old", **OLD)
    run = plan(expired=True)
    CleanupRun.objects.update(state=state)
    with pytest.raises(CleanupInProgress, match=f"Run {run.pk} is already {state}"):
        run_cleanup(run)
    assert live() == ["old"]


def test_a_task_delivered_twice_runs_once() -> None:
    make_session("old", **OLD)
    run = plan(expired=True)
    twin = CleanupRun.objects.get(pk=run.pk)
    run_cleanup(run)
    with pytest.raises(CleanupInProgress):
        run_cleanup(twin)
    assert CleanupRun.objects.get().removed_count == 1


def test_a_batch_of_a_run_that_was_taken_over_is_rolled_back() -> None:
    make_sessions(4, **OLD)
    run = plan(expired=True)

    def take_over(execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        if 'SET "run_id"' in sql:
            execute("UPDATE sessions_app_cleanuprun SET attempt = 99", None, False, context)
        return execute(sql, params, many, context)

    with connection.execute_wrapper(take_over), pytest.raises(CleanupInProgress, match="taken over"):
        run_cleanup(run, batch_size=2)
    assert (len(live()), archived()) == (4, [])


def test_a_run_without_heartbeat_can_be_resumed() -> None:
    make_session("old", **OLD)
    run = plan(expired=True)
    now = database_now()
    CleanupRun.objects.update(state=State.RUNNING, attempt=1, heartbeat_at=now - timedelta(minutes=1))
    assert mark_stalled_runs(as_of=now) == []
    assert mark_stalled_runs(as_of=now + timedelta(minutes=2)) == [run]
    run.refresh_from_db()
    assert run.state == State.INTERRUPTED
    assert run_cleanup(run).removed_count == 1


@pytest.mark.parametrize("is_after", [False, True], ids=["before", "after"])
def test_a_fault_at_any_statement_leaves_each_session_once_and_the_run_resumable(
    is_after: bool,
) -> None:
    # Dying after a statement is mostly the same as dying before the next one: every other one is enough.
    fault = -1
    while True:
        fault += 2
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
            mark_stalled_runs(as_of=database_now() + timedelta(hours=1))
            run.refresh_from_db()
            run_cleanup(run, batch_size=2)
        assert live() == []
        assert run.removed_count == 5
        assert_counters_equal_rows(run)
    assert fault > 15


def test_a_suspended_process_notices_that_its_run_was_taken_over() -> None:
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


def test_resuming_a_run_keeps_its_actor_and_its_error() -> None:
    make_sessions(4, **OLD)
    run = plan(expired=True)
    with fail_at(is_second_batch()), pytest.raises(RuntimeError, match="injected"):
        run_cleanup(run, batch_size=2)
    run.refresh_from_db()
    run_cleanup(run, trigger="admin", actor="operator")
    assert (run.trigger, run.actor, run.resumed_by) == ("command", "tester", "operator")
    assert run.error == ""
    assert "injected" in run.earlier_errors
