"""Files that were added, changed, removed or restored before the next sync."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from sessions_app.cleanup import run_cleanup
from sessions_app.mirror.registry import DirectoryError
from sessions_app.models import BrowserSession, CleanupRun, SessionDirectory
from sessions_app.session.files import SessionFolder
from tests.factories import OLD, archived, counts, live, names_in, plan, put, sync

pytestmark = pytest.mark.django_db


def test_added_changed_and_vanished_files_are_mirrored(directory: SessionDirectory, folder: Path) -> None:
    put(folder, "a")
    put(folder, "b")
    put(folder, "c")
    assert counts(sync(directory)) == (3, 0, 0, 0)
    put(folder, "b", browser_type="webkit")
    (folder / "c.json").unlink()
    put(folder, "d")
    assert counts(sync(directory)) == (1, 1, 1, 1)
    assert live() == ["a", "b", "d"]
    session = BrowserSession.objects.get(name="b")
    assert session.browser_type == "webkit"
    assert bytes(session.document) == (folder / "b.json").read_bytes()
    assert session.size_bytes == (folder / "b.json").stat().st_size
    assert (session.namespace, session.directory) == ("shop", directory)


def test_a_vanished_file_is_recorded_as_a_run_and_archived(directory: SessionDirectory, folder: Path) -> None:
    put(folder, "a")
    put(folder, "stays")
    sync(directory)
    (folder / "a.json").unlink()
    sync(directory)
    run = CleanupRun.objects.get()
    assert (run.trigger, run.actor, run.removed_count) == ("command", "tester", 1)
    assert run.removed_reasons == {"vanished": 1}
    assert archived() == ["a"]
    sync(directory)
    assert CleanupRun.objects.count() == 1


def test_a_restored_file_is_a_session_again(directory: SessionDirectory, folder: Path) -> None:
    # The files and stamps are the same, as after a volume was unmounted and mounted again.
    path, aside = put(folder, "a"), folder.parent / "aside.json"
    put(folder, "stays")
    os.link(path, aside)
    sync(directory)
    path.unlink()
    sync(directory)
    os.link(aside, path)
    assert counts(sync(directory)) == (1, 0, 1, 0)
    assert (live(), names_in(folder)) == (["a", "stays"], ["a", "stays"])


def test_unchanged_files_are_not_opened(
    directory: SessionDirectory, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(5):
        put(folder, f"s{number}")
    sync(directory)
    monkeypatch.setattr(SessionFolder, "read", None)
    assert counts(sync(directory)) == (0, 0, 5, 0)


def test_a_sync_of_unchanged_files_costs_the_same_queries_whatever_their_number(
    directory: SessionDirectory, folder: Path
) -> None:
    def queries() -> int:
        with CaptureQueriesContext(connection) as captured:
            sync(directory)
        return len(captured)

    put(folder, "first")
    sync(directory)
    few = queries()
    for number in range(50):
        put(folder, f"s{number}")
    sync(directory)
    assert queries() == few


def test_rewriting_the_same_bytes_leaves_plans_valid(directory: SessionDirectory, folder: Path) -> None:
    path = put(folder, "old", **OLD)
    sync(directory)
    run = plan(expired=True)
    path.write_bytes(path.read_bytes())
    sync(directory)
    assert run_cleanup(run).removed_count == 1
    assert names_in(folder) == []


def test_a_file_changed_after_the_plan_survives_the_run(directory: SessionDirectory, folder: Path) -> None:
    put(folder, "synced", **OLD)
    put(folder, "not-synced", **OLD)
    sync(directory)
    run = plan(expired=True)
    put(folder, "synced")
    sync(directory)
    put(folder, "not-synced")
    run_cleanup(run)
    assert names_in(folder) == ["not-synced", "synced"]
    assert live() == ["not-synced", "synced"]
    assert (run.removed_count, run.skipped_count) == (0, 2)
    assert counts(sync(directory)) == (0, 1, 1, 0)


def test_a_file_that_becomes_unreadable_loses_no_session(directory: SessionDirectory, folder: Path) -> None:
    path = put(folder, "a")
    sync(directory)
    path.write_bytes(b"x" * 5_242_881)
    assert len(sync(directory).skipped) == 1
    assert live() == ["a"]


def test_a_missing_folder_is_an_error_and_loses_no_session(directory: SessionDirectory, folder: Path) -> None:
    put(folder, "a")
    sync(directory)
    (folder / "a.json").unlink()
    folder.rmdir()
    with pytest.raises(DirectoryError, match="cannot be read: No such file or directory"):
        sync(directory)
    directory.refresh_from_db()
    assert "cannot be read" in directory.error
    assert directory.claimed_at is None
    assert live() == ["a"]


def test_a_pin_survives_the_absence_of_the_file(directory: SessionDirectory, folder: Path) -> None:
    path, aside = put(folder, "pinned"), folder.parent / "aside.json"
    put(folder, "other")
    sync(directory)
    BrowserSession.objects.filter(name="pinned").update(is_pinned=True)
    path.rename(aside)
    sync(directory)
    assert live() == ["other"]
    aside.rename(path)
    sync(directory)
    assert list(BrowserSession.objects.filter(is_pinned=True).values_list("name", flat=True)) == ["pinned"]
