"""The folder that was registered is the folder that is opened."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from django.contrib.auth.models import User
from django.test import Client

from raptor.core.exceptions import SessionException
from raptor.core.session_manager import SessionManager
from sessions_app.cleanup import run_cleanup, undo_cleanup
from sessions_app.cleanup.folders import NotTheRegisteredFolder, open_folder
from sessions_app.mirror.registry import DirectoryError, accept_other_folder, register_directory
from sessions_app.models import CleanupRun, SessionDirectory
from tests.clients import html_of, run
from tests.factories import OLD, archived, counts, live, names_in, plan, put, sync
from tests.pages import page

pytestmark = pytest.mark.django_db

DIRECTORIES = "/admin/sessions_app/sessiondirectory/"


@pytest.fixture
def theirs(folder: Path) -> Path:
    """Another folder, with one document of the same name and one more."""
    theirs = folder.parent / "theirs"
    theirs.mkdir()
    put(theirs, "old", **OLD)
    put(theirs, "secret")
    return theirs


def swap(folder: Path, theirs: Path) -> None:
    folder.rename(folder.with_name("aside"))
    theirs.rename(folder)


def test_a_registered_folder_is_known_by_device_and_inode(directory: SessionDirectory, folder: Path) -> None:
    status = folder.stat()
    assert (directory.device, directory.inode) == (status.st_dev, status.st_ino)


def test_a_link_in_the_place_of_the_folder_is_refused(
    directory: SessionDirectory, folder: Path, theirs: Path
) -> None:
    put(folder, "old", **OLD)
    sync(directory)
    planned = plan(expired=True)
    folder.rename(folder.with_name("aside"))
    folder.symlink_to(theirs)
    with pytest.raises(DirectoryError, match="not the folder that was registered"):
        sync(directory)
    run_cleanup(planned)
    assert live() == []
    undo_cleanup(planned)
    assert live() == ["old"]
    assert names_in(theirs) == ["old", "secret"]
    assert names_in(folder.with_name("aside")) == ["old"]


def test_a_link_further_up_in_the_path_is_refused(tmp_path: Path) -> None:
    (tmp_path / "mount" / "sessions").mkdir(parents=True)
    directory = register_directory(tmp_path / "mount" / "sessions", namespace="shop")
    (tmp_path / "mount").rename(tmp_path / "moved")
    (tmp_path / "mount").symlink_to(tmp_path / "moved")
    with pytest.raises(NotTheRegisteredFolder, match=r"a symbolic link is in its path: .*/mount"):
        open_folder(directory)


def test_another_folder_in_the_place_is_neither_read_nor_unlinked(
    directory: SessionDirectory, folder: Path, theirs: Path
) -> None:
    put(folder, "old", **OLD)
    sync(directory)
    planned = plan(expired=True)
    swap(folder, theirs)
    with pytest.raises(DirectoryError, match="Is its disk mounted"):
        sync(directory)
    directory.refresh_from_db()
    assert "not the folder that was registered" in directory.error
    run_cleanup(planned)
    assert "another disk or folder is in its place" in planned.error
    assert names_in(folder) == ["old", "secret"]
    undo_cleanup(planned)
    with pytest.raises(SessionException, match="another disk or folder"):
        SessionManager(namespace="shop").save_session(page(), "old")
    assert names_in(folder) == ["old", "secret"]


def test_a_user_can_accept_the_other_folder(
    client: Client, operator: User, viewer: User, directory: SessionDirectory, folder: Path, theirs: Path
) -> None:
    put(folder, "old", **OLD)
    sync(directory)
    swap(folder, theirs)
    own = f"{DIRECTORIES}{directory.pk}/"
    client.force_login(viewer)
    shown = html_of(client, f"{own}change/")
    assert "This is not the folder that was registered" in shown
    assert "Accept the folder" not in shown
    assert client.post(f"{own}accept/").status_code == 403
    client.force_login(operator)
    assert "Accept the folder that is there now" in html_of(client, f"{own}change/")
    assert client.get(f"{own}accept/").status_code == 405
    client.post(f"{own}sync/")
    assert "not the folder that was registered" in html_of(client, "/admin/")
    assert live() == ["old"]
    client.post(f"{own}accept/")
    assert live() == ["old", "secret"]
    directory.refresh_from_db()
    assert directory.error == ""


def test_the_command_accepts_the_other_folder(
    directory: SessionDirectory, folder: Path, theirs: Path
) -> None:
    swap(folder, theirs)
    assert run("sync_directories", folder).status == 1
    outcome = run("sync_directories", folder, "--accept-folder")
    assert (outcome.status, live()) == (0, ["old", "secret"])
    assert run("sync_directories", "--accept-folder").status == 2


def test_a_device_number_that_changed_at_a_restart_is_updated(
    directory: SessionDirectory, folder: Path
) -> None:
    put(folder, "a")
    sync(directory)
    SessionDirectory.objects.update(device=1)
    assert counts(sync(SessionDirectory.objects.get())) == (0, 0, 1, 0)
    assert SessionDirectory.objects.get().device == folder.stat().st_dev


def test_another_device_without_known_files_is_refused(directory: SessionDirectory, folder: Path) -> None:
    path = put(folder, "a")
    sync(directory)
    path.unlink()
    put(folder, "b")
    SessionDirectory.objects.update(device=1)
    with pytest.raises(DirectoryError, match="not the folder"):
        sync(SessionDirectory.objects.get())
    assert live() == ["a"]


def test_the_next_sync_records_the_folder_of_a_directory_of_an_earlier_version(
    directory: SessionDirectory, folder: Path
) -> None:
    put(folder, "a")
    sync(directory)
    SessionDirectory.objects.update(device=None, inode=None)
    sync(SessionDirectory.objects.get())
    assert SessionDirectory.objects.get().inode == folder.stat().st_ino


def test_a_manager_accepts_a_folder_that_its_test_suite_recreated(folder: Path) -> None:
    manager = SessionManager(storage_dir=folder)
    manager.save_session(page(), "cart")
    (folder.parent / "keeps-the-inode").mkdir()
    shutil.rmtree(folder)
    (folder.parent / "other").mkdir()
    (folder.parent / "other").rename(folder)
    put(folder, "new")
    assert manager.list_sessions() == ["new"]
    assert SessionManager(storage_dir=folder).list_sessions() == ["new"]
    manager.save_session(page(), "cart")
    assert names_in(folder) == ["cart", "new"]
    assert CleanupRun.objects.filter(state="held").count() == 0


def test_accepting_the_same_folder_changes_nothing(directory: SessionDirectory, folder: Path) -> None:
    assert accept_other_folder(directory) is False
    folder.rmdir()
    with pytest.raises(DirectoryError, match="cannot be accepted"):
        accept_other_folder(directory)
    assert archived() == []
