"""The queries for findings."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from sessions_app.alerts import run_sources, sources
from sessions_app.alerts.findings import Code, Finding, visible_findings
from sessions_app.alerts.sources import find
from sessions_app.cleanup import run_cleanup, undo_cleanup
from sessions_app.mirror.registry import register_directory
from sessions_app.models import (
    AlertRule,
    CleanupPolicy,
    CleanupRun,
    Machine,
    QueuedTask,
    SessionDirectory,
)
from sessions_app.models.clock import database_now
from sessions_app.policies import sweep
from sessions_app.queue.enqueue import Task
from sessions_app.tasks import sync_directories
from sessions_app.transactions.disk_space import DiskSpace
from tests.alerting import announce, hold_a_run, make_healthy, move_away, stop_worker
from tests.factories import ENDPOINT, SECRET, make_policy, make_session, make_sessions, plan, put, run_sweep

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def healthy(db: None) -> None:
    make_healthy()


def found() -> dict[str, list[Finding]]:
    """Return the current findings by code."""
    by_code: dict[str, list[Finding]] = {}
    for finding in find(database_now()):
        by_code.setdefault(finding.code, []).append(finding)
    return by_code


def only(code: Code) -> Finding:
    by_code = found()
    assert set(by_code) == {code}
    assert len(by_code[code]) == 1
    return by_code[code][0]


def test_a_healthy_panel_has_no_findings() -> None:
    assert found() == {}


class TestWorkers:
    def test_a_single_worker_that_is_silent_is_one_finding(self) -> None:
        stop_worker()
        assert "the last heartbeat was at" in only(Code.WORKER_STOPPED).text

    def test_a_silent_machine_beside_a_live_one_is_named(self) -> None:
        announce("other", at=database_now() - timedelta(seconds=80))
        finding = only(Code.MACHINE_SILENT)
        assert (finding.subject, finding.is_critical) == ("other", True)

    def test_a_panel_without_a_worker(self) -> None:
        Machine.objects.all().delete()
        assert "No worker has been started yet" in only(Code.WORKER_MISSING).text

    def test_a_worker_that_finishes_no_task(self) -> None:
        QueuedTask.objects.create(
            task=Task.SYNC_DIRECTORIES.value, queued_at=database_now() - timedelta(minutes=11)
        )
        assert only(Code.WORKER_BEHIND).is_critical

    def test_a_wrong_clock_is_a_warning(self) -> None:
        announce(clock_skew_seconds=-600)
        finding = only(Code.CLOCK_WRONG)
        assert (finding.subject, finding.severity) == ("runner", "warning")

    def test_a_queue_that_cannot_be_reached(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("sessions_app.queue.worker.is_reachable", lambda: False)
        assert only(Code.QUEUE_UNREACHABLE).is_critical


class TestSchedules:
    def test_overdue_jobs_are_listed_in_one_finding(self) -> None:
        late = database_now() - timedelta(minutes=40)
        for task in (Task.SYNC_DIRECTORIES, Task.TAKE_SNAPSHOT):
            QueuedTask.objects.filter(task=task.value).update(due_at=late)
        finding = only(Code.SCHEDULE_OVERDUE)
        assert "sync_directories, take_snapshot should" in finding.text

    def test_an_overdue_policy(self) -> None:
        late = database_now() - timedelta(minutes=11)
        policy = make_policy("Hourly", schedule="0 * * * *", is_enabled=True, next_run_at=late)
        finding = only(Code.SCHEDULE_OVERDUE)
        assert (finding.subject, finding.link_id) == (f"policy-{policy.pk}", policy.pk)
        CleanupPolicy.objects.filter(pk=policy.pk).update(is_enabled=False)
        assert found() == {}


class TestDisks:
    def test_the_disk_of_this_machine(self, settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(sources, "disk_space", lambda: DiskSpace(12 * 1024 * 1024, is_full=True))
        finding = only(Code.DISK_FULL)
        assert finding.subject == settings.RAPTOR_MACHINE
        assert "12 MB free" in finding.text

    def test_the_disk_of_another_machine_is_reported_from_its_heartbeat(self) -> None:
        announce("other", disk_free_bytes=0, is_disk_full=True)
        assert only(Code.DISK_FULL).subject == "other"


def test_a_directory_that_was_moved_away_is_found_after_the_next_sync(
    folder: Path, no_settle_time: None
) -> None:
    put(folder, "one")
    directory = register_directory(folder, namespace="shop")
    sync_directories()
    move_back = move_away(folder)
    sync_directories()
    finding = only(Code.DIRECTORY_UNREACHABLE)
    directory.refresh_from_db()
    assert (finding.text, finding.namespace) == (directory.error, "shop")
    move_back()
    sync_directories()
    assert found() == {}


class TestRuns:
    def test_a_plan_that_exceeds_a_safety_limit(self) -> None:
        pk = hold_a_run()
        finding = only(Code.RUN_NEEDS_APPROVAL)
        assert finding.text.startswith(f"Run {pk} of Careful needs approval. This would remove")
        CleanupRun.objects.filter(pk=pk).update(state=CleanupRun.State.CLOSED)
        assert found() == {}

    def test_resuming_a_failed_run_resolves_it(self) -> None:
        make_session(session_id="")
        run = plan(as_of=database_now(), invalid=True)
        CleanupRun.objects.filter(pk=run.pk).update(
            state=CleanupRun.State.FAILED, finished_at=database_now(), error="The disk is full."
        )
        finding = only(Code.RUN_FAILED)
        assert finding.text == f"Run {run.pk} failed. The disk is full."
        run_cleanup(CleanupRun.objects.get(pk=run.pk))
        assert found() == {}

    def test_a_later_success_of_the_policy_resolves_a_failed_run(self) -> None:
        now, policy = database_now(), make_policy("Tidy", "invalid")
        make_session(session_id="")
        run_sweep(policy, now - timedelta(hours=2))
        CleanupRun.objects.update(state=CleanupRun.State.FAILED, finished_at=now)
        assert not only(Code.RUN_FAILED).is_critical
        make_session(session_id="")
        sweep(policy, due_at=now, trigger="schedule", actor="Tidy")
        assert found() == {}

    def test_no_other_run_is_read_to_find_the_later_success(self) -> None:
        if connection.vendor == "sqlite":
            now = database_now()
            with CaptureQueriesContext(connection) as queries:
                list(run_sources.failed_runs(now))
            with connection.cursor() as cursor:
                cursor.execute(f"EXPLAIN QUERY PLAN {queries[0]['sql']}")
                steps = cursor.fetchall()
            inner = " ".join(step for _, parent, _, step in steps if parent)
            assert "run_once_a_step" in inner
            # Sorting would read all later runs of the policy.
            assert "ORDER BY" not in inner

    def test_a_failed_run_over_a_week_ago_is_not_a_finding(self) -> None:
        plan(invalid=True)
        CleanupRun.objects.update(
            state=CleanupRun.State.FAILED, finished_at=database_now() - timedelta(days=8)
        )
        assert found() == {}

    def test_undoing_a_run_that_removed_many_sessions_resolves_it(self) -> None:
        make_sessions(3, session_id="")
        run = run_cleanup(plan(as_of=database_now(), invalid=True))
        assert found() == {}
        AlertRule.objects.create(name="many", kind=AlertRule.Kind.RUN_REMOVED_MANY, threshold=2)
        finding = only(Code.RUN_REMOVED_MANY)
        assert (finding.amount, finding.text) == (3, f"Run {run.pk} removed 3 sessions.")
        undo_cleanup(run, actor="tester")
        assert found() == {}


def test_storage_that_exceeds_the_limit_of_a_rule() -> None:
    session = make_session()
    rule = AlertRule.objects.create(
        name="storage", kind=AlertRule.Kind.STORAGE, threshold=session.size_bytes - 1
    )
    assert only(Code.STORAGE_OVER_LIMIT).amount == session.size_bytes
    rule.threshold = session.size_bytes
    rule.save()
    assert found() == {}


def test_a_locked_login_is_reported_with_user_and_address(client: Client) -> None:
    for _ in range(5):
        client.post("/admin/login/", {"username": "anna", "password": "wrong"})
    finding = only(Code.LOGIN_LOCKED)
    assert "user anna at 127.0.0.1" in finding.text
    for _ in range(5):
        client.post("/admin/login/", {"username": "bert", "password": "wrong"})
    assert "2 combinations of user name and address" in only(Code.LOGIN_LOCKED).text


def test_a_login_name_forges_no_line_and_shows_no_endpoint(client: Client) -> None:
    # The name is shortened, and the part that is left must not show the beginning of a password.
    name = f"anna\nRule: all is well\x1b[2J\u202e {ENDPOINT} http://anna:{'p' * 100}@panel.example/"
    for _ in range(5):
        client.post("/admin/login/", {"username": name, "password": "wrong"})
    finding = only(Code.LOGIN_LOCKED)
    assert finding.text.isprintable()
    assert "user anna\\nRule: all is well" in finding.text
    assert SECRET not in finding.text
    assert "ppp" not in finding.text


def test_the_number_of_queries_does_not_depend_on_the_number_of_findings(
    django_assert_max_num_queries: Any,
) -> None:
    AlertRule.objects.create(name="many", kind=AlertRule.Kind.RUN_REMOVED_MANY, threshold=0)
    AlertRule.objects.create(name="storage", kind=AlertRule.Kind.STORAGE, threshold=0)
    find(database_now())
    for number in range(60):
        SessionDirectory.objects.create(path=f"/gone/{number}", namespace="shop", error="It is gone.")
        announce(f"machine-{number}", at=database_now() - timedelta(hours=1))
    with django_assert_max_num_queries(26):
        assert len(found()[Code.DIRECTORY_UNREACHABLE]) == 50


def test_endpoints_in_errors_are_masked() -> None:
    SessionDirectory.objects.create(path="/x", namespace="shop", error=f"No answer from {ENDPOINT}.")
    assert SECRET not in only(Code.DIRECTORY_UNREACHABLE).text


def test_users_who_do_not_see_all_namespaces_read_neither_names_nor_errors() -> None:
    SessionDirectory.objects.create(path="/secret", namespace="payments", error="/secret is gone.")
    hold_a_run()
    CleanupRun.objects.update(error="", criteria_json={})
    findings = find(database_now())
    shown = visible_findings(findings, hidden={"payments"}, has_perm=lambda name: True)
    assert [finding.code for finding in shown] == [Code.RUN_NEEDS_APPROVAL]
    assert "Careful" not in shown[0].text
    assert visible_findings(findings, hidden=(), has_perm=lambda name: False) == []
