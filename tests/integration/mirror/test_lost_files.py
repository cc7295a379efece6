"""A folder that loses many files at once keeps its sessions until a user approves their removal."""

from __future__ import annotations

import shutil
from datetime import timedelta
from pathlib import Path

import pytest
from django.test import Client
from django.utils import timezone

from raptor.core.session_manager import SessionManager
from sessions_app.cleanup import approve_cleanup, close_cleanup, drop_old_plans, run_cleanup
from sessions_app.mirror.sync import Mirror
from sessions_app.models import BrowserSession, CleanupRun, SessionDirectory
from tests.clients import RUNS, html_of, run
from tests.factories import archived, counts, live, put, swept, sync

pytestmark = pytest.mark.django_db

State = CleanupRun.State
DIRECTORIES = "/admin/sessions_app/sessiondirectory/"


def fill(folder: Path, count: int) -> list[str]:
    return [put(folder, f"s{number:03}").stem for number in range(count)]


def lose(folder: Path, names: list[str]) -> None:
    """Move files away; ``find`` moves them back unchanged."""
    aside = folder.with_name("lost")
    aside.mkdir(exist_ok=True)
    for name in names:
        (folder / f"{name}.json").rename(aside / f"{name}.json")


def find(folder: Path, names: list[str]) -> None:
    for name in names:
        (folder.with_name("lost") / f"{name}.json").rename(folder / f"{name}.json")


def hold_loss(directory: SessionDirectory, folder: Path, count: int) -> list[str]:
    """Mirror some files, lose all of them, and sync; return the names of their sessions."""
    names = fill(folder, count)
    sync(directory)
    lose(folder, names)
    sync(directory)
    return names


def held() -> CleanupRun:
    return CleanupRun.objects.get(state=State.HELD)


def approve(held_run: CleanupRun) -> CleanupRun:
    return run_cleanup(approve_cleanup(held_run, actor="root"))


@pytest.mark.parametrize("count", [1, 5, 30])
def test_a_folder_that_turns_empty_needs_approval(
    directory: SessionDirectory, folder: Path, count: int
) -> None:
    names = fill(folder, count)
    sync(directory)
    lose(folder, names)
    result = sync(directory)
    assert (result.vanished, result.held) == (0, count)
    assert (live(), archived()) == (names, [])
    found = held()
    assert (found.matched_count, found.removed_count, result.held_run) == (count, 0, found.pk)
    assert "Is its disk mounted?" in found.held_because
    assert str(folder) in found.held_because
    sync(directory)
    assert CleanupRun.objects.count() == 1, "the same loss needs one approval"


@pytest.mark.parametrize(
    ("count", "lost", "is_held"),
    [(21, 11, True), (40, 21, True), (40, 20, False), (20, 19, False), (21, 10, False)],
)
def test_more_than_half_of_more_than_20_sessions_need_approval(
    directory: SessionDirectory, folder: Path, count: int, lost: int, is_held: bool
) -> None:
    names = fill(folder, count)
    sync(directory)
    lose(folder, names[:lost])
    result = sync(directory)
    assert (result.held, result.vanished) == ((lost, 0) if is_held else (0, lost))


def test_the_loss_is_counted_before_it_is_split_into_batches(
    directory: SessionDirectory, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ("mirror.sync", "mirror.vanished", "session.criteria", "cleanup.plans"):
        monkeypatch.setattr(f"sessions_app.{module}.SELECTION_LIMIT", 4)
    names = fill(folder, 30)
    sync(directory)
    lose(folder, names[:25])
    assert sync(directory).held == 25
    find(folder, names[3:9])
    approved = approve(held())
    assert (approved.removed_count, approved.skipped_count, approved.state) == (19, 6, State.SUCCEEDED)
    assert live() == [*names[3:9], *names[25:]]


def test_files_that_come_back_close_the_run(directory: SessionDirectory, folder: Path) -> None:
    names = hold_loss(directory, folder, 30)
    find(folder, names[:14])
    assert sync(directory).held == 16
    find(folder, names[14:29])
    result = sync(directory)
    closed = CleanupRun.objects.get(state=State.CLOSED)
    assert "files exist again" in closed.error
    assert closed.closed_by == ""
    assert (result.held, result.vanished, archived()) == (0, 1, names[29:])
    find(folder, names[29:])
    assert counts(sync(directory)) == (1, 0, 29, 0)
    assert live() == names


def test_an_approved_run_keeps_sessions_with_files(directory: SessionDirectory, folder: Path) -> None:
    names = hold_loss(directory, folder, 5)
    find(folder, names[:2])
    approved = approve(held())
    assert (live(), archived()) == (names[:2], names[2:])
    assert (approved.removed_count, approved.skipped_count) == (3, 2)
    assert {skipped["because"] for skipped in approved.skipped_sessions} == {"Its file exists again."}
    assert counts(sync(directory)) == (0, 2, 0, 0), "a rename changes the ctime"


def test_an_approved_run_removes_nothing_if_its_folder_cannot_be_read(
    directory: SessionDirectory, folder: Path
) -> None:
    names = hold_loss(directory, folder, 3)
    folder.rename(folder.with_name("away"))
    with pytest.raises(OSError, match="cannot be read"):
        approve(held())
    assert live() == names


def test_a_dismissed_loss_does_not_need_approval_again(directory: SessionDirectory, folder: Path) -> None:
    names = fill(folder, 40)
    sync(directory)
    lose(folder, names[:25])
    sync(directory)
    close_cleanup(held(), actor="root")
    for _ in range(2):
        result = sync(directory)
        assert (result.kept, result.held, result.vanished) == (25, 0, 0)
    assert len(live()) == 40
    # A single deleted file is normal and is not part of the dismissed loss.
    lose(folder, names[25:26])
    assert sync(directory).vanished == 1
    # The remaining files are another loss.
    lose(folder, names[26:])
    assert sync(directory).held == 14
    assert held().matched_count == 14


def test_a_dismissal_ends_when_the_files_are_back(directory: SessionDirectory, folder: Path) -> None:
    names = hold_loss(directory, folder, 3)
    close_cleanup(held(), actor="root")
    sync(directory)
    find(folder, names)
    assert sync(directory).kept == 0
    lose(folder, names[:1])
    assert sync(directory).vanished == 1
    lose(folder, names[1:])
    assert sync(directory).held == 2


def test_a_loss_that_grows_replaces_its_run(directory: SessionDirectory, folder: Path) -> None:
    names = fill(folder, 40)
    sync(directory)
    lose(folder, names[:25])
    sync(directory)
    lose(folder, names[25:])
    assert sync(directory).held == 40
    assert held().matched_count == 40
    assert "another run has replaced this one" in CleanupRun.objects.get(state=State.CLOSED).error


def test_an_approved_run_that_is_queued_does_not_need_approval_again(
    directory: SessionDirectory, folder: Path
) -> None:
    lost = hold_loss(directory, folder, 3)
    approved = approve_cleanup(held(), actor="root")
    sync(directory)
    assert CleanupRun.objects.count() == 1
    run_cleanup(approved)
    assert archived() == lost


def test_a_held_loss_does_not_become_outdated(directory: SessionDirectory, folder: Path) -> None:
    hold_loss(directory, folder, 3)
    found = held()
    CleanupRun.objects.update(planned_at=timezone.now() - timedelta(days=3))
    found.refresh_from_db()
    drop_old_plans(as_of=timezone.now())
    assert approve(found).removed_count == 3


def test_files_that_a_cleanup_removes_are_not_a_loss(
    directory: SessionDirectory, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(folder, 3)
    sync(directory)
    pks = list(BrowserSession.objects.values_list("pk", flat=True))
    swept(all=True)
    # A sync that read the rows before the cleanup and the folder after it sees this.
    monkeypatch.setattr(Mirror, "_compare", lambda self: ([], {}, pks, []))
    result = sync(directory)
    assert (result.held, result.vanished) == (0, 0)
    assert not CleanupRun.objects.filter(state=State.HELD).exists()


def test_the_folder_of_a_manager_does_not_need_approval(folder: Path) -> None:
    manager = SessionManager(storage_dir=folder)
    names = fill(folder, 30)
    assert manager.list_sessions() == names
    shutil.rmtree(folder)
    folder.mkdir()
    assert manager.list_sessions() == []


def test_the_dashboard_and_the_pages_ask_if_the_disk_is_mounted(
    as_operator: Client, directory: SessionDirectory, folder: Path
) -> None:
    lost = fill(folder, 3)
    sync(directory)
    lose(folder, lost)
    outcome = run("sync_directories", folder)
    assert outcome.status == 3
    assert "needs approval" in outcome.out
    found = held()
    link = f"{RUNS}{found.pk}/plan/"
    dashboard = html_of(as_operator, "/admin/")
    assert link in dashboard
    assert f"Files are missing from {folder}: 3 of 3 sessions" in dashboard
    assert "Is its disk mounted?" in dashboard
    assert "Is its disk mounted?" in html_of(as_operator, f"{DIRECTORIES}{directory.pk}/change/")
    page = html_of(as_operator, link)
    assert "keeps sessions whose files are back" in page
    as_operator.post(link, {"approve": "1", "number": "3"})
    assert archived() == lost
