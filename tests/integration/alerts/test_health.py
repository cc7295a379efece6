"""``/readyz`` and ``check_health``."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import Group, User
from django.db import DatabaseError, connection
from django.db.migrations.recorder import MigrationRecorder
from django.test import Client

from sessions_app.alerts import health
from sessions_app.alerts.findings import Code
from sessions_app.mirror.registry import register_directory
from sessions_app.models import SessionDirectory
from sessions_app.models.clock import database_now
from sessions_app.queue.worker import announce
from sessions_app.tasks import sync_directories
from tests.alerting import TOKEN, hold_a_run, make_healthy, move_away, start_worker, stop_worker
from tests.clients import page_at, run
from tests.factories import put
from tests.full_disk import MB, database_in, mounted

pytestmark = pytest.mark.django_db

BEARER = f"Bearer {TOKEN}"


@pytest.fixture(autouse=True)
def healthy(db: None, settings: Any) -> None:
    make_healthy()
    settings.RAPTOR_METRICS_TOKEN = TOKEN


def ready(client: Client, **headers: str) -> tuple[int, str]:
    response = client.get("/readyz", headers=headers)
    return response.status_code, response.content.decode()


def check() -> tuple[int, list[str]]:
    outcome = run("check_health", "--format", "json")
    return outcome.status, [finding["code"] for finding in outcome.json["findings"]]


def test_a_healthy_panel_is_ready(client: Client) -> None:
    assert ready(client) == (200, "ready\n")
    assert check() == (0, [])
    assert run("check_health").out == "healthy\n"


def test_only_permitted_callers_see_the_reasons(client: Client, viewer: User) -> None:
    stop_worker()
    assert ready(client) == (503, "not ready\n")
    assert ready(client, authorization="Bearer wrong") == (503, "not ready\n")
    assert "critical worker_stopped: No worker is running" in ready(client, authorization=BEARER)[1]
    client.force_login(viewer)
    assert ready(client) == (503, "not ready\n")
    viewer.groups.add(Group.objects.get(name="Administrator"))
    client.force_login(User.objects.get(pk=viewer.pk))
    assert "worker_stopped" in ready(client)[1]


def test_frequent_monitoring_does_not_fill_the_log(client: Client, caplog: pytest.LogCaptureFixture) -> None:
    hold_a_run()
    assert ready(client)[0] == 503
    assert client.get("/nowhere").status_code == 404
    lines = [record.getMessage() for record in caplog.records if record.name == "django.request"]
    assert lines == ["Not Found: /nowhere"]


def test_findings_about_hidden_namespaces_are_concealed_from_administrators(
    as_other: Client, limit: Any
) -> None:
    SessionDirectory.objects.create(path="/secret", namespace="payments", error="/secret is gone.")
    status, text = ready(as_other)
    assert status == 503
    assert "secret" not in text


def test_no_token_is_accepted_if_the_setting_is_blank(client: Client, settings: Any) -> None:
    settings.RAPTOR_METRICS_TOKEN = ""
    stop_worker()
    assert ready(client, authorization="Bearer ") == (503, "not ready\n")


def test_json_contains_the_public_codes(client: Client) -> None:
    stop_worker()
    answer = client.get("/readyz?format=json", headers={"authorization": BEARER}).json()
    assert (answer["status"], answer["findings"][0]["code"]) == ("not ready", "worker_stopped")
    assert client.get("/readyz?format=json").json() == {"status": "not ready"}


def test_a_warning_is_listed_but_the_panel_stays_ready(client: Client) -> None:
    for _ in range(5):
        client.post("/admin/login/", {"username": "anna", "password": "wrong"})
    status, text = ready(client, authorization=BEARER)
    assert status == 200
    assert "warning login_locked" in text
    assert check() == (0, ["login_locked"])


def test_missing_migrations_are_the_only_finding(client: Client) -> None:
    MigrationRecorder(connection).migration_qs.filter(app="sessions_app").first().delete()  # type: ignore[union-attr]
    status, text = ready(client, authorization=BEARER)
    assert status == 503
    assert "migrations_missing: 1 migration has not been applied. Run " in text
    assert "manage.py migrate." in text
    assert check() == (1, ["migrations_missing"])


def test_a_database_that_cannot_be_reached(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> None:
        raise DatabaseError("connection to server at 10.0.0.1 failed: password=hunter2")

    monkeypatch.setattr(health, "open_database", fail)
    status, text = ready(client, authorization=BEARER)
    assert (status, text) == (
        503,
        "not ready\ncritical database_unreachable: The database does not answer.\n",
    )
    assert check() == (1, ["database_unreachable"])


def test_the_command_prints_the_reasons_to_standard_output() -> None:
    stop_worker()
    outcome = run("check_health")
    assert outcome.status == 1
    assert outcome.out.startswith("critical worker_stopped: No worker is running")


class TestCriticalFindings:
    """The dashboard and both checks report a critical finding in the same words, and until it is resolved."""

    def assert_everywhere(self, client: Client, code: Code) -> None:
        answer = client.get("/readyz?format=json", headers={"authorization": BEARER})
        assert answer.status_code == 503
        (finding,) = answer.json()["findings"]
        assert finding["code"] == code
        assert finding["text"] in " ".join(page_at(client, "/admin/").text.split())
        outcome = run("check_health")
        assert outcome.status == 1
        assert finding["text"] in outcome.out

    def assert_healthy(self, client: Client) -> None:
        assert ready(client) == (200, "ready\n")
        page = page_at(client, "/admin/")
        assert not [notice for notice in page.notices if "No sessions yet" not in notice]
        assert check() == (0, [])

    def test_a_stopped_worker(self, as_root: Client) -> None:
        stop_worker()
        self.assert_everywhere(as_root, Code.WORKER_STOPPED)
        start_worker()
        self.assert_healthy(as_root)

    def test_a_directory_that_was_moved_away(
        self, as_root: Client, folder: Path, no_settle_time: None
    ) -> None:
        put(folder, "one")
        register_directory(folder)
        sync_directories()
        move_back = move_away(folder)
        sync_directories()
        self.assert_everywhere(as_root, Code.DIRECTORY_UNREACHABLE)
        move_back()
        sync_directories()
        self.assert_healthy(as_root)

    def test_a_run_that_exceeds_a_safety_limit(self, as_root: Client) -> None:
        hold_a_run()
        self.assert_everywhere(as_root, Code.RUN_NEEDS_APPROVAL)


@pytest.fixture
def small_disk(tmp_path: Path, settings: Any, transactional_db: None) -> Iterator[Any]:
    """A full disk with the SQLite database; with another database, with the panel's folder."""
    make_healthy()
    with mounted(tmp_path / "disk", size_bytes=20 * MB) as disk:
        if connection.vendor == "sqlite":
            with database_in(disk.path):
                yield disk
        else:
            settings.RAPTOR_VAR_DIR = disk.path
            yield disk


def test_a_full_disk(small_disk: Any, client: Client, settings: Any) -> None:
    assert ready(client) == (200, "ready\n")
    announce(settings.RAPTOR_MACHINE, started_at=database_now())
    small_disk.fill()
    status, text = ready(client, authorization=BEARER)
    assert status == 503
    assert "disk_full: The disk" in text
    assert check() == (1, ["disk_full"])
    small_disk.filler.unlink()
    assert ready(client) == (200, "ready\n")
