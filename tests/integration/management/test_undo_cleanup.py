from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from sessions_app.models import ArchivedSession, BrowserSession, CleanupRun
from sessions_app.models.clock import database_now
from tests.clients import run
from tests.factories import names_in, put

pytestmark = pytest.mark.django_db


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "sessions"
    for name in ("a", "b", "c"):
        put(folder, name, session_id="" if name != "c" else "c")
    run("sync_directories", folder)
    return folder


def test_undo_restores_a_run_with_its_files(folder: Path) -> None:
    number = str(run("cleanup_sessions", "--invalid", "--format", "json").json["run"])
    assert names_in(folder) == ["c"]
    outcome = run("undo_cleanup", number, "--format", "json")
    assert outcome.status == 0
    size = sum(BrowserSession.objects.filter(problems__gt=0).values_list("size_bytes", flat=True))
    assert outcome.json == {
        "run": int(number), "state": "undone", "removed": 2, "restored": 2, "left": 0, "bytes": size
    }  # fmt: skip
    assert names_in(folder) == ["a", "b", "c"]
    assert "2 of 2 sessions restored" in run("undo_cleanup", number).out


def test_sessions_that_are_not_restored_are_reported(folder: Path) -> None:
    number = str(run("cleanup_sessions", "--invalid", "--format", "json").json["run"])
    put(folder, "a")
    run("sync_directories")
    assert (
        "Still in the archive, because names or files are taken: 1 session."
        in run("undo_cleanup", number).out
    )


def test_an_unknown_run_is_reported() -> None:
    outcome = run("undo_cleanup", "99")
    assert (outcome.status, outcome.err) == (1, "There is no run 99.\n")


def test_old_sessions_are_deleted_from_the_archive(folder: Path) -> None:
    run("cleanup_sessions", "--invalid")
    assert run("empty_archive", "--format", "json").json["deleted"] == 0
    ArchivedSession.objects.update(removed_at=database_now() - timedelta(days=15))
    outcome = run("empty_archive")
    assert "2 sessions deleted permanently" in outcome.out
    assert ArchivedSession.objects.count() == 0
    number = str(CleanupRun.objects.get().pk)
    refused = run("undo_cleanup", number)
    assert refused.status == 1
    assert "emptied" in refused.err


def test_impossible_days_are_refused() -> None:
    outcome = run("empty_archive", "--days", "-1")
    assert (outcome.status, "choose from 0" in outcome.err) == (2, True)


def test_without_archive_days_a_cleanup_is_permanent_except_for_vanished_files(
    folder: Path, settings: Any
) -> None:
    settings.RAPTOR_ARCHIVE_DAYS = 0
    outcome = run("cleanup_sessions", "--invalid", "--format", "json")
    assert outcome.json["removed"] == 2
    assert ArchivedSession.objects.count() == 0
    assert names_in(folder) == ["c"]
    put(folder, "stays")
    run("sync_directories")
    (folder / "c.json").unlink()
    run("sync_directories")
    assert ArchivedSession.objects.get().name == "c"
