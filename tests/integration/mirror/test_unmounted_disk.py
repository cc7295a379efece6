"""An unmounted disk looks like a folder without files; its sessions are kept until it is back."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from sessions_app.cleanup import run_cleanup, undo_cleanup
from sessions_app.mirror.registry import register_directory
from sessions_app.models import BrowserSession, CleanupRun
from tests.clients import run
from tests.factories import counts, live, names_in, plan, put, sync
from tests.full_disk import MB, mounted
from tests.integration.mirror.test_lost_files import approve, fill, held

pytestmark = pytest.mark.django_db


@pytest.fixture
def mount(folder: Path) -> Iterator[Path]:
    with mounted(folder / "mount", size_bytes=MB) as disk:
        yield disk.path


class TestDisk:
    """A disk that is unmounted and mounted again, and a folder that is moved away and back."""

    @pytest.fixture(params=["disk", "folder"])
    def disk(self, request: pytest.FixtureRequest, folder: Path) -> Path:
        if request.param == "disk":
            path: Path = request.getfixturevalue("mount")
            return path
        path = folder / "mount"
        path.mkdir()
        return path

    def away(self, disk: Path) -> None:
        if disk.is_mount():
            subprocess.run(["mount", "--make-private", str(disk)], check=False)
            self.was_mount = True
            disk.with_name("elsewhere").mkdir()
            subprocess.run(["mount", "--bind", str(disk), str(disk.with_name("elsewhere"))], check=True)
            subprocess.run(["umount", str(disk)], check=True)
        else:
            self.was_mount = False
            disk.rename(disk.with_name("elsewhere"))
            disk.mkdir()

    def back(self, disk: Path) -> None:
        elsewhere = disk.with_name("elsewhere")
        if self.was_mount:
            subprocess.run(["mount", "--bind", str(elsewhere), str(disk)], check=True)
            subprocess.run(["umount", str(elsewhere)], check=True)
        else:
            disk.rmdir()
            elsewhere.rename(disk)

    def test_an_unmounted_disk_needs_approval_and_nothing_is_written_in_its_place(self, disk: Path) -> None:
        directory = register_directory(disk, namespace="shop")
        names = fill(disk, 50)
        sync(directory)
        BrowserSession.objects.filter(name__in=names[:20]).update(is_pinned=True)
        gone_before = run_cleanup(_plan_of(names[49]))
        self.away(disk)
        try:
            assert sync(directory).held == 49
            directory.refresh_from_db()
            assert "not the folder that was registered" in directory.error
            assert sync(directory).held == 49
            assert CleanupRun.objects.filter(state=CleanupRun.State.HELD).count() == 1
            undo_cleanup(gone_before)
            sync(directory)
            assert names_in(disk) == []
            put(disk, "elsewhere")
            outcome = run("sync_directories", disk)
            assert outcome.status == 1
            assert "not the folder that was registered" in outcome.err
            (disk / "elsewhere.json").unlink()
            directory.refresh_from_db()
            assert live() == names
        finally:
            self.back(disk)
        result = sync(directory)
        assert (result.held, result.vanished, directory.error) == (0, 0, "")
        assert names_in(disk) == names
        assert CleanupRun.objects.filter(state=CleanupRun.State.CLOSED).count() == 1
        assert BrowserSession.objects.filter(is_pinned=True).count() == 20

    def test_a_run_approved_while_the_disk_is_away_can_be_undone_when_it_is_back(self, disk: Path) -> None:
        directory = register_directory(disk, namespace="shop")
        names = fill(disk, 4)
        sync(directory)
        BrowserSession.objects.filter(name=names[0]).update(is_pinned=True)
        self.away(disk)
        try:
            sync(directory)
            approved = approve(held())
            assert (approved.removed_count, live()) == (4, [])
            undo_cleanup(approved)
            assert (live(), names_in(disk)) == (names, [])
        finally:
            self.back(disk)
        sync(directory)
        assert counts(sync(directory)) == (0, 0, 4, 0)
        assert BrowserSession.objects.get(is_pinned=True).name == names[0]


def _plan_of(name: str) -> CleanupRun:
    return plan(session_ids=(BrowserSession.objects.get(name=name).pk,))
