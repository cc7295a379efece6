"""Make sessions, and check that each exists exactly once and unchanged."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from django.db import connection, transaction
from django.db.models import QuerySet

from sessions_app.mirror.registry import register_directory
from sessions_app.models import ArchivedSession, BrowserSession, CleanupRun, SessionDirectory, SessionDocument
from tests.factories import KEPT_COLUMNS, OLD, build_session, forget_sessions, put, sync

NAMESPACE = "shop"
# Columns that an undo may change: the time of the write, the last run and the stamp of the restored file.
_STAMP = ("file_inode", "file_modified_ns", "file_changed_ns")
_DATED = ("updated_at", "restored_from", *_STAMP)
_KEPT = tuple(name for name in KEPT_COLUMNS if name not in _STAMP)
Rows = dict[int, tuple[Any, ...]]


def make_row(name: str, **changes: Any) -> BrowserSession:
    """Return an unsaved expired session, whose size depends on its name."""
    metadata = {"of": name, "note": "." * (len(name) * 7 % 50)}
    return build_session(name, namespace=NAMESPACE, **{**OLD, "metadata": metadata, **changes})


def reset() -> None:
    """Delete all sessions, runs and directories."""
    ArchivedSession.objects.all().delete()
    forget_sessions()
    CleanupRun.objects.all().delete()
    SessionDirectory.objects.all().delete()


def fill(count: int) -> None:
    """Reset the database and add expired sessions."""
    reset()
    BrowserSession.objects.bulk_create(make_row(f"session-{number:04}") for number in range(count))


def fill_from(folder: Path, count: int) -> SessionDirectory:
    """Reset the database and the folder, and sync expired sessions from files."""
    reset()
    for path in folder.iterdir():
        path.unlink()
    for number in range(count):
        put(folder, f"session-{number:04}", metadata={"number": number}, **OLD)
    directory = register_directory(folder, namespace=NAMESPACE)
    sync(directory)
    return directory


@contextmanager
def one_snapshot() -> Iterator[None]:
    """Read all tables in one snapshot, despite concurrent writers."""
    with transaction.atomic():
        if connection.vendor == "postgresql":
            with connection.cursor() as cursor:
                cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        yield


def contents(sessions: QuerySet[Any], *, dated: bool = False) -> Rows:
    """Return the stored columns of sessions by id, the document included.

    Args:
        dated: Include the columns that an undo may change.
    """
    columns = (*_KEPT, *(_DATED if dated else ()))
    return {
        row[0]: tuple(bytes(value) if isinstance(value, memoryview) else value for value in row[1:])
        for row in sessions.order_by().values_list("pk", *columns)
    }


def live_sessions() -> Rows:
    """Return the columns of the live sessions by id."""
    return contents(BrowserSession.objects.all())


def assert_whole(before: Rows, *runs: CleanupRun) -> tuple[int, int]:
    """Check that each session is live or archived, once and unchanged, and the counters of each run.

    Returns: Number of live and of archived sessions.
    """
    with one_snapshot():
        live, archived = live_sessions(), contents(ArchivedSession.objects.all())
        held = {run.pk: contents(ArchivedSession.objects.filter(run=run)) for run in runs}
        sizes = {
            run.pk: sum(ArchivedSession.objects.filter(run=run).values_list("size_bytes", flat=True))
            for run in runs
        }
        for run in runs:
            run.refresh_from_db()
        documents = set(SessionDocument.objects.values_list("pk", flat=True))
    assert not live.keys() & archived.keys(), "live and archived at once"
    assert documents == live.keys() | archived.keys(), "each session has one document"
    assert {**live, **archived} == before
    assert sum(map(len, held.values())) == len(archived)
    for run in runs:
        assert run.removed_count - run.restored_count == len(held[run.pk])
        assert run.removed_bytes - run.restored_bytes == sizes[run.pk]
    return len(live), len(archived)


def assert_files_match(directory: SessionDirectory, folder: Path) -> None:
    """Sync, and check that exactly the live sessions have files, with the bytes of their documents."""
    directory.refresh_from_db()
    result = sync(directory)
    assert (result.added, result.changed, result.vanished) == (0, 0, 0)
    # A kill can leave a temporary file, which a later sync removes.
    there = {path.name: path.read_bytes() for path in folder.glob("*.json")}
    rows = BrowserSession.objects.values_list("file_name", "content__document")
    assert there == {name: bytes(document) for name, document in rows}
