"""Cleanups and sweeps keep files that another program is writing or has changed."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, BinaryIO

import pytest
import time_machine

from sessions_app import tasks
from sessions_app.cleanup import plan_cleanup, run_cleanup, undo_cleanup
from sessions_app.models import ArchivedSession, BrowserSession, CleanupPolicy, CleanupRun, SessionDirectory
from sessions_app.models.clock import database_now
from sessions_app.session import removals
from sessions_app.session.files import SessionFolder
from tests.factories import OLD, archived, counts, live, names_in, plan, put, sync
from tests.integration.mirror.torn import GOOD, TORN, document_of, pass_time

pytestmark = pytest.mark.django_db


class TestRemoval:
    def test_a_file_that_a_writer_has_open_is_not_removed(
        self, torn: BinaryIO, folder: Path, directory: SessionDirectory
    ) -> None:
        run = run_cleanup(plan(expired=True))
        assert (run.removed_count, run.skipped_count) == (0, 1)
        torn.write(GOOD[len(TORN) :])
        torn.close()
        assert (folder / "a.json").read_bytes() == GOOD
        assert (live(), archived()) == (["a"], [])

    def test_a_file_that_is_open_but_not_written_yet_is_not_removed(
        self, folder: Path, directory: SessionDirectory
    ) -> None:
        path = put(folder, "a", **OLD)
        sync(directory)
        with path.open("r+b") as writer:
            assert run_cleanup(plan(expired=True)).removed_count == 0
            writer.write(TORN)
        assert path.read_bytes().startswith(TORN)

    def test_a_change_of_mode_or_time_alone_is_not_a_rewrite(
        self, folder: Path, directory: SessionDirectory
    ) -> None:
        paths = [put(folder, f"s{number:03}", **OLD) for number in range(200)]
        sync(directory)
        run = plan(expired=True)
        for path in paths[:100]:
            path.chmod(0o640)
        for path in paths[100:]:
            path.touch()
        run_cleanup(run)
        assert (run.removed_count, run.skipped_count) == (200, 0)
        assert names_in(folder) == []
        assert ArchivedSession.objects.filter(file_mode=0o640).count() == 100

    def test_other_bytes_under_the_same_stamp_are_kept_and_read_by_the_next_sync(
        self, folder: Path, directory: SessionDirectory
    ) -> None:
        path = put(folder, "a", **OLD)
        sync(directory)
        path.write_bytes(GOOD.replace(b"checkout", b"payments"))
        status = path.stat()
        # A write within one tick of the file system's clock leaves the same stamp.
        BrowserSession.objects.update(file_modified_ns=status.st_mtime_ns, file_changed_ns=status.st_ctime_ns)
        assert counts(sync(directory)) == (0, 0, 1, 0)
        assert run_cleanup(plan(expired=True)).removed_count == 0
        assert counts(sync(directory)) == (0, 1, 0, 0)
        assert b"payments" in document_of("a")

    def test_a_file_written_between_the_commit_and_its_removal_is_put_back_and_read_again(
        self, folder: Path, directory: SessionDirectory, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        path = put(folder, "a", **OLD)
        sync(directory)
        status = path.stat()
        settle = removals.settle

        def write_first(opened: SessionFolder, aside: str, *args: Any, **options: Any) -> Any:
            changed = folder / aside
            changed.write_bytes(GOOD.replace(b"checkout", b"payments"))
            os.utime(changed, ns=(status.st_atime_ns, status.st_mtime_ns))
            return settle(opened, aside, *args, **options)

        monkeypatch.setattr(removals, "settle", write_first)
        assert run_cleanup(plan(expired=True)).removed_count == 1
        monkeypatch.undo()
        assert names_in(folder) == ["a"]
        assert counts(sync(directory)) == (1, 0, 0, 0)
        assert b"payments" in document_of("a")
        assert bytes(ArchivedSession.objects.get().document) == GOOD

    def test_a_newer_file_and_the_bytes_that_it_replaced_are_both_kept_and_reported(
        self, folder: Path, directory: SessionDirectory, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        put(folder, "a", **OLD)
        sync(directory)
        settle = removals.settle

        def write_twice(opened: SessionFolder, aside: str, *args: Any, **options: Any) -> Any:
            (folder / aside).write_bytes(TORN)
            put(folder, "a")
            return settle(opened, aside, *args, **options)

        monkeypatch.setattr(removals, "settle", write_twice)
        run = run_cleanup(plan(expired=True))
        monkeypatch.undo()
        assert "Both files are kept, the older one as a.recovered-" in run.error
        newer, older = names_in(folder)
        assert (newer, (folder / f"{older}.json").read_bytes()) == ("a", TORN)
        assert counts(sync(directory)) == (2, 0, 0, 0)

    def test_the_file_aside_of_a_restored_session_is_unlinked(
        self, folder: Path, directory: SessionDirectory
    ) -> None:
        path = put(folder, "a", **OLD)
        sync(directory)
        run = plan(expired=True)
        pk = BrowserSession.objects.get().pk
        aside = folder / f".removing-{pk}-0123abcd"
        path.rename(aside)
        run_cleanup(run)
        undo_cleanup(run)
        assert names_in(folder) == [aside.name, "a"]
        sync(directory)
        assert (names_in(folder), live()) == (["a"], ["a"])

    def test_a_file_aside_of_a_deleted_session_is_read_again(
        self, folder: Path, directory: SessionDirectory
    ) -> None:
        (folder / ".removing-7-0123abcd").write_bytes(GOOD)
        sync(directory)
        (name,) = names_in(folder)
        assert name.startswith("session-7.recovered-")
        sync(directory)
        assert live() == [name]


class TestSweeps:
    def sweep(self, nightly: CleanupPolicy) -> list[CleanupRun]:
        CleanupRun.objects.all().delete()
        tasks.sweep(nightly.pk, database_now().isoformat())
        return list(CleanupRun.objects.order_by("pk"))

    def test_a_session_written_within_the_settle_time_is_left_to_the_next_sweep(
        self, folder: Path, directory: SessionDirectory, nightly: CleanupPolicy, settings: Any
    ) -> None:
        with time_machine.travel(database_now()):
            put(folder, "a", **OLD)
            sync(directory)
            assert [run.matched_count for run in self.sweep(nightly)] == [0, 0]
            pass_time(settings.RAPTOR_SETTLE_SECONDS)
            assert [run.removed_count for run in self.sweep(nightly)] == [1, 0]
        assert names_in(folder) == []

    def test_an_approved_plan_removes_no_more_than_it_matched(
        self, folder: Path, directory: SessionDirectory, settings: Any
    ) -> None:
        put(folder, "a", **OLD)
        sync(directory)
        pass_time(settings.RAPTOR_SETTLE_SECONDS)
        put(folder, "b", **OLD)
        sync(directory)
        run = plan_cleanup(plan(expired=True).criteria, trigger="schedule")
        assert run.matched_count == 1
        run_cleanup(run, trigger="admin", actor="root")
        assert (run.removed_count, run.trigger, live()) == (1, "admin", ["b"])

    def test_a_file_rewritten_with_the_same_bytes_is_removed_manually_but_not_by_a_sweep(
        self, folder: Path, directory: SessionDirectory, nightly: CleanupPolicy
    ) -> None:
        path = put(folder, "a", **OLD)
        sync(directory)
        pass_time(60)
        path.write_bytes(GOOD)
        assert (self.sweep(nightly)[0].matched_count, live()) == (1, ["a"])
        assert run_cleanup(plan(expired=True)).removed_count == 1

    def test_a_manual_cleanup_removes_a_session_that_was_just_added(
        self, folder: Path, directory: SessionDirectory
    ) -> None:
        put(folder, "a", **OLD)
        sync(directory)
        assert run_cleanup(plan(expired=True)).removed_count == 1
