"""An undo that cannot write its files reports it everywhere, and a later sync or call finishes it."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client

from sessions_app import tasks
from sessions_app.cleanup import sessions_missing_files, undo_cleanup
from sessions_app.mirror.registry import register_directory
from sessions_app.models import ArchivedSession, CleanupRun, LimitedNamespace, SessionDirectory
from tests.clients import ARCHIVE, RUNS, html_of, run
from tests.factories import OLD, archived, live, names_in, put, swept, sync
from tests.full_disk import mounted

pytestmark = pytest.mark.django_db

FILES = 5


@pytest.fixture
def ledger(directory: SessionDirectory, folder: Path) -> CleanupRun:
    """A cleanup of five mirrored sessions whose folder was moved away afterwards."""
    ledger = clean_up(directory, folder)
    take_away(folder)
    return ledger


def clean_up(directory: SessionDirectory, folder: Path) -> CleanupRun:
    for position in range(FILES):
        put(folder, f"s{position}", **OLD)
    sync(directory)
    return swept()


def take_away(folder: Path) -> None:
    folder.rename(folder.with_name("away"))


def bring_back(folder: Path) -> None:
    folder.with_name("away").rename(folder)


def html_of_run(client: Client, ledger: CleanupRun) -> str:
    return html_of(client, f"{RUNS}{ledger.pk}/change/")


def test_the_command_reports_it_and_a_later_sync_finishes(
    ledger: CleanupRun, directory: SessionDirectory, folder: Path, as_root: Client
) -> None:
    outcome = run("undo_cleanup", str(ledger.pk), "--format", "json")
    assert outcome.status == 1
    reason = "No such file or directory"
    assert outcome.json["unwritten"] == [{"folder": str(folder), "files": FILES, "reason": reason}]
    assert outcome.json["restored"] == FILES
    message = (
        f"5 files are still to be written to {folder}: {reason}. The next sync of the folder tries again."
    )
    assert message in outcome.err
    assert message in html_of_run(as_root, ledger)
    assert (len(live()), archived()) == (FILES, [])

    bring_back(folder)
    result = sync(directory)
    assert (result.written, result.vanished, result.added) == (FILES, 0, 0)
    assert len(names_in(folder)) == FILES
    assert "still to be written" not in html_of_run(as_root, ledger)
    assert run("undo_cleanup", str(ledger.pk)).status == 0


def test_the_same_command_finishes_it_too(ledger: CleanupRun, folder: Path) -> None:
    assert run("undo_cleanup", str(ledger.pk)).status == 1
    bring_back(folder)
    outcome = run("undo_cleanup", str(ledger.pk), "--format", "json")
    assert (outcome.status, "unwritten" in outcome.json) == (0, False)
    assert len(names_in(folder)) == FILES


def test_the_page_and_the_tasks_report_it(ledger: CleanupRun, folder: Path, as_root: Client) -> None:
    html = as_root.post(f"{RUNS}{ledger.pk}/undo/", follow=True).content.decode()
    assert "Some of their files could not be written." in html
    message = f"5 files are still to be written to {folder}: No such file or directory"
    assert message in html
    assert message in tasks.undo_run(ledger.pk, "operator")
    assert message in tasks.sync_directories()
    bring_back(folder)
    assert "5 written" in tasks.sync_directories()
    assert message not in tasks.undo_run(ledger.pk, "operator")


def test_single_sessions_from_the_archive_report_it(
    ledger: CleanupRun, directory: SessionDirectory, folder: Path, as_root: Client
) -> None:
    chosen = list(ArchivedSession.objects.order_by("pk").values_list("pk", flat=True)[:2])
    data = {"action": "restore", "_selected_action": chosen}
    html = as_root.post(ARCHIVE, data, follow=True).content.decode()
    assert "2 of 2 sessions were restored." in html
    assert f"2 files are still to be written to {folder}: No such file or directory" in html
    assert f"2 files are still to be written to {folder}" in html_of_run(as_root, ledger)
    bring_back(folder)
    sync(directory)
    assert names_in(folder) == ["s0", "s1"]


def test_a_read_only_folder_is_named_with_the_reason(tmp_path: Path) -> None:
    with mounted(tmp_path / "mounted", size_bytes=256 * 1024) as disk:
        directory = register_directory(disk.path, namespace="shop")
        ledger = clean_up(directory, disk.path)
        subprocess.run(("mount", "-o", "remount,ro", str(disk.path)), check=True)
        outcome = run("undo_cleanup", str(ledger.pk))
        assert outcome.status == 1
        assert f"5 files are still to be written to {disk.path}: Read-only file system." in outcome.err
        assert "cannot be written to: Read-only file system" in sync(directory).skipped[0][1]
        subprocess.run(("mount", "-o", "remount,rw", str(disk.path)), check=True)
        assert sync(directory).written == FILES
        assert len(names_in(disk.path)) == FILES


def test_on_a_full_disk_the_files_that_fit_are_written_and_the_rest_later(tmp_path: Path) -> None:
    with mounted(tmp_path / "mounted", size_bytes=64 * 1024) as disk:
        directory = register_directory(disk.path, namespace="shop")
        ledger = clean_up(directory, disk.path)
        filler = disk.filler
        # Two pages of 4 kB are left, and the temporary file takes one of them.
        filler.write_bytes(b"x" * 4096 * 14)
        outcome = run("undo_cleanup", str(ledger.pk), "--format", "json")
        assert outcome.status == 1
        (unwritten,) = outcome.json["unwritten"]
        assert unwritten["reason"] == "the disk is full"
        assert unwritten["files"] == FILES - len(list(disk.path.glob("*.json"))) == 3
        assert not list(disk.path.glob(".writing-*"))
        filler.unlink()
        assert sync(directory).written == 3
        assert len(names_in(disk.path)) == FILES


def test_files_of_an_undo_that_was_killed_after_its_last_batch_are_written_by_the_next_call(
    directory: SessionDirectory, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger = clean_up(directory, folder)

    def interrupt(*args: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("sessions_app.cleanup.undo._write_files", interrupt)
        with pytest.raises(KeyboardInterrupt):
            undo_cleanup(ledger)
    CleanupRun.objects.update(state=CleanupRun.State.INTERRUPTED)
    assert (archived(), names_in(folder)) == ([], [])
    undo_cleanup(CleanupRun.objects.get())
    assert len(names_in(folder)) == FILES


def test_a_name_that_the_folder_refuses_does_not_stop_the_other_files(
    directory: SessionDirectory, folder: Path
) -> None:
    ledger = clean_up(directory, folder)
    # The folder could have moved to a file system with shorter names.
    ArchivedSession.objects.filter(name="s0").update(file_name="é" * 200 + ".json")
    outcome = run("undo_cleanup", str(ledger.pk))
    assert outcome.status == 1
    assert "1 file is still to be written" in outcome.err
    assert "File name too long" in outcome.err
    assert names_in(folder) == ["s1", "s2", "s3", "s4"]


def test_a_run_counts_only_its_own_files(
    ledger: CleanupRun, folder: Path, tmp_path: Path, as_root: Client
) -> None:
    other_folder = tmp_path / "others"
    other_folder.mkdir()
    other = clean_up(register_directory(other_folder, namespace="other"), other_folder)
    undo_cleanup(ledger)
    undo_cleanup(other)
    assert sessions_missing_files().count() == FILES
    assert str(folder) in html_of_run(as_root, ledger)
    assert "still to be written" not in html_of_run(as_root, other)


def test_folders_of_hidden_namespaces_are_not_named(
    ledger: CleanupRun, folder: Path, client: Client, operator: User
) -> None:
    undo_cleanup(ledger)
    client.force_login(operator)
    assert str(folder) in html_of_run(client, ledger)
    LimitedNamespace.objects.create(namespace="shop")
    assert str(folder) not in html_of_run(client, ledger)


def test_the_count_of_unwritten_files_is_bounded(
    ledger: CleanupRun, as_root: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sessions_app.cleanup.missing_files.COUNTED_LIMIT", 3)
    undo_cleanup(ledger)
    assert "Over 3 files are still to be written" in html_of_run(as_root, ledger)
