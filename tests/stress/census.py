"""Which sessions there are, and whether each is there just once and as it was."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from django.db import connection, transaction
from django.db.models import QuerySet

from sessions_app.mirror.registry import register_directory
from sessions_app.models import ArchivedSession, BrowserSession, CleanupRun, SessionDirectory, StoredSession
from tests.factories import OLD, build_session, forget_sessions, put, sync

NAMESPACE = "shop"
# What an undo may set anew: when the row was written, its history, and the stamp of the file that it wrote.
_DATED = (
    "updated_at",
    "restored_at",
    "past_runs",
    "file_inode",
    "file_modified_ns",
    "file_changed_ns",
)
_KEPT = tuple(
    field.attname for field in StoredSession._meta.local_concrete_fields if field.attname not in _DATED
)
Rows = dict[int, tuple[Any, ...]]


def make_row(name: str, **changes: Any) -> BrowserSession:
    """Return an unsaved expired session, whose size depends on its name."""
    metadata = {"of": name, "note": "." * (len(name) * 7 % 50)}
    return build_session(name, namespace=NAMESPACE, **{**OLD, "metadata": metadata, **changes})


def start_anew() -> None:
    """Leave no session, no run and no directory in the database."""
    ArchivedSession.objects.all().delete()
    forget_sessions()
    CleanupRun.objects.all().delete()
    SessionDirectory.objects.all().delete()


def fill(count: int) -> None:
    """Put expired sessions into an empty database."""
    start_anew()
    BrowserSession.objects.bulk_create(make_row(f"session-{number:04}") for number in range(count))


def fill_from(folder: Path, count: int) -> SessionDirectory:
    """Put expired sessions into an empty database that are mirrored from the files of a folder."""
    start_anew()
    for path in folder.iterdir():
        path.unlink()
    for number in range(count):
        put(folder, f"session-{number:04}", metadata={"number": number}, **OLD)
    directory = register_directory(folder, namespace=NAMESPACE)
    sync(directory)
    return directory


@contextmanager
def one_snapshot() -> Iterator[None]:
    """Read all tables as of one instant, whoever writes."""
    with transaction.atomic():
        if connection.vendor == "postgresql":
            with connection.cursor() as cursor:
                cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        yield


def contents(sessions: QuerySet[Any], *, dated: bool = False) -> Rows:
    """The stored columns of sessions by their ids, bytes and all.

    Args:
        dated: With what an undo sets anew as well.
    """
    columns = (*_KEPT, *(_DATED if dated else ()))
    return {
        row[0]: tuple(bytes(value) if isinstance(value, memoryview) else value for value in row[1:])
        for row in sessions.order_by().values_list("pk", *columns)
    }


def live_sessions() -> Rows:
    """What is live."""
    return contents(BrowserSession.objects.all())


def assert_whole(before: Rows, *runs: CleanupRun) -> tuple[int, int]:
    """Each session is live or archived, once and unchanged, and the counters of each run are right.

    Returns: How many are live, and how many are archived.
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
    assert not live.keys() & archived.keys(), "live and archived at once"
    assert {**live, **archived} == before
    assert sum(map(len, held.values())) == len(archived)
    for run in runs:
        assert run.removed_count - run.restored_count == len(held[run.pk])
        assert run.removed_bytes - run.restored_bytes == sizes[run.pk]
    return len(live), len(archived)


def assert_files_in_step(directory: SessionDirectory, folder: Path) -> None:
    """After one sync just the live sessions have files, with the bytes of their documents."""
    directory.refresh_from_db()
    result = sync(directory)
    assert (result.added, result.changed, result.vanished) == (0, 0, 0)
    # A kill may leave a temporary file as well, which a later sync removes.
    there = {path.name: path.read_bytes() for path in folder.glob("*.json")}
    rows = BrowserSession.objects.values_list("file_name", "document")
    assert there == {name: bytes(document) for name, document in rows}
