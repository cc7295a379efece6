from __future__ import annotations

import os
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.db import connection

from sessions_app.cleanup import (
    CannotUndo,
    CleanupInProgress,
    empty_archive,
    mark_dead_runs,
    restore_sessions,
    run_cleanup,
    undo_cleanup,
)
from sessions_app.deadline import Deadline
from sessions_app.directories import register_directory, sync_directory
from sessions_app.models import ArchivedSession, BrowserSession, CleanupRun, SessionDirectory, StoredSession
from sessions_app.models.clock import database_now
from tests.documents import OLD, put
from tests.integration.faults import Died, Faulty
from tests.integration.sessions import archived, forget_sessions, live, make_session, make_sessions, plan

pytestmark = pytest.mark.django_db

State = CleanupRun.State
STORED = [f.attname for f in StoredSession._meta.local_concrete_fields if f.attname != "updated_at"]


def swept(**criteria: Any) -> CleanupRun:
    return run_cleanup(plan(**(criteria or {"expired": True})))


def rows() -> list[dict[str, Any]]:
    return [
        {**row, "document": bytes(row["document"])}
        for row in BrowserSession.objects.order_by("pk").values("id", *STORED)
    ]


def test_an_undo_brings_every_session_back_byte_for_byte_pins_and_all() -> None:
    make_session("old", metadata={"title": "Übersicht \0 \ud83e"}, **OLD)
    make_session("pinned", is_pinned=True, cdp_url="")
    make_session("other", namespace="bank", last_accessed=None)
    before = rows()
    run = swept(all=True)
    finished_at = run.finished_at
    assert live() == []
    undo_cleanup(run, actor="tester")
    assert run.finished_at == finished_at
    assert run.undone_at is not None
    assert rows() == before
    assert archived() == []
    assert (run.state, run.undone_by) == (State.UNDONE, "tester")
    assert (
        (run.restored_count, run.restored_bytes)
        == (run.removed_count, run.removed_bytes)
        == (
            3,
            sum(row["size_bytes"] for row in before),
        )
    )


def test_an_undo_twice_is_an_undo_once() -> None:
    make_session("old", **OLD)
    run = undo_cleanup(swept())
    assert undo_cleanup(run).restored_count == 1
    assert live() == ["old"]


def test_sweep_undo_and_sweep_again_works() -> None:
    make_sessions(3, **OLD)
    for _ in range(3):
        run = swept()
        assert run.removed_count == 3
        undo_cleanup(run)
        assert (len(live()), archived()) == (3, [])


def test_a_name_that_was_taken_meanwhile_is_left_in_the_archive() -> None:
    make_session("old", **OLD)
    make_session("taken", **OLD)
    run = swept()
    newer = make_session("taken")
    undo_cleanup(run)
    assert live() == ["old", "taken"]
    assert archived() == ["taken"]
    assert BrowserSession.objects.get(name="taken") == newer
    assert run.restored_count == 1


def test_a_plan_made_while_a_session_was_away_does_not_take_it() -> None:
    make_session("old", **OLD)
    first = swept()
    second = plan(all=True)
    undo_cleanup(first)
    assert run_cleanup(second).removed_count == 0
    assert live() == ["old"]


def test_an_undo_in_batches_can_be_interrupted_and_gone_on_with() -> None:
    make_sessions(5, **OLD)
    run = swept()
    undo_cleanup(run, deadline=Deadline(0), batch_size=2)
    assert (run.state, run.restored_count, len(archived())) == (State.INTERRUPTED, 2, 3)
    with pytest.raises(CleanupInProgress):
        run_cleanup(run)  # what is back is not taken again
    assert undo_cleanup(run).state == State.UNDONE
    assert (len(live()), archived()) == (5, [])


def test_there_is_nothing_to_undo_in_a_plan_and_in_an_emptied_run() -> None:
    make_session("old", **OLD)
    run = plan(expired=True)
    with pytest.raises(CannotUndo, match="has removed nothing"):
        undo_cleanup(run)
    run_cleanup(run)
    empty_archive(database_now() + timedelta(days=1))
    run.refresh_from_db()
    assert not run.is_undoable
    with pytest.raises(CannotUndo, match="emptied"):
        undo_cleanup(run)


def test_a_run_at_work_is_not_undone() -> None:
    make_session("old", **OLD)
    run = swept()
    CleanupRun.objects.update(state=State.RUNNING)
    with pytest.raises(CleanupInProgress):
        undo_cleanup(run)


@pytest.mark.parametrize("is_after", [False, True], ids=["before", "after"])
def test_a_fault_at_any_statement_of_an_undo_leaves_each_session_once_and_the_undo_finishable(
    is_after: bool,
) -> None:
    fault, has_failed = 0, True
    while has_failed:
        fault += 1
        ArchivedSession.objects.all().delete()
        forget_sessions()
        make_sessions(5, **OLD)
        run = swept()
        with Faulty(fault, is_after=is_after) as faulty, suppress(Died):
            undo_cleanup(run, batch_size=2)
        has_failed = faulty.has_failed
        assert sorted(live() + archived()) == [f"session-{number:03}" for number in range(5)]
        run.refresh_from_db()
        assert run.restored_count == len(live())
        mark_dead_runs(as_of=database_now() + timedelta(hours=1))
        run.refresh_from_db()
        undo_cleanup(run, batch_size=2)
        assert (len(live()), archived(), run.state) == (5, [], State.UNDONE)
        assert run.restored_count == 5
    assert fault > 15


def test_single_sessions_come_back_from_the_archive() -> None:
    make_sessions(3, **OLD)
    run = swept()
    first, *_ = ArchivedSession.objects.order_by("pk")
    assert restore_sessions([first.pk, 999_999]) == 1
    assert restore_sessions([first.pk]) == 0
    assert live() == [first.name]
    run.refresh_from_db()
    assert (run.state, run.restored_count, run.is_undoable) == (State.SUCCEEDED, 1, True)
    undo_cleanup(run)
    assert (run.restored_count, len(live())) == (3, 3)


class TestFiles:
    @pytest.fixture
    def folder(self, tmp_path: Path) -> Path:
        folder = tmp_path / "sessions"
        folder.mkdir()
        return folder

    @pytest.fixture
    def directory(self, folder: Path) -> SessionDirectory:
        directory = register_directory(folder, namespace="shop")
        put(folder, "old", **OLD)
        put(folder, "older", **OLD)
        sync_directory(directory, trigger="command")
        return directory

    def test_the_files_come_back_with_their_bytes(self, directory: SessionDirectory, folder: Path) -> None:
        before = {path.name: path.read_bytes() for path in folder.iterdir()}
        run = swept()
        assert os.listdir(folder) == []  # noqa: PTH208
        undo_cleanup(run)
        assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
        result = sync_directory(directory, trigger="command")
        assert (result.unchanged, result.added, result.changed, result.vanished) == (2, 0, 0, 0)
        assert undo_cleanup(swept()).restored_count == 2

    def test_a_vanished_file_comes_back_by_undo(self, directory: SessionDirectory, folder: Path) -> None:
        (folder / "old.json").unlink()
        sync_directory(directory, trigger="command")
        undo_cleanup(CleanupRun.objects.get())
        assert (folder / "old.json").exists()
        assert sync_directory(directory, trigger="command").unchanged == 2

    def test_a_new_file_in_the_place_is_kept_and_the_old_one_stays_archived(
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
            folder.rmdir()
        undo_cleanup(run)
        assert live() == ["old", "older"]
        folder.mkdir(exist_ok=True)
        result = sync_directory(directory, trigger="command")
        assert (result.vanished, result.added) == (0, 0)
        assert len(list(folder.iterdir())) == 2
        assert sync_directory(directory, trigger="command").unchanged == 2

    def test_a_file_that_takes_the_place_before_it_is_written_wins_and_nothing_is_lost(
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

    def test_a_session_whose_file_a_crash_left_stays_in_the_archive_until_the_file_is_gone(
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


def test_the_archive_is_emptied_of_what_is_old_and_not_protected() -> None:
    make_sessions(3, **OLD)
    old = swept()
    make_session("protected", **OLD)
    protected = swept()
    CleanupRun.objects.filter(pk=protected.pk).update(is_protected=True)
    ArchivedSession.objects.update(removed_at=database_now() - timedelta(days=20))
    make_session("recent", **OLD)
    swept()
    size = sum(ArchivedSession.objects.filter(run=old).values_list("size_bytes", flat=True))
    assert empty_archive(database_now() - timedelta(days=14), batch_size=2) == (3, size)
    assert archived() == ["protected", "recent"]
    old.refresh_from_db()
    assert (old.emptied_count, old.is_undoable) == (3, False)


def test_an_undo_of_which_nothing_can_come_back_ends(tmp_path: Path) -> None:
    directory = register_directory(tmp_path, namespace="shop")
    put(tmp_path, "old", **OLD)
    sync_directory(directory, trigger="command")
    run = swept()
    put(tmp_path, "old")
    undo_cleanup(run)
    assert (run.state, run.restored_count) == (State.UNDONE, 0)


def test_a_session_brought_back_by_hand_during_an_undo_is_counted() -> None:
    make_sessions(4, **OLD)
    run = swept()
    last = ArchivedSession.objects.latest("pk").pk
    is_done = False

    def restore_by_hand(execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        nonlocal is_done
        # The first batch is chosen; its transaction has not begun.
        if run.state == State.UNDOING and "sessions_app_archivedsession" in sql and not is_done:
            is_done = True
            restore_sessions([last])
        return execute(sql, params, many, context)

    with connection.execute_wrapper(restore_by_hand):
        undo_cleanup(run, batch_size=2)
    assert BrowserSession.objects.count() == 4
    assert run.restored_count == 4
