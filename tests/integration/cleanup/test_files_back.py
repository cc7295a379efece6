"""Files are restored completely, also on file systems without hard links."""

from __future__ import annotations

import errno
import fcntl
import os
import signal
from pathlib import Path
from typing import Any, NoReturn

import pytest

from sessions_app.cleanup import undo_cleanup
from sessions_app.models import BrowserSession, CleanupRun, SessionDirectory
from sessions_app.session import file_writing
from sessions_app.session.files import SessionFolder
from tests.clients import run
from tests.factories import OLD, archived, document_bytes, live, put, swept, sync
from tests.full_disk import mounted
from tests.places import access, refuse_links

pytestmark = pytest.mark.django_db

NO_LINKS = [
    errno.EPERM,
    errno.EOPNOTSUPP,
    errno.ENOTSUP,
    errno.EMLINK,
    errno.ENOSYS,
    errno.EACCES,
    errno.EXDEV,
]


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.fixture
def swept_run(directory: SessionDirectory, folder: Path) -> CleanupRun:
    """A cleanup of the only session, ``old``."""
    put(folder, "old", **OLD)
    sync(directory)
    return swept()


def owe_file(ledger: CleanupRun, monkeypatch: pytest.MonkeyPatch) -> bytes:
    """Restore ``old`` without its file, as a killed process leaves it, and return its document."""
    with monkeypatch.context() as patch:
        patch.setattr("sessions_app.cleanup.undo._write_files", lambda directory_ids: None)
        undo_cleanup(ledger)
    return bytes(BrowserSession.objects.get(name="old").document)


class TestWithoutHardLinks:
    @pytest.mark.parametrize("number", NO_LINKS, ids=lambda number: errno.errorcode[number])
    def test_an_undo_writes_all_files(
        self, directory: SessionDirectory, folder: Path, number: int, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for position in range(5):
            put(folder, f"s{position}", **OLD).chmod(0o640)
        before = contents(folder)
        sync(directory)
        ledger = swept()
        refuse_links(monkeypatch, number)
        outcome = run("undo_cleanup", str(ledger.pk))
        assert (outcome.status, outcome.err) == (0, "")
        assert contents(folder) == before
        assert {access(path)[0] for path in folder.iterdir()} == {0o640}
        assert sync(directory).unchanged == 5

    def test_another_file_in_the_place_is_left_alone(
        self,
        directory: SessionDirectory,
        folder: Path,
        swept_run: CleanupRun,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        owe_file(swept_run, monkeypatch)
        other = put(folder, "old", session_id="another")
        refuse_links(monkeypatch)
        sync(directory)
        assert other.read_bytes() == document_bytes(session_id="another")
        assert archived() == ["old"]

    def test_a_full_disk_leaves_no_half_file(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        with mounted(tmp_path / "small", size_bytes=64 * 1024) as small:
            refuse_links(monkeypatch)
            with SessionFolder(small.path) as folder:
                with pytest.raises(OSError, match="No space"):
                    folder.create("a.json", b"x" * 100_000)
                monkeypatch.setattr(file_writing, "write_temporary", lambda *args: "none")
                monkeypatch.setattr(os, "unlink", _unlink_except_none(os.unlink))
                with pytest.raises(OSError, match="No space"):
                    folder.create("a.json", b"x" * 100_000)
            assert contents(small.path) == {}


def _unlink_except_none(unlink: Any) -> Any:
    def unlink_except_none(name: str, **kwargs: Any) -> None:
        if name != "none":
            unlink(name, **kwargs)

    return unlink_except_none


class TestHalfFiles:
    """A crash while a file is written directly under its own name."""

    @pytest.fixture(autouse=True)
    def without_links(self, swept_run: CleanupRun, monkeypatch: pytest.MonkeyPatch) -> None:
        self.document = owe_file(swept_run, monkeypatch)
        refuse_links(monkeypatch)

    def test_a_killed_process_leaves_a_half_file_that_the_next_sync_completes(
        self, directory: SessionDirectory, folder: Path
    ) -> None:
        child = os.fork()
        if not child:
            _write_half_and_die(folder, self.document)
        os.waitpid(child, 0)
        assert 0 < (folder / "old.json").stat().st_size < len(self.document)
        result = sync(directory)
        assert (result.written, result.added, result.vanished) == (1, 0, 0)
        assert contents(folder) == {"old.json": self.document}
        assert (live(), archived()) == (["old"], [])

    @pytest.mark.parametrize("part", [0, 1, -1])
    def test_a_part_of_any_length_is_completed(
        self, directory: SessionDirectory, folder: Path, part: int
    ) -> None:
        (folder / "old.json").write_bytes(self.document[:part])
        assert sync(directory).written == 1
        assert contents(folder) == {"old.json": self.document}
        assert sync(directory).unchanged == 1

    def test_a_file_that_another_process_writes_is_left_alone_until_it_is_closed(
        self, directory: SessionDirectory, folder: Path
    ) -> None:
        if not hasattr(fcntl, "F_SETLEASE"):
            pytest.skip("only Linux knows whether a file is open")
        with open(folder / "old.json", "wb") as writer:
            writer.write(self.document[:100])
            writer.flush()
            result = sync(directory)
            assert result.written == 0
            assert "the next sync tries again" in result.skipped[0][1]
            assert contents(folder) == {"old.json": self.document[:100]}
            assert live() == ["old"]
        assert sync(directory).written == 1
        assert contents(folder) == {"old.json": self.document}

    @pytest.mark.parametrize(("still_after_ns", "written"), [(10**10, 0), (0, 1)])
    def test_without_leases_it_is_completed_once_it_is_still(
        self,
        directory: SessionDirectory,
        folder: Path,
        still_after_ns: int,
        written: int,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        def refuse(*args: object) -> NoReturn:
            raise OSError(errno.EINVAL, "Invalid argument")

        monkeypatch.setattr(fcntl, "fcntl", refuse)
        monkeypatch.setattr(file_writing, "_STILL_AFTER_NS", still_after_ns)
        (folder / "old.json").write_bytes(self.document[:100])
        assert sync(directory).written == written
        assert (live(), archived()) == (["old"], [])


def _write_half_and_die(folder: Path, document: bytes) -> NoReturn:
    pwrite = os.pwrite

    def write_half(fd: int, data: Any, position: int) -> NoReturn:
        pwrite(fd, data[: len(data) // 2], position)
        os.kill(os.getpid(), signal.SIGKILL)
        raise AssertionError

    file_writing.write_temporary = lambda *args: ".writing-none"
    os.unlink = lambda *args, **kwargs: None
    os.pwrite = write_half
    SessionFolder(folder).create("old.json", document)
    os._exit(1)
