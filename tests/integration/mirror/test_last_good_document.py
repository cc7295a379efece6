"""The last good document of a session whose file is broken."""

from __future__ import annotations

from datetime import UTC
from pathlib import Path
from typing import Any

import pytest

from sessions_app.cleanup import run_cleanup, undo_cleanup
from sessions_app.models import ArchivedSession, BrowserSession, SessionDirectory, UnsettledFile
from sessions_app.session.document import parse_document
from sessions_app.session.problems import is_good
from tests.clients import page_of
from tests.factories import OLD, SECRET, document_bytes, make_session, plan, put, sync
from tests.integration.mirror.torn import GOOD, TORN, document_of, pass_time, sync_on_schedule

pytestmark = pytest.mark.django_db


class TestLastGoodDocument:
    @pytest.fixture
    def path(self, folder: Path, directory: SessionDirectory) -> Path:
        """A file whose valid document was overwritten by an invalid one, read by one sync."""
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
