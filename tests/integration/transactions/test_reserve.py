"""The reserve file beside the database, and batches that shrink. These tests mount no disk."""

from __future__ import annotations

import os
import sqlite3
import stat
import threading
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.db import OperationalError, connection, transaction

from sessions_app import tasks
from sessions_app.cleanup import batches, empty_archive, plans, run_cleanup, undo_cleanup
from sessions_app.cleanup.batches import BatchSize, run_fitting
from sessions_app.models import ArchivedSession, BrowserSession, CleanupRun, SessionDirectory
from sessions_app.models.clock import database_now
from sessions_app.transactions import disk
from sessions_app.transactions import reserve as disk_reserve
from tests.factories import OLD, PROJECT_DIR, make_sessions, plan, put, sync
from tests.full_disk import MB, limited_pages

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.skipif("connection.vendor != 'sqlite'", reason="only SQLite databases have a reserve"),
]

SIZE = 2 * MB


@pytest.fixture
def reserve(settings: Any) -> Iterator[Path]:
    """The path of the reserve of the test database, which is enabled with 2 MB."""
    settings.RAPTOR_RESERVE_BYTES = SIZE
    folder = disk.database_folder()
    assert folder is not None
    path = folder / disk_reserve.RESERVE_NAME
    yield path
    path.unlink(missing_ok=True)


@pytest.fixture
def free(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A function that sets the free bytes of the database's disk."""

    def set_free(size_bytes: int) -> None:
        for module in (disk, disk_reserve):
            monkeypatch.setattr(module, "free_bytes", lambda folder: size_bytes)

    return set_free


def test_the_reserve_has_real_blocks_and_is_private(reserve: Path) -> None:
    assert disk_reserve.allocate_reserve()
    status = reserve.stat()
    assert status.st_size == SIZE
    assert status.st_blocks * 512 >= SIZE
    assert stat.S_IMODE(status.st_mode) == 0o600


def test_the_reserve_is_written_where_blocks_cannot_be_allocated(
    reserve: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(os, "posix_fallocate", raising=False)
    assert disk_reserve.allocate_reserve()
    assert reserve.stat().st_blocks * 512 >= SIZE


def test_a_second_start_leaves_the_reserve_as_it_is(reserve: Path) -> None:
    disk_reserve.allocate_reserve()
    before = reserve.stat()
    assert disk_reserve.allocate_reserve()
    assert reserve.stat() == before


def test_a_small_disk_is_not_filled_by_the_reserve(reserve: Path, free: Any) -> None:
    free(4 * MB)
    assert not disk_reserve.allocate_reserve()
    assert not reserve.exists()
    free(8 * MB)
    assert disk_reserve.allocate_reserve()
    assert reserve.stat().st_size == MB
    free(500 * MB)
    assert disk_reserve.allocate_reserve()
    assert reserve.stat().st_size == SIZE


def test_no_reserve_is_taken_if_it_is_disabled(reserve: Path, settings: Any) -> None:
    settings.RAPTOR_RESERVE_BYTES = 0
    assert not disk_reserve.allocate_reserve()
    assert not reserve.exists()


def test_test_projects_take_no_reserve() -> None:
    text = (PROJECT_DIR / "raptor_admin" / "client_settings.py").read_text()
    assert "RAPTOR_RESERVE_BYTES = 0" in text


def test_many_threads_may_give_up_the_reserve_at_once(reserve: Path) -> None:
    disk_reserve.allocate_reserve()
    released: list[bool] = []
    threads = [
        threading.Thread(target=lambda: released.append(disk_reserve.release_reserve())) for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert any(released)
    assert reserve.stat().st_size == 0


def test_tidying_up_takes_the_reserve_again_when_there_is_room(reserve: Path, free: Any) -> None:
    disk_reserve.allocate_reserve()
    disk_reserve.release_reserve()
    free(MB)
    tasks.tidy_up()
    assert reserve.stat().st_size == 0
    free(500 * MB)
    tasks.tidy_up()
    assert reserve.stat().st_size == SIZE


def test_a_sync_imports_nothing_while_the_reserve_is_released(
    reserve: Path, free: Any, directory: SessionDirectory, folder: Path
) -> None:
    put(folder, "new")
    disk_reserve.allocate_reserve()
    disk_reserve.release_reserve()
    free(MB)
    with pytest.raises(disk.NoRoom):
        sync(directory)
    directory.refresh_from_db()
    assert directory.error.startswith("The disk is full: ")
    free(500 * MB)
    assert sync(SessionDirectory.objects.get(pk=directory.pk)).added == 1


def test_a_cleanup_and_its_undo_shrink_their_batches_until_they_fit(settings: Any) -> None:
    make_sessions(120, **OLD, metadata={"state": "x" * 8_000})
    made = plan(expired=True)
    # Far from enough for all: each batch uses what the one before has freed.
    with limited_pages(40):
        run_cleanup(made)
        assert (made.state, made.removed_count, BrowserSession.objects.count()) == ("succeeded", 120, 0)
        undo_cleanup(made)
        assert (made.state, made.restored_count, ArchivedSession.objects.count()) == ("undone", 120, 0)


def _refuse_to_mark(execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
    """Fail as SQLite does on a full disk. Marking a row takes so little space that a limit does not do it."""
    if 'SET "run_id"' not in sql:
        return execute(sql, params, many, context)
    cause = sqlite3.OperationalError("database or disk is full")
    cause.sqlite_errorcode = sqlite3.SQLITE_FULL
    raise OperationalError(str(cause)) from cause


def test_a_run_fails_if_not_even_one_row_fits(settings: Any) -> None:
    make_sessions(3, **OLD, metadata={"state": "x" * 2_000_000})
    made = plan(expired=True)
    with connection.execute_wrapper(_refuse_to_mark), pytest.raises(OperationalError):
        run_cleanup(made)
    made = CleanupRun.objects.get(pk=made.pk)
    assert made.state == CleanupRun.State.FAILED
    assert made.error.startswith(f"The disk is full: {disk.database_folder()} (")
    assert made.is_resumable
    run_cleanup(made)
    assert made.removed_count == 3
    assert empty_archive(database_now() + timedelta(days=1))[0] == 3


def test_a_batch_is_halved_down_to_one_row_and_grows_again() -> None:
    size, tried = BatchSize(8), []

    def take() -> int:
        tried.append(size.rows)
        if size.rows > 1:
            raise OSError(28, "No space left on device")
        return 1

    assert run_fitting(take, size) == 1
    assert tried == [8, 4, 2, 1]
    for _ in range(30):
        with size.measured():
            pass
    assert (size.rows, size.is_tight) == (8, False)


def test_a_batch_of_a_full_disk_within_the_callers_transaction_is_not_repeated() -> None:
    tried = []

    def take() -> None:
        tried.append(1)
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space"), transaction.atomic():
        run_fitting(take, BatchSize(8))
    assert len(tried) == 1


def test_little_space_bounds_a_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batches, "free_bytes", lambda folder: 8 * MB)
    assert BatchSize().bound() == (32, 2 * MB)
    monkeypatch.setattr(batches, "free_bytes", lambda folder: 0)
    assert BatchSize().bound() == (1, 0)
    monkeypatch.setattr(batches, "free_bytes", lambda folder: 500 * MB)
    assert BatchSize().bound() == (batches.FIRST_ROWS, batches.BATCH_BYTES)


def test_the_log_is_truncated_at_a_stop(tmp_path: Path) -> None:
    make_sessions(20)
    file = disk.database_file()
    assert file is not None
    log = file.with_name(f"{file.name}-wal")
    assert log.stat().st_size
    disk_reserve.truncate_log_at_stop()
    assert log.stat().st_size == 0


def test_a_full_disk_is_never_called_busy(monkeypatch: pytest.MonkeyPatch) -> None:
    def full() -> None:
        with connection.cursor() as cursor:
            cursor.execute("PRAGMA page_count")
            cursor.execute("CREATE TEMP TABLE IF NOT EXISTS big (data)")
            cursor.execute("PRAGMA temp.max_page_count=2")
            cursor.execute("INSERT INTO big VALUES (zeroblob(1000000))")

    monkeypatch.setattr(plans, "database_now", full)
    with pytest.raises(OperationalError, match="full"):
        plan(expired=True)
