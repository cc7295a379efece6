"""The folder that an empty panel offers, and the removal of directories with their sessions."""

from __future__ import annotations

from pathlib import Path

import pytest
from django.contrib.auth.models import User
from django.test import Client

from sessions_app.cleanup import replan, run_cleanup, undo_cleanup
from sessions_app.deadline import Deadline
from sessions_app.mirror.registry import register_directory, sync_enabled
from sessions_app.models import BrowserSession, CleanupRun, SessionDirectory
from tests.clients import page_at
from tests.factories import archived, live, names_in, put, sync

DIRECTORIES = "/admin/sessions_app/sessiondirectory/"


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path))
    folder = tmp_path.resolve() / ".raptor" / "sessions"
    folder.mkdir(parents=True)
    put(folder, "one")
    put(folder, "two")
    return folder


class TestFoundFolder:
    def test_the_empty_dashboard_offers_to_add_the_folder(self, as_root: Client, home: Path) -> None:
        page = page_at(as_root, "/admin/")
        assert f"Found: {home} with 2 documents." in " ".join(page.text.split())
        assert "Add this folder" in page.buttons
        as_root.post(f"{DIRECTORIES}found/")
        assert SessionDirectory.objects.get().path == str(home)
        assert live() == ["one", "two"]
        assert "Add this folder" not in page_at(as_root, "/admin/").buttons

    def test_only_users_who_may_add_directories_see_the_folder(
        self, client: Client, viewer: User, home: Path
    ) -> None:
        client.force_login(viewer)
        page = page_at(client, "/admin/")
        assert str(home) not in page.text
        assert client.post(f"{DIRECTORIES}found/").status_code == 403
        assert not SessionDirectory.objects.exists()

    def test_a_panel_without_the_folder_offers_nothing(
        self, as_root: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("HOME", str(tmp_path))
        assert "Add this folder" not in page_at(as_root, "/admin/").buttons
        assert "does not exist" in as_root.post(f"{DIRECTORIES}found/", follow=True).content.decode()


class TestRemoval:
    @pytest.fixture
    def directory(self, tmp_path: Path) -> SessionDirectory:
        folder = tmp_path.resolve() / "sessions"
        put(folder, "one")
        put(folder, "two")
        directory = register_directory(folder, namespace="team")
        sync(directory)
        return directory

    def plan(self, client: Client, directory: SessionDirectory) -> CleanupRun:
        client.post(f"{DIRECTORIES}{directory.pk}/remove/")
        return CleanupRun.objects.get()

    def sync_all(self) -> int:
        synced, _ = sync_enabled(trigger="schedule", actor="", deadline=Deadline())
        return len(synced)

    def test_the_removal_is_a_cleanup_of_all_its_sessions(
        self, as_root: Client, directory: SessionDirectory, tmp_path: Path
    ) -> None:
        BrowserSession.objects.filter(name="one").update(is_pinned=True)
        response = as_root.post(f"{DIRECTORIES}{directory.pk}/remove/")
        planned = CleanupRun.objects.get()
        assert response.headers["Location"].endswith(f"/cleanuprun/{planned.pk}/plan/")
        # Nothing changes before the plan runs.
        assert (live(), self.sync_all()) == (["one", "two"], 1)
        run_cleanup(planned)
        assert (live(), archived(), names_in(tmp_path / "sessions")) == ([], ["one", "two"], [])
        assert self.sync_all() == 0
        page = page_at(as_root, f"{DIRECTORIES}{directory.pk}/change/")
        assert "This directory was removed with its sessions." in page.text
        assert "Mirror it again" in page.buttons
        assert "Removed" in page_at(as_root, DIRECTORIES).text

    def test_an_undo_restores_the_sessions_and_the_directory(
        self, as_root: Client, directory: SessionDirectory, tmp_path: Path
    ) -> None:
        removed = run_cleanup(self.plan(as_root, directory))
        undo_cleanup(removed, actor="root")
        assert (live(), names_in(tmp_path / "sessions"), self.sync_all()) == (
            ["one", "two"],
            ["one", "two"],
            1,
        )

    def test_a_removed_directory_can_be_mirrored_again_without_its_sessions(
        self, as_root: Client, directory: SessionDirectory
    ) -> None:
        run_cleanup(self.plan(as_root, directory))
        as_root.post(f"{DIRECTORIES}{directory.pk}/restore/")
        assert (live(), self.sync_all()) == ([], 1)

    def test_registering_a_removed_directory_again_restores_it(
        self, as_root: Client, directory: SessionDirectory
    ) -> None:
        run_cleanup(self.plan(as_root, directory))
        assert not register_directory(directory.path).is_removed
        assert self.sync_all() == 1

    def test_a_removed_directory_cannot_be_removed_again(
        self, as_root: Client, directory: SessionDirectory
    ) -> None:
        removed = run_cleanup(self.plan(as_root, directory))
        response = as_root.post(f"{DIRECTORIES}{directory.pk}/remove/", follow=True)
        assert f"Run {removed.pk} has already removed this directory." in response.content.decode()
        directory.refresh_from_db()
        assert directory.removal == removed
        assert list(CleanupRun.objects.all()) == [removed]

    def test_a_new_plan_that_replaces_an_outdated_one_removes_the_directory(
        self, as_root: Client, directory: SessionDirectory
    ) -> None:
        again = replan(self.plan(as_root, directory), trigger="admin", actor="root")
        run_cleanup(again)
        assert (live(), self.sync_all()) == ([], 0)

    def test_removing_a_directory_requires_the_permission_to_remove_all_sessions(
        self, as_operator: Client, operator: User, directory: SessionDirectory
    ) -> None:
        operator.groups.clear()
        assert as_operator.post(f"{DIRECTORIES}{directory.pk}/remove/").status_code == 403
        assert not CleanupRun.objects.exists()

    def test_disabling_explains_what_happens_to_the_sessions(
        self, as_root: Client, directory: SessionDirectory
    ) -> None:
        html = as_root.post(f"{DIRECTORIES}{directory.pk}/change/", {}, follow=True).content.decode()
        assert "Its sessions stay in the list (2 now)" in html
        assert live() == ["one", "two"]
