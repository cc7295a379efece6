"""Transactions that a busy database refuses are repeated as a whole, and count nothing twice."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
from django.db import OperationalError, connection, transaction
from django_q.models import Schedule

from sessions_app import policies, reports, tasks, transactions
from sessions_app.cleanup import (
    approve_cleanup,
    close_cleanup,
    drop_old_plans,
    empty_archive,
    hold,
    measure_scope,
    replan,
    restore_sessions,
    run_cleanup,
    undo_cleanup,
)
from sessions_app.client.store import SessionStore
from sessions_app.deadline import Deadline
from sessions_app.mirror.registry import register_directory
from sessions_app.models import CleanupPolicy, CleanupRun, QueuedTask, SessionDirectory, StorageSnapshot
from sessions_app.models.clock import database_now
from sessions_app.queue import schedules
from sessions_app.transactions import retry_when_busy
from tests.factories import (
    OLD,
    archived,
    assert_counters_equal_rows,
    counts,
    live,
    make_session,
    make_sessions,
    names_in,
    plan,
    put,
    sync,
)

pytestmark = pytest.mark.django_db(transaction=True)

DAYS = timedelta(days=2)
WRITES = ("INSERT", "UPDATE", "DELETE", "BEGIN", "COPY", "WITH", "LOCK")


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transactions, "FIRST_PAUSE_SECONDS", 0.0)


def busy_error() -> OperationalError:
    """Return the error of a busy database, as its driver and Django raise it."""
    error = OperationalError("database is locked")
    if connection.vendor == "sqlite":
        error.__cause__ = sqlite3.OperationalError("database is locked")
        error.__cause__.sqlite_errorcode = sqlite3.SQLITE_BUSY_SNAPSHOT
    else:
        error.__cause__ = psycopg.errors.LockNotAvailable("canceling statement due to lock timeout")
    return error


class Busy:
    """Refuse each kind of write once; inside a transaction, after it was executed."""

    def __init__(self) -> None:
        self.refused: set[str] = set()

    def __call__(self, execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        is_write = sql.lstrip().startswith(WRITES) or "FOR UPDATE" in sql
        # Statements that differ only in keys and instants are of one kind.
        kind = re.sub(r"\d+", "0", sql)
        if not is_write or kind in self.refused:
            return execute(sql, params, many, context)
        self.refused.add(kind)
        if connection.in_atomic_block:
            execute(sql, params, many, context)
        raise busy_error()


@contextmanager
def refusing_each_write_once() -> Iterator[set[str]]:
    busy = Busy()
    with connection.execute_wrapper(busy):
        yield busy.refused


def test_a_run_and_an_undo_of_files_continue_when_the_database_is_busy(
    folder: Path, directory: SessionDirectory
) -> None:
    names = [f"s-{number}" for number in range(3)]
    for name in names:
        put(folder, name, **OLD)
    with refusing_each_write_once() as refused:
        assert sync(directory).added == 3
        run = run_cleanup(plan(expired=True), batch_size=2)
        assert (run.state, run.removed_count, run.error) == ("succeeded", 3, "")
        assert_counters_equal_rows(run)
        assert (live(), names_in(folder)) == ([], [])
        undo_cleanup(run, batch_size=2)
        assert (run.state, run.restored_count, run.error) == ("undone", 3, "")
        assert (live(), names_in(folder)) == (names, names)
    assert len(refused) > 10


def test_changed_and_vanished_files_are_counted_once_when_the_database_is_busy(
    folder: Path, directory: SessionDirectory
) -> None:
    put(folder, "changed", **OLD)
    sync(directory)
    vanished = put(folder, "vanished", **OLD)
    with refusing_each_write_once() as refused:
        assert counts(sync(directory)) == (1, 0, 1, 0)
        put(folder, "changed")
        vanished.unlink()
        assert counts(sync(directory)) == (0, 1, 0, 1)
        assert empty_archive(database_now() + DAYS)[0] == 1
    assert len(refused) > 10


def test_plans_and_runs_are_complete_when_the_database_is_busy() -> None:
    make_sessions(3, **OLD)
    with refusing_each_write_once() as refused:
        run = plan(expired=True)
        assert len(run.planned_sessions.ids_json) == 3
        measure_scope(run)
        run.refresh_from_db()
        assert run.before_count == 3
        approve_cleanup(hold(run, "Look first."), actor="root")
        again = replan(run, trigger="command", actor="tester")
        close_cleanup(again, actor="root")
        assert list(CleanupRun.objects.values_list("state", flat=True)) == ["closed", "closed"]
        plan(expired=True)
        assert drop_old_plans(as_of=database_now() + DAYS) == 1
        assert CleanupRun.objects.count() == 2
    assert len(refused) > 7


def test_single_sessions_are_restored_once_and_counted_once() -> None:
    make_session("old", **OLD)
    run = run_cleanup(plan(expired=True))
    with refusing_each_write_once() as refused:
        assert restore_sessions(run.archived_sessions.values_list("pk", flat=True)) == 1
    run.refresh_from_db()
    assert (run.restored_count, archived(), live()) == (1, [], ["old"])
    assert len(refused) >= 2


@pytest.mark.parametrize("is_mirrored", [False, True], ids=["namespace", "folder"])
def test_a_manager_saves_touches_and_deletes_when_the_database_is_busy(
    is_mirrored: bool, folder: Path
) -> None:
    content = {"session_id": "1", "cdp_url": "ws://127.0.0.1:9", "browser_type": "chromium"}
    with refusing_each_write_once() as refused:
        directory = register_directory(folder, namespace="own") if is_mirrored else None
        store = SessionStore("own", directory)
        store.save("login", content)
        store.touch("login")
        assert live() == ["login"]
        assert store.delete("login")
        assert live() == []
    assert len(refused) > 7


def test_policies_schedules_and_snapshots_continue_when_the_database_is_busy() -> None:
    policy = CleanupPolicy.objects.create(
        name="own", schedule="0 2 * * *", is_enabled=True, next_run_at=database_now() - DAYS
    )
    CleanupPolicy.objects.exclude(pk=policy.pk).delete()
    Schedule.objects.all().delete()
    with refusing_each_write_once() as refused:
        assert policies.start_due(database_now()) == [policy]
        assert QueuedTask.objects.count() == 1
        assert schedules.sync_schedules(now=database_now()) == "added"
        assert Schedule.objects.count() == 1
        reports.take_snapshot(as_of=database_now(), max_age_days=7)
        assert StorageSnapshot.objects.count() == 1
    assert len(refused) > 4


def test_a_run_that_its_deadline_stops_while_the_database_is_busy_is_queued_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(tasks, "_deadline", lambda: Deadline(0))
    make_sessions(2, **OLD)
    run = plan(expired=True)
    with refusing_each_write_once():
        tasks.continue_cleanup(run.pk)
    run.refresh_from_db()
    assert (run.state, run.removed_count) == ("interrupted", 0)
    assert QueuedTask.objects.count() == 1
    assert run_cleanup(run).removed_count == 2


def test_other_errors_are_not_retried() -> None:
    calls: list[str] = []

    def fail() -> None:
        calls.append("work")
        raise OperationalError("no such table") from sqlite3.OperationalError("no such table")

    with pytest.raises(OperationalError, match="no such table"):
        retry_when_busy(fail)
    assert calls == ["work"]


def test_nothing_is_retried_inside_a_transaction_of_the_caller() -> None:
    make_session("old", **OLD)
    run = plan(expired=True)
    with pytest.raises(OperationalError), transaction.atomic(), refusing_each_write_once():
        hold(run, "Look first.")


@pytest.mark.parametrize("limit", [{"seconds": 0.0}, {"deadline": Deadline(0)}], ids=["seconds", "deadline"])
def test_retries_end_at_the_time_limit(limit: dict[str, Any]) -> None:
    calls: list[str] = []

    def work() -> None:
        calls.append("work")
        raise busy_error()

    with pytest.raises(OperationalError, match="locked"):
        retry_when_busy(work, **limit)
    assert calls == ["work"]


@pytest.mark.skipif(connection.vendor != "sqlite", reason="PostgreSQL does not have this lock")
def test_the_errors_of_sqlite_are_recognized(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another connection holds the write lock during the first two attempts."""
    monkeypatch.setitem(connection.settings_dict["OPTIONS"], "timeout", 0.01)
    connection.close()
    other = connection.copy()
    attempts: list[str] = []

    def work() -> None:
        attempts.append("work")
        if len(attempts) == 3:
            other.rollback()
        make_session("new")

    try:
        other.set_autocommit(False)
        with other.cursor() as cursor:
            cursor.execute("BEGIN IMMEDIATE")
        retry_when_busy(work)
    finally:
        other.close()
        connection.close()
    assert (len(attempts), live()) == (3, ["new"])
