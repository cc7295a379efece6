from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from sessions_app.management.commands import sync_directories as command
from sessions_app.mirror import registry
from sessions_app.models import BrowserSession, SessionDirectory
from tests.clients import run
from tests.factories import put

pytestmark = pytest.mark.django_db


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    put(tmp_path / "sessions", "a")
    put(tmp_path / "sessions", "b")
    return tmp_path / "sessions"


def test_a_given_folder_is_registered_and_mirrored(folder: Path) -> None:
    (folder / "sub.json").mkdir()
    report = run("sync_directories", folder, "--namespace", "shop", "--format", "json").json
    assert report == {
        "directories": [
            {
                "path": str(folder),
                "namespace": "shop",
                "added": 2,
                "changed": 0,
                "unchanged": 0,
                "vanished": 0,
                "left_behind": 0,
                "skipped": [{"file": "sub.json", "reason": "is a folder"}],
                "error": None,
            }
        ]
    }
    assert set(BrowserSession.objects.values_list("namespace", "name")) == {("shop", "a"), ("shop", "b")}


def test_the_text_shows_counts_and_skipped_files(folder: Path) -> None:
    (folder / "link.json").symlink_to("/etc/hostname")
    out = run("sync_directories", folder).out
    assert f"{folder} (namespace default): 2 added, 0 changed, 0 unchanged, 0 vanished." in out
    assert "  skipped: link.json is a symbolic link" in out


def test_without_a_path_all_enabled_directories_are_mirrored(folder: Path, tmp_path: Path) -> None:
    put(tmp_path / "off", "c")
    put(tmp_path / "other", "d")
    run("sync_directories", folder, tmp_path / "off")
    run("sync_directories", tmp_path / "other", "--namespace", "other")
    SessionDirectory.objects.filter(path=tmp_path / "off").update(is_enabled=False)
    paths = [row["path"] for row in run("sync_directories", "--format", "json").json["directories"]]
    assert paths == [str(tmp_path / "other"), str(folder)]
    only = run("sync_directories", "--namespace", "other", "--format", "json").json["directories"]
    assert [row["unchanged"] for row in only] == [1]


def test_a_folder_that_fails_does_not_stop_the_others(folder: Path, tmp_path: Path) -> None:
    outcome = run("sync_directories", tmp_path / "nowhere", folder, "--format", "json")
    assert outcome.status == 1
    failed, done = outcome.json["directories"]
    assert "is not a folder" in failed["error"]
    assert (done["added"], done["error"]) == (2, None)
    assert "nowhere is not a folder" in outcome.err


def test_a_missing_directory_is_an_error_and_loses_no_session(folder: Path, tmp_path: Path) -> None:
    run("sync_directories", folder)
    folder.rename(tmp_path / "away")
    outcome = run("sync_directories")
    assert outcome.status == 1
    assert "cannot be read" in outcome.err
    assert BrowserSession.objects.count() == 2


def test_an_unexpected_error_of_one_directory_is_reported(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*args: Any, **kwargs: Any) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(command, "sync_directory", fail)
    outcome = run("sync_directories", folder)
    assert outcome.status == 1
    assert "Input/output error" in outcome.err


def test_no_registered_directory_is_reported(db: None) -> None:
    outcome = run("sync_directories")
    assert outcome.status == 0
    assert "No enabled session directory" in outcome.out


def test_the_namespace_of_a_directory_stays(folder: Path) -> None:
    registry.register_directory(folder, namespace="shop")
    outcome = run("sync_directories", folder, "--namespace", "other")
    assert outcome.status == 1
    assert "shop, not other" in outcome.err
