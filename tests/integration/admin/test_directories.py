from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.contrib.auth.models import User
from django.test import Client

from sessions_app.mirror.registry import register_directory, sync_directory
from sessions_app.models import BrowserSession, Machine, QueuedTask, SessionDirectory
from sessions_app.models.clock import database_now
from sessions_app.queue.enqueue import Task
from tests.clients import LIST, html_of
from tests.factories import Queued

DIRECTORIES = "/admin/sessions_app/sessiondirectory/"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path.resolve() / "sessions"
    path.mkdir()
    (path / "one.json").write_text('{"session_id": "one"}')
    return path


def add(client: Client, path: object, namespace: str = "team", **more: Any) -> str:
    data = {"path": str(path), "namespace": namespace, "is_enabled": "on", **more}
    return client.post(f"{DIRECTORIES}add/", data, follow=True).content.decode()


def test_a_directory_is_added_and_synced(as_operator: Client, folder: Path) -> None:
    html = add(as_operator, folder)
    directory = SessionDirectory.objects.get()
    assert (directory.path, directory.namespace, directory.is_enabled) == (str(folder), "team", True)
    assert "Sync now" in html
    (folder / "sub").mkdir()
    (folder / "sub.json").mkdir()
    html = as_operator.post(f"{DIRECTORIES}{directory.pk}/sync/", follow=True).content.decode()
    assert "1 added, 1 skipped" in html
    assert "is a folder" in html
    assert BrowserSession.objects.get().name == "one"


def test_a_directory_has_the_machine_of_its_worker_at_once(as_operator: Client, folder: Path) -> None:
    Machine.objects.create(name=settings.RAPTOR_MACHINE, heartbeat_at=database_now())
    assert f">{settings.RAPTOR_MACHINE}</div>" in add(as_operator, folder)
    assert SessionDirectory.objects.get().machine == settings.RAPTOR_MACHINE


def test_without_a_worker_the_page_explains_which_machine_will_mirror_the_folder(
    as_operator: Client, folder: Path
) -> None:
    assert "Not known yet. The first machine whose worker finds the folder mirrors it." in add(
        as_operator, folder
    )
    address = f"{DIRECTORIES}{SessionDirectory.objects.get().pk}/sync/"
    html = as_operator.post(address, follow=True).content.decode()
    assert "Synced only by the web server so far." in html


def test_the_empty_list_of_sessions_announces_the_first_sync(as_operator: Client, folder: Path) -> None:
    assert "No sessions yet" in html_of(as_operator, LIST)
    add(as_operator, folder)
    assert "begins when a worker is running. No worker is running now." in html_of(as_operator, LIST)
    Machine.objects.create(name=settings.RAPTOR_MACHINE, heartbeat_at=database_now())
    html = html_of(as_operator, LIST)
    assert "The first sync of 1 session directory begins within a minute." in html
    SessionDirectory.objects.update(machine="gone")
    assert "begins when the worker of gone is running." in html_of(as_operator, LIST)
    assert "No sessions yet" not in html
    assert "first sync" not in html_of(as_operator, f"{LIST}?problem=any")
    SessionDirectory.objects.update(claimed_at=database_now())
    assert "The first sync of 1 session directory is running." in html_of(as_operator, LIST)
    SessionDirectory.objects.update(claimed_at=None, synced_at=database_now())
    assert "No sessions yet" in html_of(as_operator, LIST)


def test_a_link_is_added_as_the_folder_that_it_leads_to(as_operator: Client, folder: Path) -> None:
    (folder.parent / "link").symlink_to(folder)
    add(as_operator, folder.parent / "link" / "..")
    assert SessionDirectory.objects.get().path == str(folder.parent)


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("relative/folder", "Enter the absolute path"),
        ("/nowhere/at/all", "is not a folder on this machine"),
        ("/etc/hostname", "is not a folder on this machine"),
        ("/" + "x" * 300, "/xxx"),
        ("/x\0y", "Null characters are not allowed"),
        ("", "This field is required"),
    ],
)
def test_a_path_that_is_not_a_folder_is_refused_in_the_form(
    as_operator: Client, path: str, message: str
) -> None:
    assert message in add(as_operator, path)
    assert not SessionDirectory.objects.exists()


def test_a_directory_is_added_once(as_operator: Client, folder: Path) -> None:
    register_directory(folder, namespace="first")
    assert "is mirrored into the namespace first" in add(as_operator, folder, "second")
    assert "already exists" in add(as_operator, folder, "first")
    assert SessionDirectory.objects.get().namespace == "first"


def test_a_directory_is_switched_off_and_its_path_stays(as_operator: Client, folder: Path) -> None:
    directory = register_directory(folder, namespace="team")
    as_operator.post(f"{DIRECTORIES}{directory.pk}/change/", {"path": "/etc", "namespace": "other"})
    directory.refresh_from_db()
    assert (directory.path, directory.namespace, directory.is_enabled) == (str(folder), "team", False)


def test_an_error_is_shown_and_loses_no_session(as_operator: Client, folder: Path) -> None:
    directory = register_directory(folder, namespace="team")
    sync_directory(directory, trigger="command")
    folder.rename(folder.parent / "elsewhere")
    html = as_operator.post(
        DIRECTORIES, {"action": "sync", "_selected_action": [directory.pk]}, follow=True
    ).content.decode()
    assert html.count("cannot be read") == 2
    assert BrowserSession.objects.count() == 1


def test_a_directory_that_sessions_refer_to_is_not_deleted(client: Client, root: User, folder: Path) -> None:
    client.force_login(root)
    directory = register_directory(folder, namespace="team")
    sync_directory(directory, trigger="command")
    assert client.post(f"{DIRECTORIES}{directory.pk}/delete/", {"post": "yes"}).status_code == 403
    empty = register_directory(folder.parent, namespace="empty")
    assert client.post(f"{DIRECTORIES}{empty.pk}/delete/", {"post": "yes"}).status_code == 302
    assert SessionDirectory.objects.get() == directory


def test_a_viewer_changes_nothing(client: Client, viewer: User, folder: Path) -> None:
    directory = register_directory(folder, namespace="team")
    client.force_login(viewer)
    assert client.post(f"{DIRECTORIES}{directory.pk}/sync/").status_code == 403
    assert client.get(f"{DIRECTORIES}add/").status_code == 403
    client.post(DIRECTORIES, {"action": "sync", "_selected_action": [directory.pk]})
    assert "Sync now" not in client.get(f"{DIRECTORIES}{directory.pk}/change/").content.decode()
    assert not BrowserSession.objects.exists()


def test_only_a_post_syncs(as_operator: Client, folder: Path) -> None:
    directory = register_directory(folder, namespace="team")
    assert as_operator.get(f"{DIRECTORIES}{directory.pk}/sync/").status_code == 405
    assert as_operator.post(f"{DIRECTORIES}99/sync/").status_code == 404


def test_a_directory_of_another_machine_is_mirrored_by_its_worker(as_root: Client, queued: Queued) -> None:
    Machine.objects.create(name="runner-2", heartbeat_at=database_now())
    data = {"path": "/srv/there", "namespace": "shop", "machine": "runner-2", "is_enabled": "on"}
    html = as_root.post(f"{DIRECTORIES}add/", data, follow=True).content.decode()
    directory = SessionDirectory.objects.get()
    assert (directory.path, directory.machine, directory.inode) == ("/srv/there", "runner-2", None)
    assert "The worker of the machine runner-2 mirrors it within a minute" in html
    as_root.post(f"{DIRECTORIES}{directory.pk}/sync/")
    assert queued[-1] == (Task.SYNC_DIRECTORIES, "runner-2")
    assert QueuedTask.objects.get().machine == "runner-2"
    directory.refresh_from_db()
    assert directory.error == ""
