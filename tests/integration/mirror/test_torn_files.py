"""Files that another program is writing: never read halfway, never removed with unarchived bytes."""

from __future__ import annotations

import os
from collections.abc import Iterator
from datetime import UTC, timedelta
from pathlib import Path
from typing import Any, BinaryIO

import pytest
import time_machine
from django.db import connection
from django.test.utils import CaptureQueriesContext

from sessions_app import tasks
from sessions_app.cleanup import empty_archive, plan_cleanup, run_cleanup, undo_cleanup
from sessions_app.mirror.looks import is_good
from sessions_app.mirror.registry import sync_directory
from sessions_app.models import (
    ArchivedSession,
    BrowserSession,
    CleanupPolicy,
    CleanupRun,
    SessionDirectory,
    UnsettledFile,
)
from sessions_app.models.clock import database_now
from sessions_app.session import removals
from sessions_app.session.document import parse_document
from sessions_app.session.files import SessionFolder
from sessions_app.session.sync_result import SyncResult
from tests.clients import page_of
from tests.factories import (
    OLD,
    SECRET,
    archived,
    counts,
    document_bytes,
    live,
    make_session,
    names_in,
    plan,
    put,
    sync,
)

pytestmark = pytest.mark.django_db

GOOD = document_bytes(**OLD)
TORN = GOOD[: len(GOOD) // 2]


def sync_on_schedule(directory: SessionDirectory) -> SyncResult:
    directory.refresh_from_db()
    return sync_directory(directory, trigger="schedule", actor="sync_directories")


def pass_time(seconds: float) -> None:
    """Date back what the database has dated, by that many seconds."""
    by = timedelta(seconds=seconds)
    for file in UnsettledFile.objects.all():
        file.seen_at -= by
        file.broken_since = file.broken_since and file.broken_since - by
        file.save()
    for session in BrowserSession.objects.all():
        BrowserSession.objects.filter(pk=session.pk).update(updated_at=session.updated_at - by)


@pytest.fixture
def torn(folder: Path, directory: SessionDirectory) -> Iterator[BinaryIO]:
    """A writer that has overwritten a mirrored document with its first half."""
    path = put(folder, "a", **OLD)
    sync(directory)
    pass_time(60)
    with path.open("wb") as writer:
        writer.write(TORN)
        writer.flush()
        yield writer


def document_of(name: str) -> bytes:
    return bytes(BrowserSession.objects.get(name=name).document)


class TestReading:
    def test_a_file_that_is_open_for_writing_keeps_its_session_as_it_was(
        self, torn: BinaryIO, directory: SessionDirectory
    ) -> None:
        result = sync(directory)
        assert counts(result) == (0, 0, 0, 0)
        assert result.skipped == [("a.json", "is being written right now; the next sync tries again")]
        assert document_of("a") == GOOD
        torn.write(b"x")
        torn.close()
        assert counts(sync(directory)) == (0, 1, 0, 0)
        assert document_of("a") == TORN + b"x"

    def test_a_new_file_is_read_when_its_writer_has_closed_it(
        self, folder: Path, directory: SessionDirectory
    ) -> None:
        with (folder / "a.json").open("wb") as writer:
            writer.write(TORN)
            writer.flush()
            assert counts(sync(directory)) == (0, 0, 0, 0)
            writer.write(GOOD[len(TORN) :])
        assert counts(sync(directory)) == (1, 0, 0, 0)
        assert document_of("a") == GOOD


class TestLooks:
    def test_a_scheduled_sync_reads_a_file_that_two_looks_found_unchanged(
        self, folder: Path, directory: SessionDirectory, settings: Any
    ) -> None:
        put(folder, "a")
        result = sync_on_schedule(directory)
        assert (counts(result), result.waiting) == ((0, 0, 0, 0), 1)
        pass_time(settings.RAPTOR_SETTLE_SECONDS - 1)
        assert sync_on_schedule(directory).waiting == 1
        pass_time(1)
        assert counts(sync_on_schedule(directory)) == (1, 0, 0, 0)
        assert not UnsettledFile.objects.exists()
        assert counts(sync_on_schedule(directory)) == (0, 0, 1, 0)

    def test_a_file_that_changes_between_two_looks_waits_again(
        self, folder: Path, directory: SessionDirectory
    ) -> None:
        path = put(folder, "a")
        sync(directory)
        for number in range(3):
            path.write_bytes(document_bytes(metadata={"number": number}))
            result = sync_on_schedule(directory)
            assert (result.changed, result.waiting) == (0, 1)
            pass_time(60)
        assert sync_on_schedule(directory).changed == 1
        assert b'"number": 2' in document_of("a")

    def test_a_file_that_changes_after_the_second_look_waits_as_well(
        self, folder: Path, directory: SessionDirectory, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        path = put(folder, "a")
        sync_on_schedule(directory)
        pass_time(60)
        read = SessionFolder.read

        def write_first(folder: SessionFolder, name: str, **options: Any) -> Any:
            path.write_bytes(GOOD)
            return read(folder, name, **options)

        monkeypatch.setattr(SessionFolder, "read", write_first)
        assert counts(sync_on_schedule(directory)) == (0, 0, 0, 0)

    def test_an_explicit_sync_reads_a_closed_file_at_once(
        self, folder: Path, directory: SessionDirectory
    ) -> None:
        put(folder, "a")
        sync_on_schedule(directory)
        assert counts(sync(directory)) == (1, 0, 0, 0)
        assert not UnsettledFile.objects.exists()

    def test_a_settle_time_of_zero_disables_the_wait(
        self, folder: Path, directory: SessionDirectory, settings: Any
    ) -> None:
        settings.RAPTOR_SETTLE_SECONDS = 0
        put(folder, "a")
        assert counts(sync_on_schedule(directory)) == (1, 0, 0, 0)

    def test_files_that_are_gone_are_forgotten(self, folder: Path, directory: SessionDirectory) -> None:
        path = put(folder, "a")
        put(folder, "b")
        sync_on_schedule(directory)
        path.unlink()
        sync_on_schedule(directory)
        assert UnsettledFile.objects.get().file_name == "b.json"

    def test_the_number_of_queries_does_not_depend_on_the_number_of_files(
        self, folder: Path, directory: SessionDirectory
    ) -> None:
        def queries() -> int:
            with CaptureQueriesContext(connection) as captured:
                sync_on_schedule(directory)
            return len(captured)

        put(folder, "a")
        few = queries()
        for number in range(50):
            put(folder, f"s{number}")
        assert queries() == few


class TestUnknownWriters:
    """On systems that cannot report whether a file is open for writing."""

    @pytest.fixture(autouse=True)
    def no_leases(self, monkeypatch: pytest.MonkeyPatch, settings: Any) -> None:
        monkeypatch.setattr("sessions_app.session.files.knows_all_writers", lambda fd: False)
        settings.RAPTOR_SETTLE_SECONDS = 0.01

    def test_an_explicit_sync_waits_once_for_all_fresh_files(
        self, folder: Path, directory: SessionDirectory, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        waits: list[float] = []
        monkeypatch.setattr("sessions_app.mirror.reading.time.sleep", waits.append)
        for name in ("a", "b", "c"):
            put(folder, name)
        assert counts(sync(directory)) == (3, 0, 0, 0)
        assert waits
        del waits[:]
        assert counts(sync(directory)) == (0, 0, 3, 0)
        assert waits == []

    def test_a_file_that_changes_during_the_wait_is_left_to_the_next_sync(
        self, folder: Path, directory: SessionDirectory, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        path = put(folder, "a")
        put(folder, "b")
        monkeypatch.setattr(
            "sessions_app.mirror.reading.time.sleep", lambda seconds: path.write_bytes(os.urandom(9))
        )
        result = sync(directory)
        assert live() == ["b"]
        assert [name for name, _ in result.skipped] == ["a.json"]

    def test_a_removed_file_waits_aside_until_it_has_been_still(
        self, folder: Path, directory: SessionDirectory
    ) -> None:
        put(folder, "a", **OLD)
        sync(directory)
        run_cleanup(plan(expired=True))
        (aside,) = names_in(folder)
        assert aside.startswith(".removing-")
        sync(directory)
        assert names_in(folder) == [aside]
        assert empty_archive(database_now()) == (0, 0), "its file would be read as a new session"
        pass_time(1)
        sync(directory)
        assert names_in(folder) == []
        assert live() == []


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


class TestLastGoodDocument:
    @pytest.fixture
    def path(self, folder: Path, directory: SessionDirectory) -> Path:
        """A file whose good document was overwritten by a broken one, seen at one look."""
        path = put(folder, "a", **OLD)
        sync(directory)
        path.write_bytes(TORN)
        sync_on_schedule(directory)
        pass_time(60)
        return path

    def test_a_schedule_keeps_good_content_until_the_file_was_broken_for_ten_minutes(
        self, path: Path, directory: SessionDirectory
    ) -> None:
        assert sync_on_schedule(directory).changed == 0
        pass_time(599)
        assert sync_on_schedule(directory).changed == 0
        assert document_of("a") == GOOD
        pass_time(1)
        assert sync_on_schedule(directory).changed == 1
        session = BrowserSession.objects.get()
        assert (bytes(session.document), bytes(session.last_good_document or b"")) == (TORN, GOOD)
        assert not UnsettledFile.objects.exists()

    def test_other_broken_bytes_restart_the_ten_minutes(
        self, path: Path, directory: SessionDirectory
    ) -> None:
        sync_on_schedule(directory)
        pass_time(599)
        path.write_bytes(TORN + b"x")
        for _ in range(2):
            sync_on_schedule(directory)
            pass_time(60)
        assert document_of("a") == GOOD
        pass_time(540)
        sync_on_schedule(directory)
        assert document_of("a") == TORN + b"x"

    def test_rewriting_the_same_broken_bytes_does_not_restart_them(
        self, path: Path, directory: SessionDirectory
    ) -> None:
        sync_on_schedule(directory)
        pass_time(590)
        path.write_bytes(TORN)
        for _ in range(2):
            sync_on_schedule(directory)
            pass_time(60)
        assert document_of("a") == TORN

    def test_repaired_content_is_read_as_soon_as_it_is_still(
        self, path: Path, directory: SessionDirectory
    ) -> None:
        sync_on_schedule(directory)
        repaired = GOOD.replace(b"checkout", b"payments")
        path.write_bytes(repaired)
        for _ in range(2):
            sync_on_schedule(directory)
            pass_time(60)
        assert document_of("a") == repaired
        assert BrowserSession.objects.get().last_good_document is None

    def test_a_sweep_does_not_remove_a_session_whose_file_is_broken_and_held_back(
        self, path: Path, directory: SessionDirectory
    ) -> None:
        sync_on_schedule(directory)
        assert run_cleanup(plan(expired=True, invalid=True)).removed_count == 0
        assert path.read_bytes() == TORN

    def test_an_explicit_sync_reads_broken_content_at_once_and_keeps_the_last_good_document(
        self, path: Path, directory: SessionDirectory
    ) -> None:
        assert sync(directory).changed == 1
        path.write_bytes(TORN + b"x")
        sync(directory)
        session = BrowserSession.objects.get()
        assert (bytes(session.document), bytes(session.last_good_document or b"")) == (TORN + b"x", GOOD)
        path.write_bytes(GOOD)
        sync(directory)
        assert BrowserSession.objects.get().last_good_document is None

    def test_it_is_archived_and_restored_while_the_file_has_the_removed_bytes(
        self, path: Path, directory: SessionDirectory
    ) -> None:
        sync(directory)
        run = run_cleanup(plan(invalid=True))
        assert bytes(ArchivedSession.objects.get().last_good_document or b"") == GOOD
        undo_cleanup(run)
        assert bytes(BrowserSession.objects.get().last_good_document or b"") == GOOD
        assert path.read_bytes() == TORN

    def test_its_page_shows_it_without_the_endpoint(
        self, path: Path, directory: SessionDirectory, see: Any
    ) -> None:
        sync(directory)
        page = see(page_of(BrowserSession.objects.get()))
        assert "Last good document" in page
        assert "&quot;session_id&quot;: &quot;checkout&quot;" in page
        assert SECRET not in page


@pytest.mark.parametrize(
    "data",
    [
        GOOD,
        TORN,
        b"",
        b"[]",
        *(
            document_bytes(**{key: value})
            for key in ("session_id", "cdp_url", "created_at", "last_accessed", "browser_type")
            for value in (..., None, "", "  ", 7, "firefox", "2026-11-21", "\0")
        ),
    ],
)
def test_a_document_is_good_if_the_database_finds_no_problem(data: bytes) -> None:
    session = make_session(document=data)
    session.refresh_from_db()
    assert is_good(parse_document(data, time_zone=UTC)) == (session.problems == 0)
