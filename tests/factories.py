"""Make what the tests work on: documents, sessions, policies, plans and synced directories."""

from __future__ import annotations

import itertools
import json
import shutil
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from django.db import connection

from sessions_app.cleanup import plan_cleanup, run_cleanup
from sessions_app.mirror.registry import register_directory, sync_directory
from sessions_app.models import (
    ArchivedSession,
    BrowserSession,
    CleanupPolicy,
    CleanupRun,
    QueuedTask,
    SessionDirectory,
    SessionDocument,
)
from sessions_app.models.session import REMOVAL_COLUMNS
from sessions_app.policies import SweepResult, sweep
from sessions_app.search import index_sessions
from sessions_app.session.criteria import Criteria
from sessions_app.session.document import parse_document, write_document
from sessions_app.session.sync_result import SyncResult

PROJECT_DIR = Path(__file__).resolve().parents[1]
SESSION_FILES = PROJECT_DIR / "tests" / "session_files"
AS_OF = datetime(2026, 11, 22, 12, tzinfo=UTC)
DUE = datetime(2026, 11, 22, 2, tzinfo=UTC)
SECRET = "5e55104e-secret-of-the-endpoint"
ENDPOINT = f"ws://127.0.0.1:9222/devtools/browser/{SECRET}"
OLD: dict[str, Any] = {"last_accessed": "2026-10-01T12:00:00+00:00"}
INVALID: dict[str, Any] = {"session_id": ""}
_numbers = itertools.count(1)

CONTENT = tuple(f"content__{name}" for name in ("cdp_url", "document", "last_good_document"))
"""The columns of the documents, for ``values``."""
_RESET_BY_AN_UNDO = ("updated_at", "restored_from", "browser_state", "browser_since", "in_use_at")
KEPT_COLUMNS = (
    *(
        field.attname
        for field in BrowserSession._meta.local_concrete_fields
        if field.attname not in {*REMOVAL_COLUMNS, *_RESET_BY_AN_UNDO}
    ),
    *CONTENT,
)
"""All that a session keeps when it is removed and restored."""


def document(**changes: Any) -> dict[str, Any]:
    """Return a valid session, last accessed an hour before AS_OF; a change to ``...`` removes the key."""
    content = {
        "session_id": "checkout",
        "cdp_url": ENDPOINT,
        "browser_type": "chromium",
        "created_at": "2026-11-20T09:00:00+00:00",
        "last_accessed": "2026-11-22T11:00:00+00:00",
        "metadata": {"env": "staging"},
        **changes,
    }
    return {key: value for key, value in content.items() if value is not ...}


def document_bytes(**changes: Any) -> bytes:
    return write_document(document(**changes))


def nested_document(depth: int) -> bytes:
    return b'{"deep": %b%b}' % (b"[" * depth, b"]" * depth)


def aged(days: float) -> dict[str, Any]:
    """Return the change to a document that was last accessed that many days before the present."""
    return {"last_accessed": (datetime.now(UTC) - timedelta(days=days)).isoformat()}


def put(folder: Path, name: str, **changes: Any) -> Path:
    """Write a document into a folder, as RAPTOR does."""
    folder.mkdir(exist_ok=True)
    path = folder / f"{name}.json"
    path.write_bytes(document_bytes(**changes))
    return path


def build_session(
    name: str = "",
    *,
    namespace: str = "shop",
    is_pinned: bool = False,
    age: timedelta | None = None,
    document: bytes | None = None,
    **changes: Any,
) -> BrowserSession:
    """Return an unsaved session, valid unless ``changes`` to its document make it invalid.

    Args:
        name: Left empty, a number makes it unique.
        age: Time between AS_OF and both creation and last access.
        document: The whole document, in place of changes to the usual one.
    """
    if age is not None:
        instant = (AS_OF - age).isoformat()
        changes = {"created_at": instant, "last_accessed": instant, **changes}
    data = document_bytes(**changes) if document is None else document
    return BrowserSession(
        namespace=namespace,
        name=name or f"session-{next(_numbers)}",
        is_pinned=is_pinned,
        size_bytes=len(data),
        **{**parse_document(data, time_zone=UTC)._asdict(), "document": data},
    )


def make_session(name: str = "", **options: Any) -> BrowserSession:
    session = build_session(name, **options)
    session.save()
    index_sessions()
    return session


def rewrite(sessions: Any, **values: Any) -> None:
    """Change columns of sessions, also those of their documents."""
    sessions.update(**values)


def make_sessions(count: int, **options: Any) -> None:
    for number in range(count):
        make_session(f"session-{number:03}", **options)


def make_many(count: int, **options: Any) -> None:
    """Make sessions that differ by name only, in one statement."""
    if not count:
        return
    first = make_session(**options)
    meta = BrowserSession._meta
    copied = [field for field in meta.concrete_fields if not field.generated]
    columns = ", ".join(str(field.column) for field in copied if field.name not in ("id", "name"))
    with connection.cursor() as cursor:
        cursor.execute(
            "WITH RECURSIVE numbers (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < %s) "
            f"INSERT INTO {meta.db_table} (name, {columns}) "
            f"SELECT name || '-' || n, {columns} FROM {meta.db_table}, numbers WHERE id = %s AND n > 1",
            [count, first.pk],
        )
        names = "cdp_url, document, last_good_document"
        documents = SessionDocument._meta.db_table
        cursor.execute(
            f"INSERT INTO {documents} (session_id, {names}) SELECT id, {names} "
            f"FROM {meta.db_table}, {documents} d WHERE d.session_id = %s AND id > %s",
            [first.pk, first.pk],
        )


def read_hints() -> None:
    """Let SQLite forget the statistics of an ``ANALYZE`` that was rolled back, and read the estimates."""
    if connection.vendor == "sqlite":
        with connection.cursor() as cursor:
            cursor.execute("ANALYZE sqlite_master")


def forget_sessions(*names: str) -> None:
    """Delete live rows, all or the named ones, without a cleanup."""
    sessions = BrowserSession.objects.filter(name__in=names) if names else BrowserSession.objects.all()
    keys = list(sessions.values_list("pk", flat=True))
    for rows in (SessionDocument.objects.filter(pk__in=keys), BrowserSession.objects.filter(pk__in=keys)):
        rows._raw_delete(rows.db)


def live() -> list[str]:
    return list(BrowserSession.objects.order_by("name").values_list("name", flat=True))


def archived() -> list[str]:
    return list(ArchivedSession.objects.order_by("name").values_list("name", flat=True))


def plan(as_of: datetime = AS_OF, **criteria: Any) -> CleanupRun:
    return plan_cleanup(Criteria(**criteria), trigger="command", actor="tester", as_of=as_of)


def swept(**criteria: Any) -> CleanupRun:
    return run_cleanup(plan(**(criteria or {"expired": True})))


def assert_counters_equal_rows(run: CleanupRun) -> None:
    rows = run.archived_sessions.all()
    assert run.removed_count == len(rows)
    assert run.removed_bytes == sum(row.size_bytes for row in rows)


def make_policy(name: str = "Tidy", *steps: str | tuple[str, float], **fields: Any) -> CleanupPolicy:
    """Make a policy without safety limits, with steps such as ``"invalid"`` and ``("expired", 7)``.

    A policy of that name that has no runs is replaced: the migration installs some, which a test that
    flushes the database has deleted.
    """
    CleanupPolicy.objects.filter(name=name, runs=None).delete()
    policy = CleanupPolicy.objects.create(name=name, **{"brake_percent": None, **fields})
    for position, step in enumerate(steps or ("expired", "invalid"), start=1):
        criterion, max_age_days = (step, None) if isinstance(step, str) else step
        policy.steps.create(position=position, criterion=criterion, max_age_days=max_age_days)
    return policy


def run_sweep(policy: CleanupPolicy, due_at: datetime = DUE, **options: Any) -> SweepResult:
    return sweep(policy, due_at=due_at, trigger="schedule", actor=policy.name, **options)


def run_rows() -> list[tuple[Any, ...]]:
    """Return step, state and removed sessions of each run, in the order in which they were planned."""
    rows = CleanupRun.objects.order_by("pk").values_list("step_position", "state", "removed_count")
    return list(rows)


def sync(directory: SessionDirectory) -> SyncResult:
    return sync_directory(directory, trigger="command", actor="tester")


def counts(result: SyncResult) -> tuple[int, int, int, int]:
    return result.added, result.changed, result.unchanged, result.vanished


def names_in(folder: Path) -> list[str]:
    """Return the names of all files in a folder, those of sessions without ``.json``."""
    return sorted(path.name.removesuffix(".json") for path in folder.iterdir())


def sync_four_sessions(folder: Path) -> Path:
    """Sync a good session, an old one, an invalid one, and an old one that is pinned."""
    put(folder, "good")
    put(folder, "old", **OLD)
    put(folder, "invalid", cdp_url="", session_id="")
    put(folder, "pinned", **OLD)
    sync(register_directory(folder))
    BrowserSession.objects.filter(name="pinned").update(is_pinned=True)
    return folder


def sync_three_sessions(folder: Path) -> Path:
    """Sync a recent session, an expired one and an invalid one."""
    put(folder, "recent", **aged(0))
    put(folder, "expired", **aged(8))
    put(folder, "invalid", **aged(0), cdp_url="")
    sync(register_directory(folder))
    return folder


def truth_table() -> dict[str, dict[str, Any]]:
    """Return what each file of ``SESSION_FILES`` is reported as and removed by."""
    files: dict[str, dict[str, Any]] = json.loads((SESSION_FILES / "expected.json").read_text())["files"]
    return files


def copy_session_files(folder: Path) -> Path:
    """Copy the files of the truth table to a place where they may be removed."""
    shutil.copytree(SESSION_FILES / "sessions", folder)
    return folder


class Queued(Sequence[tuple[Any, ...]]):
    """The tasks that were stored for the worker, as (name, argument, …), read anew on each access."""

    def _read(self) -> list[tuple[Any, ...]]:
        return [(row.task, *row.arguments) for row in QueuedTask.objects.order_by("pk")]

    def __getitem__(self, index: Any) -> Any:
        return self._read()[index]

    def __len__(self) -> int:
        return len(self._read())

    def __eq__(self, other: object) -> bool:
        return self._read() == other

    __hash__ = None  # type: ignore[assignment]
