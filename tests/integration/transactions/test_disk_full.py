"""Each part of the panel on a full disk, a real one that the tests mount."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client

from sessions_app import tasks
from sessions_app.alerts.watch import watch
from sessions_app.cleanup import empty_archive, run_cleanup, undo_cleanup
from sessions_app.client.runtime import run_sync
from sessions_app.client.store import SessionStore
from sessions_app.deadline import Deadline
from sessions_app.exceptions import SessionException
from sessions_app.mirror.registry import register_directory
from sessions_app.models import (
    AlertRule,
    ArchivedSession,
    BrowserSession,
    CleanupRun,
    Machine,
    SessionDirectory,
)
from sessions_app.models.clock import database_now
from sessions_app.queue.schedules import send_due_tick, sync_schedules
from sessions_app.queue.worker import announce
from sessions_app.transactions import reserve
from tests.alerting import add_target, receiving
from tests.clients import ARCHIVE, CHANGES, LIST, POLICIES, RUNS
from tests.clients import run as run_command
from tests.factories import OLD, make_many, plan, sync
from tests.full_disk import MB, Disk, database_in, mounted

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.skipif("connection.vendor != 'sqlite'", reason="the disk of a server cannot be filled"),
]

PAGES = (
    "/admin/",
    LIST,
    f"{LIST}storage/",
    RUNS,
    f"{RUNS}new/",
    ARCHIVE,
    "/admin/sessions_app/sessiondirectory/",
    POLICIES,
    CHANGES,
    "/admin/sessions_app/queuedtask/",
)
DOCUMENT_BYTES = 8_000
SESSIONS = 1_500


@pytest.fixture
def disk(tmp_path: Path, transactional_db: None) -> Iterator[Disk]:
    """A disk of 60 MB with the database of the test."""
    with mounted(tmp_path / "disk", size_bytes=60 * MB) as disk, database_in(disk.path):
        yield disk


@pytest.fixture
def sessions(disk: Disk) -> None:
    """1,500 sessions of 8 kB, all expired."""
    make_many(SESSIONS, **OLD, metadata={"state": "x" * DOCUMENT_BYTES})
    reserve.truncate_log()


def message_of(disk: Disk) -> str:
    return f"The disk is full: {disk.path} (0 MB free)."


def fill_completely(disk: Disk) -> None:
    """Cut the log and fill the disk, so that no row can be written."""
    reserve.truncate_log()
    disk.fill()


def test_a_login_works_thanks_to_the_reserve(disk: Disk, root: User, client: Client, settings: Any) -> None:
    settings.RAPTOR_RESERVE_BYTES = 32 * MB
    assert reserve.allocate_reserve()
    fill_completely(disk)
    response = client.post("/admin/login/?next=/admin/", {"username": "root", "password": "root"})
    assert (response.status_code, response.headers.get("Location")) == (302, "/admin/")
    assert (disk.path / reserve.RESERVE_NAME).stat().st_size == 0
    assert client.get("/admin/").status_code == 200


def fill_beside_the_reserve(disk: Disk, settings: Any) -> None:
    """Fill the disk completely, with the reserve on it."""
    settings.RAPTOR_RESERVE_BYTES = 32 * MB
    assert reserve.allocate_reserve()
    fill_completely(disk)


def test_the_web_server_reports_it_in_an_alert(disk: Disk, settings: Any) -> None:
    settings.RAPTOR_WEBHOOK_ALLOWED_HOSTS = ("127.0.0.1",)
    with receiving() as receiver:
        rule = AlertRule.objects.create(name="disks", kind=AlertRule.Kind.STORAGE)
        rule.targets.add(add_target(receiver))
        fill_beside_the_reserve(disk, settings)
        now = database_now()
        watch(now)
        watch(now + timedelta(seconds=10))
        assert [message["data"]["code"] for message in receiver.messages] == ["disk_full"]


def test_a_worker_announces_itself_and_sends_the_tick(disk: Disk, settings: Any) -> None:
    now = database_now()
    sync_schedules(now=now)
    fill_beside_the_reserve(disk, settings)
    announce("runner", started_at=now)
    assert Machine.objects.get().is_disk_full
    (disk.path / reserve.RESERVE_NAME).unlink()
    disk.filler.unlink()
    fill_beside_the_reserve(disk, settings)
    assert send_due_tick()


def test_a_tick_fires_an_alert(disk: Disk, settings: Any) -> None:
    AlertRule.objects.create(name="disks", kind=AlertRule.Kind.STORAGE)
    fill_beside_the_reserve(disk, settings)
    assert "1 alert" in tasks.tick()


def test_a_login_without_room_names_the_folder(disk: Disk, root: User, client: Client) -> None:
    fill_completely(disk)
    response = client.post("/admin/login/", {"username": "root", "password": "root"})
    html = response.content.decode()
    assert response.status_code == 507
    assert message_of(disk) in html
    assert "Raptor Admin</a>" in html
    assert "<style" not in html
    assert response["Content-Security-Policy"].startswith("default-src 'self';")


def test_pages_and_the_health_check_need_no_writes(disk: Disk, as_root: Client, sessions: None) -> None:
    fill_completely(disk)
    for page in PAGES:
        assert as_root.get(page).status_code == 200, page
    assert as_root.get("/healthz").content == b"ok\n"


def test_the_first_connection_on_a_full_disk_reports_it(disk: Disk, root: User, client: Client) -> None:
    # No process has the database open; SQLite needs 32 kB of shared memory to read it.
    connection.close()
    disk.fill()
    response = client.get("/healthz")
    assert response.status_code == 503
    assert message_of(disk) in response.content.decode()
    response = client.get("/admin/login/")
    assert response.status_code in (200, 507)


def test_a_change_without_room_names_the_folder(disk: Disk, as_root: Client, sessions: None) -> None:
    session = BrowserSession.objects.first()
    assert session is not None
    fill_completely(disk)
    response = as_root.post(f"{LIST}{session.pk}/pin/", {"pin": "1"})
    assert response.status_code == 507
    assert message_of(disk) in response.content.decode()


@pytest.mark.parametrize("command", ["cleanup_sessions --expired --yes", "undo_cleanup 1", "take"])
def test_commands_and_tasks_report_it_in_one_line(disk: Disk, sessions: None, command: str) -> None:
    made = run_cleanup(plan(session_ids=tuple(BrowserSession.objects.values_list("pk", flat=True)[:3])))
    fill_completely(disk)
    if command == "take":
        with pytest.raises(tasks.TaskFailed, match="The disk is full: ") as caught:
            tasks.take_snapshot()
        assert str(caught.value).startswith(message_of(disk))
        return
    outcome = run_command(*command.replace("1", str(made.pk)).split())
    assert outcome.status == 1
    assert outcome.err.startswith(message_of(disk))
    assert outcome.err.count("\n") == 1
    assert "busy" not in outcome.err


def test_a_little_free_space_is_enough_to_remove_all(disk: Disk, sessions: None) -> None:
    made = plan(expired=True)
    # The log takes part of the disk, as after an import.
    disk.fill()
    disk.free(8 * MB)
    run_cleanup(made)
    assert (made.state, made.removed_count) == (CleanupRun.State.SUCCEEDED, SESSIONS)
    reserve.truncate_log()
    disk.fill()
    disk.free(8 * MB)
    undo_cleanup(made)
    assert (made.state, made.restored_count) == (CleanupRun.State.UNDONE, SESSIONS)


def test_the_archive_is_emptied_in_batches_that_fit(disk: Disk, sessions: None) -> None:
    run_cleanup(plan(expired=True))
    fill_completely(disk)
    disk.free(MB // 4)
    deleted, _ = empty_archive(database_now() + timedelta(days=1))
    assert (deleted, ArchivedSession.objects.count()) == (SESSIONS, 0)


def test_a_run_without_room_fails_and_is_resumed_later(disk: Disk, sessions: None) -> None:
    made = plan(expired=True)
    run_cleanup(made, batch_size=100, deadline=Deadline.after(0))
    reserve.truncate_log()
    disk.fill()
    with pytest.raises(Exception, match="disk is full"):
        run_cleanup(made)
    disk.free(16 * MB)
    run_cleanup(made)
    assert (made.state, made.removed_count) == (CleanupRun.State.SUCCEEDED, SESSIONS)


def test_saving_a_session_names_the_folder(disk: Disk) -> None:
    fill_completely(disk)
    with pytest.raises(SessionException) as caught:
        run_sync(SessionStore("shop").save, "checkout", {"session_id": "checkout"})
    assert caught.value.message.startswith(message_of(disk))


def test_a_folder_on_a_full_disk_of_its_own_is_named(tmp_path: Path) -> None:
    with mounted(tmp_path / "documents", size_bytes=2 * MB) as documents:
        folder = documents.path / "sessions"
        folder.mkdir()
        for number in range(20):
            (folder / f"s{number}.json").write_text("{}" + " " * DOCUMENT_BYTES)
        directory = register_directory(folder, namespace="shop")
        sync(directory)
        made = run_cleanup(plan(invalid=True))
        documents.fill()
        undo_cleanup(made)
        result = sync(SessionDirectory.objects.get(pk=directory.pk))
        assert (str(folder), "cannot be written to: the disk is full") in result.skipped
        documents.free(MB)
        sync(SessionDirectory.objects.get(pk=directory.pk))
        assert len(list(folder.glob("*.json"))) == 20
