from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.db import connection
from django.db.models import F
from django.test.utils import CaptureQueriesContext
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sessions_app import cleanup, mirror
from sessions_app.cleanup import mark_dead_runs, run_cleanup
from sessions_app.deadline import Deadline
from sessions_app.directories import DirectoryError, register_directory, sync_directory
from sessions_app.models import ArchivedSession, BrowserSession, CleanupRun, SessionDirectory
from sessions_app.models.clock import database_now
from sessions_app.session_files import SessionFolder
from sessions_app.sync_result import SyncResult
from tests.documents import OLD, document_bytes, put
from tests.integration.sessions import archived, live, make_session, plan

pytestmark = pytest.mark.django_db


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "sessions"
    folder.mkdir()
    return folder


@pytest.fixture
def directory(folder: Path) -> SessionDirectory:
    return register_directory(folder, namespace="shop")


def sync(directory: SessionDirectory) -> SyncResult:
    return sync_directory(directory, trigger="command", actor="tester")


def counts(result: SyncResult) -> tuple[int, int, int, int]:
    return result.added, result.changed, result.unchanged, result.vanished


def in_folder(folder: Path) -> list[str]:
    return sorted(path.name.removesuffix(".json") for path in folder.iterdir())


def test_added_changed_and_vanished_files_are_mirrored(directory: SessionDirectory, folder: Path) -> None:
    put(folder, "a")
    put(folder, "b")
    put(folder, "c")
    assert counts(sync(directory)) == (3, 0, 0, 0)
    put(folder, "b", browser_type="webkit")
    (folder / "c.json").unlink()
    put(folder, "d")
    assert counts(sync(directory)) == (1, 1, 1, 1)
    assert live() == ["a", "b", "d"]
    session = BrowserSession.objects.get(name="b")
    assert session.browser_type == "webkit"
    assert bytes(session.document) == (folder / "b.json").read_bytes()
    assert session.size_bytes == (folder / "b.json").stat().st_size
    assert (session.namespace, session.directory) == ("shop", directory)


def test_a_vanished_file_is_told_by_the_ledger_and_kept_in_the_archive(
    directory: SessionDirectory, folder: Path
) -> None:
    put(folder, "a")
    sync(directory)
    (folder / "a.json").unlink()
    sync(directory)
    run = CleanupRun.objects.get()
    assert (run.trigger, run.actor, run.removed_count) == ("command", "tester", 1)
    assert run.removed_reasons == {"vanished": 1}
    assert archived() == ["a"]
    sync(directory)
    assert CleanupRun.objects.count() == 1


def test_a_file_that_comes_back_is_a_session_again(directory: SessionDirectory, folder: Path) -> None:
    # As a volume that is unmounted and mounted again: the very same files, stamps and all.
    path, aside = put(folder, "a"), folder.parent / "aside.json"
    os.link(path, aside)
    sync(directory)
    path.unlink()
    sync(directory)
    os.link(aside, path)
    assert counts(sync(directory)) == (1, 0, 0, 0)
    assert (live(), in_folder(folder)) == (["a"], ["a"])


def test_unchanged_files_are_not_opened(
    directory: SessionDirectory, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(5):
        put(folder, f"s{number}")
    sync(directory)
    monkeypatch.setattr(SessionFolder, "read", None)
    assert counts(sync(directory)) == (0, 0, 5, 0)


def test_a_sync_of_unchanged_files_costs_the_same_queries_whatever_their_number(
    directory: SessionDirectory, folder: Path
) -> None:
    def queries() -> int:
        with CaptureQueriesContext(connection) as captured:
            sync(directory)
        return len(captured)

    put(folder, "first")
    sync(directory)
    few = queries()
    for number in range(50):
        put(folder, f"s{number}")
    sync(directory)
    assert queries() == few


def test_the_same_bytes_written_again_leave_plans_valid(directory: SessionDirectory, folder: Path) -> None:
    path = put(folder, "old", **OLD)
    sync(directory)
    run = plan(expired=True)
    path.write_bytes(path.read_bytes())
    sync(directory)
    assert run_cleanup(run).removed_count == 1
    assert in_folder(folder) == []


def test_a_file_rewritten_with_other_bytes_survives_the_run_that_had_planned_it(
    directory: SessionDirectory, folder: Path
) -> None:
    put(folder, "synced", **OLD)
    put(folder, "not-synced", **OLD)
    sync(directory)
    run = plan(expired=True)
    put(folder, "synced")
    sync(directory)
    put(folder, "not-synced")
    run_cleanup(run)
    assert in_folder(folder) == ["not-synced", "synced"]
    assert live() == ["not-synced", "synced"]
    assert (run.removed_count, run.skipped_count) == (0, 2)
    assert counts(sync(directory)) == (0, 1, 1, 0)


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda path: path.symlink_to("/etc/hostname"), "is a symbolic link"),
        (lambda path: path.symlink_to(path.parent / "gone"), "is a symbolic link"),
        (lambda path: path.mkdir(), "is a sub-folder"),
        (lambda path: os.mkfifo(path), "is not a regular file"),
        (lambda path: path.write_bytes(b"x" * 5_242_881), "is over-large: 5,242,881 bytes"),
    ],
)
def test_what_is_no_document_is_told_and_skipped(
    directory: SessionDirectory, folder: Path, make: Callable[[Path], None], reason: str
) -> None:
    put(folder, "good")
    make(folder / "odd.json")
    result = sync(directory)
    assert live() == ["good"]
    assert len(result.skipped) == 1
    name, told = result.skipped[0]
    assert name == "odd.json"
    assert told.startswith(reason)
    directory.refresh_from_db()
    assert directory.report["skipped_files"] == [{"file": "odd.json", "reason": told}]


def test_an_unreadable_file_is_told_and_skipped(
    directory: SessionDirectory, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(folder, "good")
    put(folder, "secret").chmod(0)
    if os.geteuid() == 0:  # who may read everything
        open_file = os.open

        def refuse(path: str, *args: Any, **kwargs: Any) -> int:
            if path == "secret.json":
                raise PermissionError(13, "Permission denied")
            return open_file(path, *args, **kwargs)

        monkeypatch.setattr(os, "open", refuse)
    assert sync(directory).skipped == [("secret.json", "cannot be read: Permission denied")]
    assert live() == ["good"]


def test_a_file_that_becomes_unreadable_loses_no_session(directory: SessionDirectory, folder: Path) -> None:
    path = put(folder, "a")
    sync(directory)
    path.write_bytes(b"x" * 5_242_881)
    assert len(sync(directory).skipped) == 1
    assert live() == ["a"]


def test_names_that_are_none_are_told_and_skipped(directory: SessionDirectory, folder: Path) -> None:
    put(folder, "good")
    (folder / ".json").write_bytes(document_bytes())
    (folder / os.fsdecode(b"bad-\xff.json")).write_bytes(document_bytes())
    (folder / "notes.txt").write_text("no document")
    result = sync(directory)
    assert live() == ["good"]
    assert sorted(result.skipped) == [
        (".json", "has no name before .json"),
        ("bad-\\udcff.json", "has a name that is not UTF-8"),
    ]


@pytest.mark.parametrize(
    "name", ["a b", "ünïcode 🦖", "x" * 250, "..", "a%2Fb", "'; DROP TABLE x; --", "<b>"]
)
def test_any_name_of_a_file_is_a_name_of_a_session(
    directory: SessionDirectory, folder: Path, name: str
) -> None:
    put(folder, name)
    sync(directory)
    assert live() == [name]
    run_cleanup(plan(all=True))
    assert in_folder(folder) == []


def test_a_missing_folder_is_an_error_and_loses_no_session(directory: SessionDirectory, folder: Path) -> None:
    put(folder, "a")
    sync(directory)
    (folder / "a.json").unlink()
    folder.rmdir()
    with pytest.raises(DirectoryError, match="cannot be read: No such file or directory"):
        sync(directory)
    directory.refresh_from_db()
    assert "cannot be read" in directory.error
    assert directory.claimed_at is None
    assert live() == ["a"]


def test_what_is_no_folder_cannot_be_registered(folder: Path) -> None:
    with pytest.raises(DirectoryError, match="is not a folder"):
        register_directory(folder / "gone")


def test_a_folder_has_one_namespace(directory: SessionDirectory, folder: Path) -> None:
    assert register_directory(folder) == directory
    assert register_directory(str(folder) + "/", namespace="shop") == directory
    with pytest.raises(DirectoryError, match="mirrored into the namespace shop, not bank"):
        register_directory(folder, namespace="bank")


def test_names_of_other_sessions_in_the_namespace_are_told_and_left(
    directory: SessionDirectory, folder: Path
) -> None:
    make_session("taken")
    put(folder, "taken")
    put(folder, "free")
    result = sync(directory)
    assert live() == ["free", "taken"]
    assert result.skipped[0][0] == "taken.json"
    assert "namespace of its own" in result.skipped[0][1]
    assert BrowserSession.objects.get(name="taken").directory is None


def test_two_syncs_of_a_folder_at_once_are_refused(directory: SessionDirectory, folder: Path) -> None:
    put(folder, "a")
    SessionDirectory.objects.update(claimed_at=database_now())
    with pytest.raises(DirectoryError, match="at work already"):
        sync(directory)
    SessionDirectory.objects.update(claimed_at=database_now() - timedelta(minutes=6))
    assert counts(sync(directory)) == (1, 0, 0, 0)


def test_large_folders_come_in_lots_of_bounded_rows_and_bytes(
    directory: SessionDirectory, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(7):
        put(folder, f"s{number}")
    monkeypatch.setattr(mirror, "BATCH_SIZE", 4)
    monkeypatch.setattr(mirror, "BATCH_BYTES", 700)
    steps: list[int] = []
    result = sync_directory(directory, trigger="command", progress=steps.append)
    assert result.added == sum(steps) == 7
    assert max(steps) <= 3


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    contents=st.lists(
        st.binary(max_size=300) | st.text().map(lambda text: f'{{"session_id": "{text}"}}'.encode()),
        min_size=1,
        max_size=8,
    )
)
def test_no_bytes_stop_a_sync_or_get_lost(
    directory: SessionDirectory, folder: Path, contents: list[bytes]
) -> None:
    put(folder, "good")
    for number, data in enumerate(contents):
        (folder / f"any-{number}.json").write_bytes(data)
    for number in range(len(contents), 8):
        (folder / f"any-{number}.json").unlink(missing_ok=True)
    result = sync(directory)
    assert result.skipped == []
    stored = dict(BrowserSession.objects.values_list("name", "document"))
    assert {name: bytes(data) for name, data in stored.items()} == {
        path.stem: path.read_bytes() for path in folder.iterdir()
    }


@pytest.mark.parametrize("survives", [True, False])
def test_a_crash_between_commit_and_removal_is_finished_by_the_next_sync(
    directory: SessionDirectory, folder: Path, monkeypatch: pytest.MonkeyPatch, survives: bool
) -> None:
    put(folder, "old", **OLD)
    put(folder, "fresh")
    sync(directory)
    monkeypatch.setattr(
        cleanup.runs, "_let_go_of_files", lambda run, batch: (_ for _ in ()).throw(KeyboardInterrupt)
    )
    with pytest.raises(KeyboardInterrupt):
        run_cleanup(plan(expired=True))
    assert (live(), in_folder(folder)) == (["fresh"], ["fresh", "old"])
    if survives:
        # Somebody saved it again meanwhile: that is another session, not the one that was removed.
        put(folder, "old")
        assert counts(sync(directory)) == (1, 0, 1, 0)
        assert live() == ["fresh", "old"]
    else:
        assert sync(directory).left_behind == 1
        assert (live(), in_folder(folder)) == (["fresh"], ["fresh"])
        assert counts(sync(directory)) == (0, 0, 1, 0)


def test_a_file_that_stood_aside_in_a_crash_is_settled_by_the_next_sync(
    directory: SessionDirectory, folder: Path
) -> None:
    path = put(folder, "old", **OLD)
    sync(directory)
    pk = BrowserSession.objects.get().pk
    path.rename(folder / f".removing-{pk}")
    run_cleanup(plan(expired=True))
    (folder / ".removing-99999").write_text("somebody else's")
    assert sync(directory).left_behind == 1
    assert in_folder(folder) == [".removing-99999"]


def test_files_that_cannot_be_removed_are_told_and_never_come_back(
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
    assert in_folder(folder) == []


def test_a_pin_outlives_the_absence_of_the_file(directory: SessionDirectory, folder: Path) -> None:
    path, aside = put(folder, "pinned"), folder.parent / "aside.json"
    put(folder, "other")
    sync(directory)
    BrowserSession.objects.filter(name="pinned").update(is_pinned=True)
    path.rename(aside)
    sync(directory)
    assert live() == ["other"]
    aside.rename(path)
    sync(directory)
    assert list(BrowserSession.objects.filter(is_pinned=True).values_list("name", flat=True)) == ["pinned"]


def test_a_sync_that_was_taken_over_changes_nothing_more(
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


def test_a_sync_stops_at_its_deadline_and_the_next_goes_on(directory: SessionDirectory, folder: Path) -> None:
    put(folder, "a")
    sync_directory(directory, trigger="command", deadline=Deadline(0))
    assert live() == []
    assert counts(sync(directory)) == (1, 0, 0, 0)


@pytest.mark.parametrize("namespace", ["x" * 101, " shop", "a\nb"])
def test_a_namespace_that_cannot_be_is_refused(folder: Path, namespace: str) -> None:
    with pytest.raises(DirectoryError, match="at most 100 visible characters"):
        register_directory(folder, namespace=namespace)


@pytest.mark.parametrize("path", ["~nosuchuser/x", os.fsdecode(b"/tmp/\xff"), "/tmp/a\0b"])
def test_a_path_that_cannot_be_is_refused(db: None, path: str) -> None:
    with pytest.raises(DirectoryError, match="not a path that can be registered"):
        register_directory(path)


SESSIONS = 400


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("step", range(6))
def test_a_cleanup_killed_at_any_instant_leaves_rows_and_files_in_step(
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
    for _ in range(3 * step + 1):  # batches that it says it has ended
        process.stdout.readline()
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()

    assert sorted(live() + archived()) == [f"s{number:03}" for number in range(SESSIONS)]
    sync(directory)
    assert in_folder(folder) == live()
    run.refresh_from_db()
    assert run.removed_count == ArchivedSession.objects.filter(run=run).count()
    mark_dead_runs(as_of=database_now() + timedelta(hours=1))
    run.refresh_from_db()
    with suppress(cleanup.CleanupInProgress):
        run_cleanup(run)
    assert (run.state, run.removed_count) == ("succeeded", SESSIONS)
    assert (live(), in_folder(folder)) == ([], [])


RUN_IN_SMALL_BATCHES = """
import django, sys
django.setup()
from sessions_app.cleanup import runs as cleanup
from sessions_app.models import CleanupRun
archive = cleanup._archive_batch
def tell(run, size):
    batch = archive(run, size)
    print(batch, flush=True)
    return batch
cleanup._archive_batch = tell
cleanup.run_cleanup(CleanupRun.objects.get(pk=sys.argv[1]), batch_size=10)
"""


def environment() -> dict[str, str]:
    """The environment of another process that works on the database of this test."""
    database = connection.settings_dict
    name = database["NAME"]
    if connection.vendor == "postgresql":
        host, port = database["HOST"] or "127.0.0.1", database["PORT"] or 5432
        url = f"postgres://{database['USER']}:{database['PASSWORD']}@{host}:{port}/{name}"
    else:
        url = f"sqlite:///{name}"
    return {**os.environ, "RAPTOR_DATABASE_URL": url}


def test_a_sync_removes_what_a_killed_writer_has_left_half_written(tmp_path: Path) -> None:
    directory = register_directory(tmp_path, namespace="shop")
    left, fresh = tmp_path / ".writing-0123456789abcdef", tmp_path / ".writing-fedcba9876543210"
    for path in (left, fresh):
        path.write_bytes(document_bytes())
    os.utime(left, (0, 0))
    sync_directory(directory, trigger="command")
    assert (left.exists(), fresh.exists()) == (False, True)
