"""Restored files have the mode, owner and group of the removed ones, as far as permitted."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sessions_app.cleanup import restore_sessions, undo_cleanup
from sessions_app.client.store import SessionStore
from sessions_app.mirror.registry import register_directory
from sessions_app.models import BrowserSession, SessionDirectory
from tests.clients import run
from tests.factories import OLD, put, swept, sync
from tests.places import IS_ROOT, access, as_user, public_folder, refuse_links, umask

pytestmark = pytest.mark.django_db

CI, PANEL, SESSIONS = 61_001, 61_002, 61_003
needs_root = pytest.mark.skipif(not IS_ROOT, reason="other users need root")


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
    def shared(self, settings: Any) -> Iterator[Path]:
        # The panel cannot tell whether a file of another user is closed, and waits.
        settings.RAPTOR_SETTLE_SECONDS = 0.1
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
        assert "with another group" in outcome.out

    def test_a_single_session_is_restored_with_its_mode_and_group(self, shared: Path) -> None:
        path = self.file_of(shared, 0o664)
        with as_user(PANEL, PANEL, [SESSIONS]):
            sync(register_directory(shared, namespace="shop"))
            restore_sessions([swept().archived_sessions.get().pk])
        assert access(path) == (0o664, PANEL, SESSIONS)
