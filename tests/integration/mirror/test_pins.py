"""A pin survives the loss of its file until the file is back."""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from raptor.core.session_manager import SessionManager
from sessions_app.cleanup import (
    approve_cleanup,
    empty_archive,
    restore_sessions,
    run_cleanup,
    undo_cleanup,
)
from sessions_app.models import ArchivedSession, BrowserSession, CleanupRun, SessionDirectory
from sessions_app.models.clock import database_now
from tests.clients import run
from tests.factories import archived, live, put, swept, sync
from tests.pages import page

pytestmark = pytest.mark.django_db


@pytest.fixture
def lost(directory: SessionDirectory, folder: Path) -> Path:
    """A pinned and an unpinned session whose files are gone; return the file of the pinned one."""
    for name in ("other", "pinned", "stays"):
        put(folder, name)
    sync(directory)
    BrowserSession.objects.filter(name="pinned").update(is_pinned=True)
    for name in ("other", "pinned"):
        (folder / f"{name}.json").rename(folder.parent / f"{name}.json")
    put(folder, "stays-too")
    sync(directory)
    assert archived() == ["other", "pinned"]
    return folder.parent / "pinned.json"


def pinned() -> list[str]:
    return list(BrowserSession.objects.filter(is_pinned=True).values_list("name", flat=True))


def tomorrow() -> datetime:
    return database_now() + timedelta(days=1)


def test_emptying_the_archive_keeps_a_pin_until_its_file_is_back(
    directory: SessionDirectory, folder: Path, lost: Path
) -> None:
    assert empty_archive(tomorrow())[0] == 1
    assert archived() == ["pinned"]
    assert empty_archive(tomorrow())[0] == 0
    lost.rename(folder / "pinned.json")
    sync(directory)
    assert pinned() == ["pinned"]
    # The live session has the pin now, so the archived one can be deleted.
    assert empty_archive(tomorrow())[0] == 1
    assert archived() == []


def test_emptying_reports_the_number_of_pinned_sessions_kept(lost: Path) -> None:
    report = json.loads(run("empty_archive", "--days", "0", "--format", "json").out)
    assert (report["deleted"], report["pinned_kept"]) == (1, 1)
    assert "1 pinned session kept" in run("empty_archive", "--days", "0").out
    lost.unlink()


def test_a_session_that_is_saved_again_while_its_file_is_gone_keeps_its_pin(folder: Path, lost: Path) -> None:
    SessionManager(storage_dir=folder).save_session(page(), "pinned")
    SessionManager(storage_dir=folder).save_session(page(), "other")
    assert pinned() == ["pinned"]


def test_a_session_saved_by_a_manager_of_its_namespace_keeps_its_pin(lost: Path) -> None:
    SessionManager(namespace="shop").save_session(page(), "pinned")
    SessionManager(namespace="shop").save_session(page(), "other")
    assert pinned() == ["pinned"]


def test_a_session_that_was_unpinned_is_not_pinned_again(
    directory: SessionDirectory, folder: Path, lost: Path
) -> None:
    path = folder / "pinned.json"
    lost.rename(path)
    sync(directory)
    BrowserSession.objects.filter(name="pinned").update(is_pinned=False)
    path.rename(lost)
    sync(directory)
    lost.rename(path)
    sync(directory)
    assert (pinned(), "pinned" in live()) == ([], True)


def test_a_pinned_session_that_was_removed_on_purpose_is_not_pinned_again(
    directory: SessionDirectory, folder: Path, lost: Path
) -> None:
    lost.rename(folder / "pinned.json")
    sync(directory)
    swept(all=True)
    put(folder, "pinned")
    sync(directory)
    assert (pinned(), live()) == ([], ["pinned"])


@pytest.mark.parametrize("way", ["undo", "restore"])
def test_a_pin_comes_back_with_its_session(
    directory: SessionDirectory, folder: Path, lost: Path, way: str
) -> None:
    if way == "undo":
        undo_cleanup(CleanupRun.objects.get())
    else:
        restore_sessions(ArchivedSession.objects.values_list("pk", flat=True))
    assert pinned() == ["pinned"]
    assert (folder / "pinned.json").exists()


def test_a_pin_survives_an_approved_loss_and_an_emptied_archive(
    directory: SessionDirectory, folder: Path
) -> None:
    put(folder, "pinned")
    sync(directory)
    BrowserSession.objects.update(is_pinned=True)
    away = folder.with_name("away")
    folder.rename(away)
    folder.mkdir()
    sync(directory)
    run_cleanup(approve_cleanup(CleanupRun.objects.get(state="held"), actor="root"))
    assert live() == []
    assert empty_archive(tomorrow())[0] == 0
    folder.rmdir()
    away.rename(folder)
    SessionDirectory.objects.update(is_enabled=False)
    SessionDirectory.objects.update(is_enabled=True)
    sync(directory)
    assert pinned() == ["pinned"]


def test_a_pinned_session_stays_pinned_if_another_file_takes_its_name(
    directory: SessionDirectory, folder: Path, lost: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sessions_app.cleanup.undo._write_files", lambda directories: None)
    undo_cleanup(CleanupRun.objects.get())
    put(folder, "pinned", browser_type="webkit")
    sync(directory)
    sync(directory)
    assert pinned() == ["pinned"]
