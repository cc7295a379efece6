"""Restored files have their mode, owner and group, also on file systems without hard links."""

from __future__ import annotations

import errno
import fcntl
import os
import signal
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn

import pytest

from sessions_app.cleanup import restore_sessions, undo_cleanup
from sessions_app.client.store import SessionStore
from sessions_app.mirror.registry import register_directory
from sessions_app.models import BrowserSession, CleanupRun, SessionDirectory
from sessions_app.session import file_writing
from sessions_app.session.files import SessionFolder
from tests.clients import run
from tests.factories import OLD, archived, document_bytes, live, put, swept, sync
from tests.full_disk import mounted
from tests.places import IS_ROOT, as_user, public_folder, umask

pytestmark = pytest.mark.django_db

CI, PANEL, SESSIONS = 61_001, 61_002, 61_003
NO_LINKS = [
    errno.EPERM,
    errno.EOPNOTSUPP,
    errno.ENOTSUP,
    errno.EMLINK,
    errno.ENOSYS,
    errno.EACCES,
    errno.EXDEV,
]
needs_root = pytest.mark.skipif(not IS_ROOT, reason="other users need root")


def refuse_links(monkeypatch: pytest.MonkeyPatch, number: int = errno.EPERM) -> None:
    def refuse(*args: object, **kwargs: object) -> NoReturn:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "link", refuse)


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def access(path: Path) -> tuple[int, int, int]:
    status = path.stat()
    return stat.S_IMODE(status.st_mode), status.st_uid, status.st_gid


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
    """What a crash leaves if the file had to be written under its own name."""

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


def test_mode_and_group_are_restored_despite_the_umask(directory: SessionDirectory, folder: Path) -> None:
    path = put(folder, "old", **OLD)
    path.chmod(0o664)
    before = access(path)
    sync(directory)
    ledger = swept()
    with umask(0o077):
        undo_cleanup(ledger)
        assert access(path) == before
        SessionStore("shop", directory).touch("old")
    assert access(path) == before
    assert sync(directory).unchanged == 1


def test_a_changed_mode_is_restored(directory: SessionDirectory, folder: Path) -> None:
    path = put(folder, "old", **OLD)
    sync(directory)
    path.chmod(0o604)
    sync(directory)
    undo_cleanup(swept())
    assert access(path)[0] == 0o604


def test_a_file_of_unknown_mode_is_restored_as_private(directory: SessionDirectory, folder: Path) -> None:
    path = put(folder, "old", **OLD)
    path.chmod(0o664)
    sync(directory)
    BrowserSession.objects.update(file_mode=None, file_owner=None, file_group=None)
    undo_cleanup(swept())
    assert access(path)[0] == 0o600


@needs_root
class TestOtherUsers:
    """The folder belongs to a CI user and the group ``SESSIONS``; the panel runs as another user."""

    @pytest.fixture
    def shared(self) -> Iterator[Path]:
        with public_folder() as parent, umask(0o077):
            shared = parent / "sessions"
            shared.mkdir()
            os.chown(shared, CI, SESSIONS)
            shared.chmod(0o2770)
            yield shared

    def file_of(self, folder: Path, mode: int, owner: int = CI, group: int = SESSIONS) -> Path:
        path = put(folder, "old", **OLD)
        os.chown(path, owner, group)
        path.chmod(mode)
        return path

    def test_a_member_of_the_group_restores_mode_and_group(self, shared: Path) -> None:
        path = self.file_of(shared, 0o664)
        with as_user(PANEL, PANEL, [SESSIONS]):
            sync(register_directory(shared, namespace="shop"))
            ledger = undo_cleanup(swept())
        assert access(path) == (0o664, PANEL, SESSIONS)
        with as_user(CI, CI, [SESSIONS]):
            assert b"checkout" in path.read_bytes()
        ledger.refresh_from_db()
        assert ledger.changed_access == {"owner": 1}

    @pytest.mark.parametrize("has_links", [True, False])
    def test_root_restores_the_owner_as_well(
        self, shared: Path, has_links: bool, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        path = self.file_of(shared, 0o640)
        sync(register_directory(shared, namespace="shop"))
        if not has_links:
            refuse_links(monkeypatch)
        ledger = undo_cleanup(swept())
        assert access(path) == (0o640, CI, SESSIONS)
        assert ledger.changed_access == {}

    def test_a_restore_of_a_session_keeps_mode_and_group(self, shared: Path) -> None:
        path = self.file_of(shared, 0o664)
        with as_user(PANEL, PANEL, [SESSIONS]):
            directory = register_directory(shared, namespace="shop")
            sync(directory)
            SessionStore("shop", directory).touch("old")
        assert access(path) == (0o664, PANEL, SESSIONS)

    def test_the_group_is_restored_in_a_folder_without_setgid(self, shared: Path) -> None:
        shared.chmod(0o770)
        path = self.file_of(shared, 0o660)
        with as_user(PANEL, PANEL, [SESSIONS]):
            sync(register_directory(shared, namespace="shop"))
            undo_cleanup(swept())
        assert access(path) == (0o660, PANEL, SESSIONS)

    @pytest.mark.parametrize(
        ("mode", "left"), [(0o664, 0o644), (0o660, 0o600), (0o604, 0o600), (0o2664, 0o644), (0o606, 0o600)]
    )
    def test_without_the_group_nobody_can_read_more_than_before(
        self, shared: Path, mode: int, left: int
    ) -> None:
        shared.chmod(0o777)
        path = self.file_of(shared, mode, owner=PANEL)
        with as_user(PANEL, PANEL):
            sync(register_directory(shared, namespace="shop"))
            ledger = undo_cleanup(swept())
        assert access(path) == (left, PANEL, PANEL)
        ledger.refresh_from_db()
        assert ledger.changed_access == {"group": 1, "mode": 1}
        outcome = run("undo_cleanup", str(ledger.pk))
        assert outcome.status == 0
        assert "1 file came back with another group" in outcome.out

    def test_a_single_session_is_restored_with_its_mode_and_group(self, shared: Path) -> None:
        path = self.file_of(shared, 0o664)
        with as_user(PANEL, PANEL, [SESSIONS]):
            sync(register_directory(shared, namespace="shop"))
            restore_sessions([swept().archived_sessions.get().pk])
        assert access(path) == (0o664, PANEL, SESSIONS)
