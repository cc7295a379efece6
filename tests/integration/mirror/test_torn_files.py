"""Files that another program is writing: never read halfway, never removed with unarchived bytes."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, BinaryIO

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from sessions_app.cleanup import empty_archive, run_cleanup
from sessions_app.models import SessionDirectory, UnsettledFile
from sessions_app.models.clock import database_now
from sessions_app.session.files import SessionFolder
from tests.factories import OLD, counts, document_bytes, live, names_in, plan, put, sync
from tests.integration.mirror.torn import GOOD, TORN, document_of, pass_time, sync_on_schedule

pytestmark = pytest.mark.django_db


class TestReading:
    def test_a_file_that_is_open_for_writing_keeps_its_session_as_it_was(
        self, torn: BinaryIO, directory: SessionDirectory
    ) -> None:
        result = sync(directory)
        assert counts(result) == (0, 0, 0, 0)
        assert result.skipped == [("a.json", "is being written; the next sync tries again")]
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
    def test_a_scheduled_sync_reads_a_file_that_two_checks_found_unchanged(
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

    def test_a_file_that_changes_between_two_checks_waits_again(
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

    def test_a_file_that_changes_after_the_second_check_waits_again(
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
