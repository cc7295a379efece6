"""Syncs and cleanups that crash, stop midway or run at once: rows and files stay consistent."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.db import connection
from django.db.models import F

from sessions_app import cleanup
from sessions_app.cleanup import mark_stalled_runs, run_cleanup
from sessions_app.deadline import Deadline
from sessions_app.mirror import sync as mirror
from sessions_app.mirror.registry import DirectoryBusy, DirectoryError, register_directory, sync_directory
from sessions_app.models import ArchivedSession, BrowserSession, CleanupRun, SessionDirectory
from sessions_app.models.clock import database_now
from tests.factories import OLD, archived, counts, document_bytes, live, names_in, plan, put, sync

pytestmark = pytest.mark.django_db

SESSIONS = 400
RUN_IN_SMALL_BATCHES = """
import django, sys
django.setup()
from sessions_app.cleanup import runs as cleanup
from sessions_app.models import CleanupRun
archive = cleanup._archive_batch
def report(run, size):
    batch = archive(run, size)
    print(batch, flush=True)
    return batch
cleanup._archive_batch = report
cleanup.run_cleanup(CleanupRun.objects.get(pk=sys.argv[1]), batch_size=10)
"""


def environment() -> dict[str, str]:
    """Return the environment of another process that uses the database of this test."""
    database = connection.settings_dict
    name = database["NAME"]
    if connection.vendor == "postgresql":
        host, port = database["HOST"] or "127.0.0.1", database["PORT"] or 5432
        url = f"postgres://{database['USER']}:{database['PASSWORD']}@{host}:{port}/{name}"
    else:
        url = f"sqlite:///{name}"
    return {**os.environ, "RAPTOR_DATABASE_URL": url}


def test_two_syncs_of_a_folder_at_once_are_refused(directory: SessionDirectory, folder: Path) -> None:
    put(folder, "a")
    SessionDirectory.objects.update(claimed_at=database_now())
    with pytest.raises(DirectoryBusy):
        sync(directory)
    SessionDirectory.objects.update(claimed_at=database_now() - timedelta(minutes=6))
    assert counts(sync(directory)) == (1, 0, 0, 0)


@pytest.mark.parametrize("survives", [True, False])
def test_a_crash_between_commit_and_removal_is_finished_by_the_next_sync(
    directory: SessionDirectory, folder: Path, monkeypatch: pytest.MonkeyPatch, survives: bool
) -> None:
    put(folder, "old", **OLD)
    put(folder, "fresh")
    sync(directory)
    monkeypatch.setattr(
        cleanup.runs, "_remove_batch_files", lambda run, batch: (_ for _ in ()).throw(KeyboardInterrupt)
    )
    with pytest.raises(KeyboardInterrupt):
        run_cleanup(plan(expired=True))
    assert (live(), names_in(folder)) == (["fresh"], ["fresh", "old"])
    if survives:
        # The name was saved again: that is another session, not the removed one.
        put(folder, "old")
        assert counts(sync(directory)) == (1, 0, 1, 0)
        assert live() == ["fresh", "old"]
    else:
        assert sync(directory).left_behind == 1
        assert (live(), names_in(folder)) == (["fresh"], ["fresh"])
        assert counts(sync(directory)) == (0, 0, 1, 0)


def test_a_file_set_aside_by_a_crashed_removal_is_settled_by_the_next_sync(
    directory: SessionDirectory, folder: Path
) -> None:
    path = put(folder, "old", **OLD)
    sync(directory)
    pk = BrowserSession.objects.get().pk
    path.rename(folder / f".removing-{pk}")
    run_cleanup(plan(expired=True))
    (folder / ".removing-other").write_text("somebody else's")
    assert sync(directory).left_behind == 1
    assert names_in(folder) == [".removing-other"]


def test_files_that_cannot_be_removed_are_reported_and_not_imported_again(
    directory: SessionDirectory, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(folder, "old", **OLD)
    sync(directory)

    def refuse(*args: object, **kwargs: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "rename", refuse)
    run = run_cleanup(plan(expired=True))
    assert run.state == CleanupRun.State.SUCCEEDED
    assert "Permission denied" in run.error
    result = sync(directory)
    assert "was cleaned up, but cannot be removed: Permission denied" in result.skipped[0][1]
    assert live() == []
    monkeypatch.undo()
    assert sync(directory).left_behind == 1
    assert names_in(folder) == []


def test_a_sync_that_was_taken_over_makes_no_further_changes(
    directory: SessionDirectory, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(folder, "a")
    compare = mirror.Mirror._compare

    def be_slow(self: mirror.Mirror) -> Any:
        SessionDirectory.objects.update(sync_number=F("sync_number") + 1, claimed_at=database_now())
        return compare(self)

    monkeypatch.setattr(mirror.Mirror, "_compare", be_slow)
    with pytest.raises(DirectoryError, match="taken over"):
        sync(directory)
    assert live() == []
    assert SessionDirectory.objects.get().claimed_at is not None, "the claim is the other's"


def test_a_sync_stops_at_its_deadline_and_the_next_one_continues(
    directory: SessionDirectory, folder: Path
) -> None:
    put(folder, "a")
    sync_directory(directory, trigger="command", deadline=Deadline(0))
    assert live() == []
    assert counts(sync(directory)) == (1, 0, 0, 0)


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("step", range(6))
def test_a_cleanup_killed_at_any_time_leaves_rows_and_files_consistent(
    directory: SessionDirectory, folder: Path, step: int
) -> None:
    for number in range(SESSIONS):
        put(folder, f"s{number:03}", **OLD)
    sync(directory)
    run = plan(expired=True)
    process = subprocess.Popen(
        [sys.executable, "-c", RUN_IN_SMALL_BATCHES, str(run.pk)], env=environment(), stdout=subprocess.PIPE
    )
    assert process.stdout is not None
    for _ in range(3 * step + 1):  # batches that it reports as finished
        process.stdout.readline()
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()

    assert sorted(live() + archived()) == [f"s{number:03}" for number in range(SESSIONS)]
    sync(directory)
    assert names_in(folder) == live()
    run.refresh_from_db()
    assert run.removed_count == ArchivedSession.objects.filter(run=run).count()
    mark_stalled_runs(as_of=database_now() + timedelta(hours=1))
    run.refresh_from_db()
    with suppress(cleanup.CleanupInProgress):
        run_cleanup(run)
    assert (run.state, run.removed_count) == ("succeeded", SESSIONS)
    assert (live(), names_in(folder)) == ([], [])


def test_a_sync_removes_the_temporary_file_of_a_killed_writer(tmp_path: Path) -> None:
    directory = register_directory(tmp_path, namespace="shop")
    left, fresh = tmp_path / ".writing-0123456789abcdef", tmp_path / ".writing-fedcba9876543210"
    for path in (left, fresh):
        path.write_bytes(document_bytes())
    os.utime(left, (0, 0))
    sync_directory(directory, trigger="command")
    assert (left.exists(), fresh.exists()) == (False, True)
