"""The page with metrics, parsed by ``prometheus_client``."""

from __future__ import annotations

import json
import re
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.test import Client
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from sessions_app import reports
from sessions_app.alerts.findings import Code
from sessions_app.cleanup import run_cleanup, undo_cleanup
from sessions_app.cleanup.archive import empty_run
from sessions_app.mirror.registry import register_directory
from sessions_app.models import CleanupRun, Probe, QueuedTask, RunTotal, SessionDirectory
from sessions_app.models.clock import database_now
from sessions_app.queue.enqueue import Task
from sessions_app.reports import current
from sessions_app.reports.metrics import METRICS
from sessions_app.tasks import sync_directories, tidy_up
from sessions_app.transactions.disk_space import DiskSpace
from tests.alerting import TOKEN, announce, hold_a_run, make_healthy, move_away, stop_worker
from tests.factories import PROJECT_DIR, SECRET, make_policy, make_session, make_sessions, plan, put
from tests.unit.test_documentation import OPERATIONS, rows

pytestmark = pytest.mark.django_db

AUTHORIZATION = {"authorization": f"Bearer {TOKEN}"}


@pytest.fixture(autouse=True)
def healthy(db: None, settings: Any) -> None:
    make_healthy()
    settings.RAPTOR_METRICS_TOKEN = TOKEN


def scrape(client: Client) -> str:
    response = client.get("/metrics", headers=AUTHORIZATION)
    assert response.status_code == 200
    return response.content.decode()


def values(client: Client) -> dict[str, float]:
    """Return the value of each sample by its name and the values of its labels."""
    return {
        " ".join((sample.name, *sample.labels.values())): sample.value
        for family in parse_text(scrape(client))
        for sample in family.samples
    }


def run_values(client: Client) -> dict[str, float]:
    """Return the numbers and totals of runs."""
    names = ("raptor_runs ", "raptor_removed_", "raptor_freed_", "raptor_restored_")
    return {name: value for name, value in values(client).items() if name.startswith(names)}


class TestAccess:
    def test_the_page_requires_the_token(self, client: Client, as_root: Client) -> None:
        assert client.get("/metrics").status_code == 404
        assert client.get("/metrics", headers={"authorization": "Bearer wrong"}).status_code == 404
        assert as_root.get("/metrics").status_code == 404

    def test_the_page_does_not_exist_if_the_setting_is_blank(self, client: Client, settings: Any) -> None:
        settings.RAPTOR_METRICS_TOKEN = ""
        assert client.get("/metrics", headers={"authorization": "Bearer "}).status_code == 404
        assert client.get("/metrics", headers=AUTHORIZATION).status_code == 404


class TestPage:
    def test_both_parsers_accept_it(self, client: Client) -> None:
        make_session()
        families = {family.name for family in parse_text(scrape(client))}
        assert families == {metric.name.removesuffix("_total") for metric in METRICS}
        accept = {**AUTHORIZATION, "accept": "application/openmetrics-text; version=1.0.0"}
        response = client.get("/metrics", headers=accept)
        assert "openmetrics" in response["Content-Type"]
        families = parse_openmetrics(response.content.decode())  # type: ignore[no-untyped-call]
        assert len(list(families)) == len(METRICS)

    def test_names_follow_the_conventions(self) -> None:
        for metric in METRICS:
            assert re.fullmatch(r"raptor_[a-z_]+", metric.name)
            assert (metric.kind == "counter") == metric.name.endswith("_total")
            assert metric.meaning.endswith(".")
            assert not re.search(r"_(ms|kb|mb|minutes|count)$", metric.name)

    def test_the_documented_table_agrees_with_the_code(self) -> None:
        declared = [
            [f"`{m.name}`", m.kind, ", ".join(f"`{label}`" for label in m.labels) or "none", m.meaning]
            for m in METRICS
        ]
        assert rows(OPERATIONS, "Metrics") == declared

    def test_the_codes_of_findings_are_documented(self) -> None:
        health = OPERATIONS.split("\n## Health\n", 1)[1].split("\n## ", 1)[0]
        assert re.findall(r"^\| `([a-z_]+)` \| (?:critical|warning)", health, re.MULTILINE) == list(Code)

    def test_the_grafana_dashboard_uses_exactly_the_metrics_of_the_panel(self) -> None:
        text = (PROJECT_DIR / "docs" / "deploy" / "grafana-dashboard.json").read_text()
        panels = json.loads(text)["panels"]
        shown = {
            name
            for panel in panels
            for target in panel["targets"]
            for name in re.findall(r"raptor_[a-z_]+", target["expr"])
        }
        assert shown == {metric.name for metric in METRICS}

    def test_the_page_contains_no_text_from_users(self, client: Client) -> None:
        make_session("a-name-of-users", namespace="payments")
        make_policy("A policy of users", schedule="0 * * * *", is_enabled=True)
        hold_a_run()
        page = scrape(client)
        for text in ("a-name-of-users", "payments", "A policy", "Careful", SECRET):
            assert text not in page


class TestNumbers:
    def test_sessions_and_archive(self, client: Client) -> None:
        now = database_now()
        make_session("fresh", last_accessed=now.isoformat())
        make_session("old", last_accessed=(now - timedelta(days=9)).isoformat())
        make_session("pinned", last_accessed=(now - timedelta(days=9)).isoformat(), is_pinned=True)
        make_sessions(2, session_id="")
        run_cleanup(plan(as_of=now, invalid=True))
        found = values(client)
        states = ("all", "expired", "invalid", "pinned", "reclaimable")
        assert [found[f"raptor_sessions {state}"] for state in states] == [3, 2, 0, 1, 1]
        assert found["raptor_archived_sessions"] == 2
        report = reports.storage_report(as_of=now, max_age_days=7)
        assert found["raptor_sessions_bytes all"] == report.live.bytes
        assert found["raptor_sessions_bytes reclaimable"] == report.would_free["either"].bytes
        assert found["raptor_archived_bytes"] == report.archived.bytes

    def test_a_large_panel_shows_the_last_snapshot(
        self, client: Client, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        make_sessions(3)
        monkeypatch.setattr(current, "COUNTED", 2)
        assert "raptor_sessions all" not in values(client)
        snapshot = reports.take_snapshot(as_of=database_now(), max_age_days=7)
        make_session()
        found = values(client)
        assert found["raptor_sessions all"] == 3
        assert found["raptor_storage_counted_timestamp_seconds"] == pytest.approx(
            snapshot.taken_at.timestamp()
        )

    def test_neither_an_undo_nor_deleting_runs_lowers_the_totals(self, client: Client) -> None:
        make_sessions(3, session_id="")
        run = run_cleanup(plan(as_of=database_now(), invalid=True))
        before = values(client)
        assert before["raptor_removed_sessions_total"] == 3
        assert before["raptor_freed_bytes_total"] == run.removed_bytes
        assert before["raptor_runs succeeded"] == 1
        undo_cleanup(run, actor="tester")
        CleanupRun.objects.get(pk=run.pk).delete()
        after = values(client)
        assert not CleanupRun.objects.exists()
        for name in ("raptor_removed_sessions_total", "raptor_freed_bytes_total"):
            assert after[name] == before[name]
        assert after["raptor_restored_sessions_total"] == 3
        assert after["raptor_runs undone"] == 1

    def test_finished_runs_are_summed_once(self, client: Client) -> None:
        now = database_now()
        for session_id in ("emptied", "undone", "archived", "failed"):
            make_session(session_id, cdp_url="")
            run_cleanup(plan(as_of=now, invalid=True))
        emptied, undone, archived, failed = CleanupRun.objects.order_by("pk")
        undo_cleanup(undone, actor="tester")
        empty_run(emptied)
        CleanupRun.objects.filter(pk=failed.pk).update(state=CleanupRun.State.FAILED)
        before = run_values(client)
        tidy_up()
        assert set(CleanupRun.objects.filter(totaled_at=None)) == {archived, failed}
        assert run_values(client) == before
        tidy_up()
        CleanupRun.objects.get(pk=undone.pk).delete()
        assert run_values(client) == before
        undo_cleanup(archived, actor="tester")
        tidy_up()
        assert run_values(client)["raptor_runs undone"] == 2
        assert run_values(client)["raptor_restored_sessions_total"] == 2

    def test_plans_that_never_ran_are_not_counted(self, client: Client) -> None:
        plan(invalid=True)
        CleanupRun.objects.all().delete()
        assert not RunTotal.objects.exists()
        assert "raptor_runs planned" not in values(client)

    def test_policies_and_the_queue(self, client: Client) -> None:
        now = database_now()
        for name, late in (("Due", 1), ("Overdue", 11)):
            make_policy(
                name, schedule="0 2 * * *", is_enabled=True, next_run_at=now - timedelta(minutes=late)
            )
        QueuedTask.objects.create(task=Task.TIDY_UP.value, queued_at=now - timedelta(seconds=90))
        QueuedTask.objects.create(task=Task.TAKE_SNAPSHOT.value, started_at=now)
        found = values(client)
        assert (found["raptor_policies due"], found["raptor_policies overdue"]) == (2, 1)
        assert (found["raptor_queue_tasks waiting"], found["raptor_queue_tasks running"]) == (1, 1)
        assert 90 <= found["raptor_queue_oldest_task_age_seconds"] < 120

    def test_tasks_of_a_machine_without_a_worker_do_not_count_as_waiting(self, client: Client) -> None:
        now = database_now()
        announce("gone", at=now - timedelta(minutes=5))
        for machine, minutes in (("gone", 9), ("runner", 2), ("", 1)):
            QueuedTask.objects.create(
                task=Task.SYNC_DIRECTORIES.value, machine=machine, queued_at=now - timedelta(minutes=minutes)
            )
        found = values(client)
        assert found["raptor_queue_tasks waiting"] == 2
        assert 120 <= found["raptor_queue_oldest_task_age_seconds"] < 180


class TestFindings:
    def test_a_healthy_panel(self, client: Client) -> None:
        found = values(client)
        assert sum(value for name, value in found.items() if name.startswith("raptor_findings ")) == 0
        assert found["raptor_findings worker_stopped critical"] == 0
        assert found["raptor_machine_heartbeat_age_seconds runner"] < 30

    def test_a_stopped_worker(self, client: Client) -> None:
        stop_worker()
        found = values(client)
        assert found["raptor_findings worker_stopped critical"] == 1
        assert found["raptor_machine_heartbeat_age_seconds runner"] > 75

    def test_a_directory_that_was_moved_away(
        self, client: Client, folder: Path, no_settle_time: None
    ) -> None:
        put(folder, "one")
        register_directory(folder)
        sync_directories()
        assert values(client)["raptor_directories mirrored"] == 1
        move_away(folder)
        sync_directories()
        found = values(client)
        assert found["raptor_directories failing"] == 1
        assert found["raptor_findings directory_unreachable critical"] == 1

    def test_a_removed_directory_is_not_counted(self, client: Client) -> None:
        removal = plan(invalid=True)
        CleanupRun.objects.filter(pk=removal.pk).update(state=CleanupRun.State.SUCCEEDED)
        SessionDirectory.objects.create(path="/a", namespace="shop", removal=removal, error="It is gone.")
        SessionDirectory.objects.create(path="/b", namespace="shop", removal=removal)
        SessionDirectory.objects.create(path="/c", namespace="shop", is_enabled=False)
        found = values(client)
        states = ("mirrored", "failing", "disabled")
        assert [found[f"raptor_directories {state}"] for state in states] == [0, 0, 1]

    def test_a_run_that_exceeds_a_safety_limit(self, client: Client) -> None:
        hold_a_run()
        found = values(client)
        assert found["raptor_runs held"] == 1
        assert found["raptor_findings run_needs_approval critical"] == 1

    def test_a_full_disk(self, client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("sessions_app.alerts.sources.disk_space", lambda: DiskSpace(0, is_full=True))
        assert values(client)["raptor_findings disk_full critical"] == 1


def test_the_number_of_queries_is_fixed(client: Client, django_assert_max_num_queries: Any) -> None:
    scrape(client)
    make_sessions(20, session_id="")
    for _ in range(5):
        run_cleanup(plan(as_of=database_now(), invalid=True))
    with django_assert_max_num_queries(45):
        scrape(client)


def test_sessions_are_counted_by_the_result_of_their_probe(client: Client, monkeypatch: Any) -> None:
    for result in ("alive", "alive", "replaced"):
        session = make_session()
        Probe.objects.create(session=session, due_at=database_now(), probed_at=database_now(), result=result)
    found = values(client)
    assert (found["raptor_probes alive"], found["raptor_probes replaced"]) == (2, 1)
    assert found["raptor_probes unreachable"] == 0
    monkeypatch.setattr(current, "COUNTED", 2)
    reports.take_snapshot(as_of=database_now(), max_age_days=7)
    Probe.objects.all().delete()
    for _ in range(3):
        Probe.objects.create(session=make_session(), due_at=database_now(), result="unknown")
    assert values(client)["raptor_probes alive"] == 2
