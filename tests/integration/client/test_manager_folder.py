"""``SessionManager`` on a folder of documents, mirrored both ways."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from raptor.core.exceptions import SessionException
from raptor.core.session_manager import SessionInfo, SessionManager
from sessions_app.cleanup import plan_cleanup, run_cleanup, undo_cleanup
from sessions_app.mirror.registry import register_directory, sync_directory
from sessions_app.models import BrowserSession, CleanupRun, SessionDirectory
from sessions_app.session.criteria import Criteria
from tests.factories import OLD, document, live, make_session, put
from tests.pages import page

pytestmark = pytest.mark.django_db


@pytest.fixture
def manager(folder: Path) -> SessionManager:
    return SessionManager(storage_dir=folder)


def save(manager: SessionManager, name: str, **changes: Any) -> SessionInfo:
    saved: SessionInfo = manager.save_session(page(**changes), name)
    return saved


def test_a_folder_is_created_with_a_namespace_of_its_own(tmp_path: Path) -> None:
    first = SessionManager(storage_dir=tmp_path / "a" / "sessions")
    second = SessionManager(storage_dir=str(tmp_path / "b" / "sessions"))
    save(first, "cart")
    save(second, "cart")
    assert first.get_storage_dir() == tmp_path / "a" / "sessions"
    assert first.namespace != second.namespace
    assert first.namespace.startswith("sessions-")
    assert first.list_sessions() == second.list_sessions() == ["cart"]
    assert first.cleanup_all_sessions() == 1
    assert second.list_sessions() == ["cart"]
    assert not SessionDirectory.objects.filter(is_enabled=True).exists()
    assert SessionManager(storage_dir=tmp_path / "b" / "sessions").list_sessions() == ["cart"]


def test_a_folder_of_the_panel_keeps_its_namespace(folder: Path) -> None:
    register_directory(folder, namespace="team-a")
    assert SessionManager(storage_dir=folder).namespace == "team-a"
    with pytest.raises(SessionException, match="team-a, not other"):
        SessionManager(storage_dir=folder, namespace="other")


def test_a_document_added_manually_counts_at_the_next_call(manager: SessionManager, folder: Path) -> None:
    assert manager.list_sessions() == []
    path = put(folder, "by-hand")
    assert manager.list_sessions() == ["by-hand"]
    assert manager.get_session_count() == 1
    assert manager.get_storage_size() == path.stat().st_size
    info = manager.get_session_info("by-hand")
    assert info is not None
    assert info.to_dict() == document()
    path.write_text("{")
    assert not manager.validate_session("by-hand")
    path.unlink()
    assert manager.get_session_count() == 0


def test_a_save_writes_the_file_and_a_removal_removes_it(manager: SessionManager, folder: Path) -> None:
    save(manager, "cart")
    written = json.loads((folder / "cart.json").read_bytes())
    assert written["metadata"]["page_title"] == "Cart"
    assert (folder / "cart.json").stat().st_mode & 0o777 == 0o600
    save(manager, "cart", page_title="Checkout")
    assert json.loads((folder / "cart.json").read_bytes())["metadata"]["page_title"] == "Checkout"
    assert [path.name for path in folder.iterdir()] == ["cart.json"]
    assert manager.delete_session("cart")
    assert list(folder.iterdir()) == []
    undo_cleanup(CleanupRun.objects.get(), actor="tester")
    assert (folder / "cart.json").exists()
    assert manager.validate_session("cart")


def test_a_sync_after_a_save_finds_nothing_new(manager: SessionManager, folder: Path) -> None:
    save(manager, "cart")
    before = BrowserSession.objects.values().get()
    result = sync_directory(SessionDirectory.objects.get(), trigger="command")
    assert (result.added, result.changed, result.unchanged) == (0, 0, 1)
    assert BrowserSession.objects.values().get() == before


def test_a_touch_writes_the_file_and_keeps_manual_changes(manager: SessionManager, folder: Path) -> None:
    put(folder, "cart", **OLD)
    manager.list_sessions()
    put(folder, "cart", **OLD, metadata={"written": "manually"}, more=1)
    manager._store.touch("cart")
    written = json.loads((folder / "cart.json").read_bytes())
    assert written["metadata"] == {"written": "manually"}
    assert written["more"] == 1
    assert written["last_accessed"] > "2026-11-22"
    assert manager.cleanup_expired_sessions() == 0


def test_saving_a_mirrored_session_by_namespace_writes_its_file(folder: Path) -> None:
    put(folder, "cart", **OLD)
    sync_directory(register_directory(folder, namespace="shop"), trigger="command")
    save(SessionManager(namespace="shop"), "cart", page_title="New")
    assert json.loads((folder / "cart.json").read_bytes())["metadata"]["page_title"] == "New"


def test_cleanups_remove_only_sessions_of_the_folder(folder: Path) -> None:
    put(folder, "old", **OLD)
    put(folder, "fresh", last_accessed="2126-01-01T00:00:00+00:00")
    put(folder, "broken", session_id="")
    make_session("elsewhere", **OLD)
    manager = SessionManager(storage_dir=folder, namespace="shop")
    assert manager.list_sessions() == ["broken", "fresh", "old"]
    assert manager.cleanup_expired_sessions(max_age_days=30) == 1
    assert manager.cleanup_invalid_sessions() == 1
    assert manager.cleanup_all_sessions() == 1
    assert live() == ["elsewhere"]
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("a/b", "a slash"),
        ("../outside", "a slash"),
        ("/etc/passwd", "a slash"),
        (".hidden", "with a dot"),
        ("..", "with a dot"),
        ("x" * 251, "255 bytes"),
        ("😀" * 63, "255 bytes"),
        ("", "empty"),
        ("x" * 300, "300 characters"),
        ("a\0b", "databases cannot store"),
    ],
)
def test_a_name_that_is_not_a_file_name_is_refused(
    manager: SessionManager, folder: Path, name: str, reason: str
) -> None:
    with pytest.raises(SessionException, match=reason):
        save(manager, name)
    assert manager.list_sessions() == []
    assert sorted(path.name for path in folder.parent.rglob("*")) == ["sessions"]


@pytest.mark.parametrize("name", ["a b", "a.b", "😀", "Ä", "-", "a.json", "x" * 250, "a\\b", "%2F", "a\nb"])
def test_other_names_are_files_in_the_folder(manager: SessionManager, folder: Path, name: str) -> None:
    save(manager, name)
    assert [path.name for path in folder.iterdir()] == [f"{name}.json"]
    assert manager.list_sessions() == [name]
    assert manager.validate_session(name)


def test_a_name_of_another_folder_in_the_namespace_is_refused(tmp_path: Path) -> None:
    save(SessionManager(storage_dir=tmp_path / "a", namespace="shop"), "cart")
    other = SessionManager(storage_dir=tmp_path / "b", namespace="shop")
    with pytest.raises(SessionException, match="taken"):
        save(other, "cart")
    assert list((tmp_path / "b").iterdir()) == []


def test_a_file_that_is_not_a_document_is_not_overwritten(manager: SessionManager, folder: Path) -> None:
    (folder / "cart.json").mkdir()
    with pytest.raises(SessionException, match="by a file that cannot be read"):
        save(manager, "cart")
    assert (folder / "cart.json").is_dir()
    assert live() == []


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_read_only_folder_is_reported(manager: SessionManager, folder: Path) -> None:
    folder.chmod(0o500)
    with pytest.raises(SessionException, match="Permission denied"):
        save(manager, "cart")
    folder.chmod(0o700)
    assert live() == []


def test_a_missing_folder_is_reported_and_its_sessions_are_kept(
    manager: SessionManager, folder: Path
) -> None:
    save(manager, "cart")
    folder.rename(folder.with_name("away"))
    for work in (manager.list_sessions, lambda: save(manager, "cart"), manager.cleanup_all_sessions):
        with pytest.raises(SessionException, match="cannot be read"):
            work()
    assert live() == ["cart"]


def test_a_missing_folder_is_not_created_again(manager: SessionManager, folder: Path) -> None:
    """Check that a disk that is not mounted does not archive its sessions."""
    save(manager, "cart")
    folder.rename(folder.with_name("away"))
    with pytest.raises(SessionException, match="cannot be read"):
        SessionManager(storage_dir=folder).list_sessions()
    assert live() == ["cart"]


@pytest.mark.parametrize(
    "path", ["", " ", "/dev/null", "/dev/null/sessions", "a\0b", "~nobody-of-that-name/x"]
)
def test_an_impossible_folder_is_refused(path: str) -> None:
    with pytest.raises(SessionException):
        SessionManager(storage_dir=path)


def test_a_save_between_plan_and_run_survives(manager: SessionManager, folder: Path) -> None:
    put(folder, "cart", **OLD)
    manager.list_sessions()
    plan = plan_cleanup(Criteria(expired=True), trigger="command")
    save(manager, "cart")
    assert run_cleanup(plan).removed_count == 0
    assert (folder / "cart.json").exists()


def test_a_save_syncs_the_folder_once(manager: SessionManager, monkeypatch: pytest.MonkeyPatch) -> None:
    save(manager, "cart")
    syncs: list[str] = []
    monkeypatch.setattr(
        "sessions_app.client.lookup.sync_when_free", lambda directory, **options: syncs.append(directory.path)
    )
    save(manager, "cart")
    assert len(syncs) == 1


def test_a_save_contacts_the_browser_outside_of_transactions(
    manager: SessionManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    at_work: list[bool] = []
    running: list[object] = []

    def run_sync(work: Any, *args: Any, **options: Any) -> Any:
        running.append(work)
        try:
            return work(*args, **options)
        finally:
            running.pop()

    def find_endpoint(facts: Any, **options: Any) -> str:
        at_work.append(bool(running))
        return "ws://127.0.0.1:9/devtools/browser/1"

    monkeypatch.setattr("sessions_app.client.manager.run_sync", run_sync)
    monkeypatch.setattr("sessions_app.browsers.page_info.find_endpoint", find_endpoint)
    save(manager, "cart")
    assert at_work == [False]
