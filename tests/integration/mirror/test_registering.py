"""Registering a folder reports its documents, and sweeps leave documents of other tools alone."""

from __future__ import annotations

import json
import logging
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.test import Client

from raptor.core.session_manager import SessionManager
from raptor_admin import up
from sessions_app.cleanup import approve_cleanup, run_cleanup
from sessions_app.mirror.registry import register_directory
from sessions_app.models import BrowserSession, CleanupRun, SessionDirectory
from sessions_app.models.clock import database_now
from sessions_app.policies import preview
from tests.clients import html_of, run
from tests.factories import DUE, OLD, live, make_policy, make_session, plan, put, run_sweep, swept, sync

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("no_settle_time")]

DIRECTORIES = "/admin/sessions_app/sessiondirectory/"
WEEK = timedelta(days=7)


@pytest.fixture
def foreign(folder: Path, settings: Any) -> Path:
    """62 documents of another tool."""
    settings.RAPTOR_SETTLE_SECONDS = 0
    for number in range(62):
        document = {"id": f"f{number}", "cdpUrl": "ws://127.0.0.1:9222/x", "lastAccessed": 1_700_000_000_000}
        (folder / f"f{number:02}.json").write_text(json.dumps(document))
    return folder


def register(client: Client, path: object) -> str:
    data = {"path": str(path), "namespace": "team", "is_enabled": "on"}
    return client.post(f"{DIRECTORIES}add/", data, follow=True).content.decode()


def test_documents_of_another_tool_are_not_swept_for_a_week(foreign: Path) -> None:
    for number in range(6):
        make_session(f"ours-{number}", **(OLD if number else {"session_id": ""}))
    directory = register_directory(foreign, namespace="shop")
    sync(directory)
    assert directory.swept_from is not None
    assert abs(directory.swept_from - database_now() - WEEK) < timedelta(minutes=1)
    result = run_sweep(make_policy())
    assert [found.matched_count for found in result.runs] == [5, 1]
    assert len(live()) == 62
    # After a week they are swept like all others.
    SessionDirectory.objects.update(swept_from=database_now())
    run_sweep(make_policy("Later"), due_at=DUE + WEEK)
    assert live() == []


@pytest.mark.parametrize("criterion", ["expired", "invalid", "all"])
def test_the_preview_of_a_schedule_is_its_plan_and_its_run(foreign: Path, criterion: str) -> None:
    make_session("ours", session_id="", **OLD)
    sync(register_directory(foreign, namespace="shop"))
    policy = make_policy("Tidy", criterion)
    (step,) = preview(policy).steps
    (found,) = run_sweep(policy).runs
    assert (step.session_count, found.matched_count, found.removed_count) == (1, 1, 1)
    assert "scheduled sweeps leave alone" in found.criteria.describe()


def test_manual_cleanups_remove_them(foreign: Path) -> None:
    sync(register_directory(foreign, namespace="shop"))
    policy = make_policy("Tidy", "invalid")
    assert preview(policy, is_manual=True).steps[0].session_count == 62
    assert plan(invalid=True).matched_count == 62
    assert swept(invalid=True).removed_count == 62


def test_an_approved_scheduled_plan_removes_what_it_planned(foreign: Path) -> None:
    make_session("ours", session_id="")
    sync(register_directory(foreign, namespace="shop"))
    held = run_sweep(make_policy("Careful", "invalid", brake_count=0)).held
    assert held is not None
    run_cleanup(approve_cleanup(held, actor="root"), trigger="admin", actor="root")
    assert (held.removed_count, len(live())) == (1, 62)
    assert CleanupRun.objects.get().trigger == "admin"


def test_a_folder_with_a_valid_document_is_swept_as_usual(foreign: Path) -> None:
    put(foreign, "ours")
    directory = register_directory(foreign, namespace="shop")
    sync(directory)
    assert directory.swept_from is None
    assert run_sweep(make_policy("Tidy", "invalid")).runs[0].removed_count == 62


def test_only_the_first_documents_decide(directory: SessionDirectory, folder: Path) -> None:
    sync(directory)
    put(folder, "ours")
    sync(directory)
    swept(all=True)
    put(folder, "broken", session_id="")
    sync(directory)
    assert directory.swept_from is None


def test_the_form_reports_the_documents_and_warns(as_operator: Client, foreign: Path) -> None:
    html = register(as_operator, foreign)
    assert "was added: 62 documents found" in html
    assert "they seem to belong to another tool" in html
    assert not BrowserSession.objects.exists()
    directory = SessionDirectory.objects.get()
    assert directory.inode == foreign.stat().st_ino
    address = f"{DIRECTORIES}{directory.pk}/sync/"
    page = as_operator.post(address, follow=True).content.decode()
    directory.refresh_from_db()
    assert directory.swept_from is not None
    assert f"skip its sessions until {directory.swept_from:%Y-%m-%d %H:%M}" in page
    assert "Sweep from now on" in page
    address = f"{DIRECTORIES}{directory.pk}/sweep/"
    assert as_operator.get(address).status_code == 405
    page = as_operator.post(address, follow=True).content.decode()
    assert "Sweep from now on" not in page
    sync(directory := SessionDirectory.objects.get())
    assert directory.swept_from is None


def test_a_viewer_sees_the_date_and_no_button(as_viewer: Client, foreign: Path) -> None:
    directory = register_directory(foreign, namespace="shop")
    sync(directory)
    page = html_of(as_viewer, f"{DIRECTORIES}{directory.pk}/change/")
    assert "Not swept yet" in page
    assert "Sweep from now on" not in page
    assert as_viewer.post(f"{DIRECTORIES}{directory.pk}/sweep/").status_code == 403


@pytest.mark.parametrize("path", ["~/sessions", "~root/sessions-that-are-not-there"])
def test_the_form_accepts_a_home_folder(
    as_operator: Client, folder: Path, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    put(folder, "a")
    monkeypatch.setenv("HOME", str(folder.parent))
    html = register(as_operator, path)
    if path.startswith("~/"):
        assert "1 document found" in html
        assert SessionDirectory.objects.get().path == str(folder)
    else:
        assert "sessions-that-are-not-there is not a folder on this machine" in html
    assert "cannot be read" in register(as_operator, "~no-such-user/sessions")


def test_the_command_reports_the_documents_and_warns(foreign: Path) -> None:
    outcome = run("sync_directories", foreign)
    assert outcome.status == 0
    assert f"{foreign} is registered: 62 documents found." in outcome.out
    assert "they seem to belong to another tool" in outcome.err
    again = run("sync_directories", foreign)
    assert "is registered" not in again.out
    assert "another tool" not in again.err


def test_the_start_of_the_panel_reports_the_documents_and_warns(
    foreign: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HOME", str(foreign.parent))
    up.mirror(Path("~/sessions"))
    shown = capsys.readouterr()
    assert f"The sessions in {foreign} are mirrored. Documents found: 62." in shown.out
    assert "they seem to belong to another tool" in shown.err


def test_a_manager_logs_the_documents_and_warns(foreign: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, logger="sessions_app"):
        manager = SessionManager(storage_dir=foreign)
        SessionManager(storage_dir=foreign)
    assert caplog.text.count("is registered: 62 documents found") == 1
    assert caplog.text.count("they seem to belong to another tool") == 1
    assert len(manager.list_sessions()) == 62
    run_sweep(make_policy("Tidy", "invalid"))
    assert len(live()) == 62
    assert manager.cleanup_invalid_sessions() == 62
