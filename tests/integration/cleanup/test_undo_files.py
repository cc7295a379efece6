"""How an undo restores the files of sessions."""

from __future__ import annotations

import os
from datetime import timedelta
from pathlib import Path

import pytest

from sessions_app.cleanup import empty_archive, undo_cleanup
from sessions_app.mirror.registry import register_directory, sync_directory
from sessions_app.models import BrowserSession, CleanupRun, SessionDirectory
from sessions_app.models.clock import database_now
from tests.factories import OLD, archived, live, put, swept

pytestmark = pytest.mark.django_db

State = CleanupRun.State


class TestFiles:
    @pytest.fixture
    def directory(self, folder: Path) -> SessionDirectory:
        directory = register_directory(folder, namespace="shop")
        put(folder, "old", **OLD)
        put(folder, "older", **OLD)
        sync_directory(directory, trigger="command")
        return directory

    def test_the_files_are_restored_with_their_bytes(self, directory: SessionDirectory, folder: Path) -> None:
        before = {path.name: path.read_bytes() for path in folder.iterdir()}
        run = swept()
        assert os.listdir(folder) == []  # noqa: PTH208
        undo_cleanup(run)
        assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
        result = sync_directory(directory, trigger="command")
        assert (result.unchanged, result.added, result.changed, result.vanished) == (2, 0, 0, 0)
        assert undo_cleanup(swept()).restored_count == 2

    def test_an_undo_restores_a_vanished_file(self, directory: SessionDirectory, folder: Path) -> None:
        (folder / "old.json").unlink()
        sync_directory(directory, trigger="command")
        undo_cleanup(CleanupRun.objects.get())
        assert (folder / "old.json").exists()
        assert sync_directory(directory, trigger="command").unchanged == 2

    def test_a_new_file_of_the_same_name_is_kept_and_the_old_one_stays_archived(
        self, directory: SessionDirectory, folder: Path
    ) -> None:
        run = swept()
        path = put(folder, "old")
        undo_cleanup(run)
        assert (archived(), live()) == (["old"], ["older"])
        sync_directory(directory, trigger="command")
        assert live() == ["old", "older"]
        assert bytes(BrowserSession.objects.get(name="old").document) == path.read_bytes()

    @pytest.mark.parametrize("cause", ["crash", "folder away"])
    def test_files_that_could_not_be_written_are_written_by_the_next_sync(
        self, directory: SessionDirectory, folder: Path, cause: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        run = swept()
        if cause == "crash":
            monkeypatch.setattr("sessions_app.cleanup.undo._write_files", lambda directories: None)
        else:
            folder.rename(folder.with_name("away"))
        undo_cleanup(run)
        assert live() == ["old", "older"]
        if cause == "folder away":
            folder.with_name("away").rename(folder)
        result = sync_directory(directory, trigger="command")
        assert (result.vanished, result.added) == (0, 0)
        assert len(list(folder.iterdir())) == 2
        assert sync_directory(directory, trigger="command").unchanged == 2

    def test_a_file_created_before_the_restore_is_kept_and_nothing_is_lost(
        self, directory: SessionDirectory, folder: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        run = swept()
        monkeypatch.setattr("sessions_app.cleanup.undo._write_files", lambda directories: None)
        undo_cleanup(run)
        put(folder, "old")
        sync_directory(directory, trigger="command")
        assert archived() == ["old"]
        sync_directory(directory, trigger="command")
        assert live() == ["old", "older"]

    def test_a_session_whose_file_survived_a_crash_stays_archived_until_it_is_gone(
        self, directory: SessionDirectory, folder: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def refuse(*args: object, **kwargs: object) -> None:
            raise PermissionError(13, "Permission denied")

        monkeypatch.setattr(os, "rename", refuse)
        swept()
        tomorrow = database_now() + timedelta(days=1)
        assert empty_archive(tomorrow)[0] == 0
        monkeypatch.undo()
        assert empty_archive(tomorrow)[0] == 2
        sync_directory(directory, trigger="command")
        assert live() == []


def test_an_undo_that_can_restore_nothing_ends(tmp_path: Path) -> None:
    directory = register_directory(tmp_path, namespace="shop")
    put(tmp_path, "old", **OLD)
    sync_directory(directory, trigger="command")
    run = swept()
    put(tmp_path, "old")
    undo_cleanup(run)
    assert (run.state, run.restored_count) == (State.UNDONE, 0)
