"""A database as it was before each session became one row, and what must be in it after the migration."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any

from django.db import connection
from django.db.migrations.executor import MigrationExecutor

from sessions_app.migrations.one_row.finishing import drop_old_tables
from sessions_app.migrations.one_row.tables import (
    ARCHIVE,
    DOCUMENTS,
    LIVE,
    OLD_ARCHIVE,
    OLD_LIVE,
    run_sql,
    tables_of,
)
from sessions_app.models.planner_hints import give_hints
from sessions_app.session.criteria import Criteria
from tests.factories import AS_OF, ENDPOINT, OLD, build_session

MIGRATION = "0025_one_row"
UNKNOWN_RUN = 10**9
"""A deleted run, with a number that no run of a test has."""
ADDED_AT = datetime(2026, 11, 1, 8, 0, 0, 123456, tzinfo=UTC)
_ROW_TABLES = (DOCUMENTS, LIVE, ARCHIVE, OLD_LIVE, OLD_ARCHIVE, "sessions_app_sessionevent")
_RUN_TABLES = ("sessions_app_plannedsessions", "sessions_app_cleanuprun", "sessions_app_sessiondirectory")


class Step:
    """The operation of the migration alone: the states of all migrations take seconds to load."""

    def __init__(self) -> None:
        loader = MigrationExecutor(connection).loader
        node = ("sessions_app", MIGRATION)
        self.operation = loader.get_migration(*node).operations[0]
        self.before = loader.project_state([node], at_end=False)
        self.after = loader.project_state([node])

    @property
    def apps(self) -> Any:
        """The models of the old tables."""
        return self.before.apps

    def forwards(self) -> None:
        with connection.schema_editor(atomic=False) as editor:
            self.operation.database_forwards("sessions_app", editor, self.before, self.after)

    def backwards(self) -> None:
        with connection.schema_editor(atomic=False) as editor:
            self.operation.database_backwards("sessions_app", editor, self.after, self.before)

    def restart(self) -> None:
        """Delete all rows, and bring the old tables back."""
        for table in (*_ROW_TABLES, *_RUN_TABLES):
            if table in tables_of(connection):
                run_sql(connection, f"DELETE FROM {table}")
        if ARCHIVE in tables_of(connection):
            return
        if not {LIVE, DOCUMENTS} <= tables_of(connection):
            # A test has interrupted it.
            self.forwards()
        self.backwards()


step = cache(Step)


@contextmanager
def old_tables() -> Iterator[Step]:
    """Bring the old tables back for a test."""
    step().restart()
    try:
        yield step()
    finally:
        step().restart()
        step().forwards()
        drop_old_tables(connection)
        # Dropping the tables deletes the estimates, which the command migrate stores again.
        give_hints("default")


def old_values(name: str, **changes: Any) -> dict[str, Any]:
    """Return the columns of an old row."""
    built = build_session(name, **changes)
    names = (
        "namespace name size_bytes session_id cdp_url browser_type created_at last_accessed is_corrupted "
        "machine document"
    )
    values = {column: getattr(built, column) for column in names.split()}
    return {**values, "added_at": ADDED_AT, "updated_at": ADDED_AT + timedelta(hours=1)}


def make_run(apps: Any, state: str = "succeeded", **values: Any) -> Any:
    defaults = {
        "trigger": "command",
        "actor": "tester",
        "criteria_json": Criteria(expired=True).to_json(),
        "as_of": AS_OF,
        "sealed_at": AS_OF,
        "planned_at": AS_OF,
        "started_at": AS_OF,
    }
    return apps.get_model("sessions_app", "CleanupRun").objects.create(
        **{**defaults, "state": state, **values}
    )


def make_live(apps: Any, name: str, *, columns: dict[str, Any] | None = None, **changes: Any) -> Any:
    """Store an old live row; ``columns`` replace those of the document."""
    values = {**old_values(name, **changes), **(columns or {})}
    model = apps.get_model("sessions_app", "BrowserSession")
    row = model.objects.create(**values)
    # The field dates each save by itself.
    model.objects.filter(pk=row.pk).update(updated_at=values["updated_at"])
    return row


def make_removed(
    apps: Any, pk: int, name: str, run: Any, *, columns: dict[str, Any] | None = None, **changes: Any
) -> Any:
    values = {
        **old_values(name, **{**OLD, **changes}),
        "run": run,
        "reasons": 256,
        "removed_at": AS_OF,
        **(columns or {}),
    }
    model = apps.get_model("sessions_app", "ArchivedSession")
    row = model.objects.create(id=pk, **values)
    model.objects.filter(pk=pk).update(updated_at=values["updated_at"])
    return row


def fill(apps: Any) -> None:
    """Store one of each kind of row, and a removed one with the id of a live one."""
    directory = apps.get_model("sessions_app", "SessionDirectory").objects.create(
        path="/nowhere/sessions", namespace="shop"
    )
    stamp = {"file_inode": 7, "file_modified_ns": 1_700_000_000_000_000_001, "file_changed_ns": 2**60}
    first = make_run(apps, finished_at=AS_OF + timedelta(minutes=1), removed_count=1, matched_count=1)
    second = make_run(apps, "interrupted", matched_count=9, removed_count=5)
    make_live(apps, "plain")
    make_live(apps, "invalid", cdp_url="", session_id="")
    make_live(apps, "long", cdp_url="ws://h/" + "x" * 2_500)
    make_live(apps, "corrupted", document=b"\x00{\xff")
    make_live(apps, "pinned", is_pinned=True, columns={"is_pinned": True})
    mirrored = {"directory": directory, "file_name": "mirrored.json", "file_mode": 0o640, **stamp}
    make_live(apps, "mirrored", columns=mirrored)
    kept = {"last_good_document": b'{"good": 1}', "document": b"{", "is_corrupted": True}
    make_live(apps, "broken", columns=kept)
    at = {"browser_since": AS_OF, "browser_state": 3}
    make_live(apps, "gone", columns={**at, "browser_endpoint": ENDPOINT, "in_use_at": AS_OF})
    make_live(apps, "other", columns={**at, "browser_endpoint": "ws://elsewhere/"})
    moved = {"past_runs": [UNKNOWN_RUN, first.pk], "restored_at": AS_OF + timedelta(hours=2)}
    back = make_live(
        apps, "restored", columns={**moved, "directory": directory, "file_name": "restored.json"}
    )
    highest = back.pk
    make_removed(apps, highest + 1, "old", second)
    make_removed(apps, highest + 2, "again", second, columns=moved)
    removed = {**mirrored, "file_name": "removed.json", "has_vanished": True, "is_pinned": True}
    make_removed(apps, highest + 3, "removed", second, columns=removed)
    make_removed(apps, back.pk, "twin", second, columns=kept)
    make_removed(apps, highest + 4, "plain", second, columns={"reasons": 3})
    planned = apps.get_model("sessions_app", "PlannedSessions").objects
    planned.create(run=second, ids_json=[back.pk, highest + 1])
    planned.create(run=make_run(apps, "planned"), ids_json=[back.pk])
    events = apps.get_model("sessions_app", "SessionEvent").objects
    for instant in (ADDED_AT - timedelta(days=1), AS_OF):
        events.create(session_key=back.pk, code="opened", actor="anna", at=instant)


def contents() -> dict[str, list[tuple[Any, ...]]]:
    """Return all rows of the migrated tables, for comparing."""
    found = {}
    with connection.cursor() as cursor:
        for table in (LIVE, DOCUMENTS, "sessions_app_sessionevent", "sessions_app_plannedsessions"):
            columns = "*" if "event" not in table else "session_key, code, at, run_key, actor, details"
            cursor.execute(f"SELECT {columns} FROM {table}")
            rows = [
                tuple(bytes(v) if isinstance(v, memoryview) else v for v in row) for row in cursor.fetchall()
            ]
            found[table] = sorted(rows, key=repr)
    return found


def old_rows(apps: Any) -> dict[tuple[str, bool], dict[str, Any]]:
    """Return the rows of both old tables by name and whether they are removed."""
    found = {}
    for name, is_removed in (("BrowserSession", False), ("ArchivedSession", True)):
        for row in apps.get_model("sessions_app", name).objects.values():
            found[row["name"], is_removed] = {
                key: bytes(value) if isinstance(value, memoryview) else value for key, value in row.items()
            }
    return found


def fill_many(apps: Any, count: int) -> None:
    """Store many plain rows, every third of them removed."""
    values = old_values("any", **OLD)
    run = make_run(apps, matched_count=count, removed_count=count // 3)
    live, removed = (apps.get_model("sessions_app", name) for name in ("BrowserSession", "ArchivedSession"))
    rows: list[Any] = [live(**{**values, "name": f"many-{number}"}) for number in range(count)]
    stored = live.objects.bulk_create(rows)
    gone = [row.pk for row in stored if row.pk % 3 == 0]
    live.objects.filter(pk__in=gone).delete()
    reason = {"run": run, "reasons": 256, "removed_at": AS_OF}
    removed.objects.bulk_create(removed(id=pk, **{**values, **reason, "name": f"gone-{pk}"}) for pk in gone)
