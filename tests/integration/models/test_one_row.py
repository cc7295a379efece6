"""The migration to one row for each session loses nothing, also if it is interrupted."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.contrib.admin.models import CHANGE, LogEntry
from django.contrib.auth.models import User
from django.contrib.contenttypes.models import ContentType
from django.core.management import CommandError, call_command
from django.db import connection
from django.db.migrations.recorder import MigrationRecorder

from raptor_admin import upgrade
from sessions_app.cleanup import run_cleanup, undo_cleanup
from sessions_app.migrations.one_row import begin, copying, finishing
from sessions_app.migrations.one_row.tables import OLD_LIVE, OURS, run_sql, tables_of
from sessions_app.models import (
    ArchivedSession,
    BrowserSession,
    CleanupRun,
    PlannedSessions,
    SessionDirectory,
    SessionDocument,
    SessionEvent,
)
from sessions_app.models.clock import database_now
from sessions_app.session.browser_states import BrowserState
from tests.factories import AS_OF, OLD, archived, live, make_session, names_in, put, sync
from tests.faults import Died, Faulty
from tests.old_tables import (
    ADDED_AT,
    MIGRATION,
    UNKNOWN_RUN,
    contents,
    fill,
    make_live,
    make_removed,
    make_run,
    old_rows,
    old_tables,
    step,
)

pytestmark = pytest.mark.django_db(transaction=True)

# Columns that both designs have, apart from the state of a browser at an earlier endpoint.
_CHANGED = {"id", "past_runs", "restored_at", "browser_endpoint", "browser_state", "browser_since"}
_OF_DOCUMENTS = ("cdp_url", "document", "last_good_document")


@pytest.fixture
def old() -> Iterator[Any]:
    with old_tables() as migration:
        yield migration.apps


def migrated_rows() -> dict[tuple[str, bool], dict[str, Any]]:
    found = {}
    for row in BrowserSession._base_manager.values(*_all_columns()):
        content = {name: row.pop(f"content__{name}") for name in _OF_DOCUMENTS}
        content = {
            key: bytes(value) if isinstance(value, memoryview) else value for key, value in content.items()
        }
        found[row["name"], row["run_id"] is not None] = {**row, **content}
    return found


def _all_columns() -> list[str]:
    own = [field.attname for field in BrowserSession._meta.local_concrete_fields]
    return [*own, *(f"content__{name}" for name in _OF_DOCUMENTS)]


def test_every_column_of_every_row_survives(old: Any) -> None:
    fill(old)
    before = old_rows(old)
    step().forwards()
    after = migrated_rows()
    assert after.keys() == before.keys()
    for key, row in before.items():
        kept = {name: value for name, value in row.items() if name not in _CHANGED}
        assert {name: after[key][name] for name in kept} == kept
    assert SessionDocument.objects.count() == len(before)


def test_a_removed_session_with_the_id_of_a_live_one_has_a_new_id_and_its_references(old: Any) -> None:
    fill(old)
    highest = max(row["id"] for row in old_rows(old).values())
    step().forwards()
    twin, back = ArchivedSession.objects.get(name="twin"), BrowserSession.objects.get(name="restored")
    assert twin.pk == highest + 1
    interrupted, planned = PlannedSessions.objects.order_by("pk")
    assert twin.pk in interrupted.ids_json
    assert planned.ids_json == [back.pk]
    opened = SessionEvent.objects.filter(code="opened").order_by("at")
    assert list(opened.values_list("session_key", flat=True)) == [twin.pk, back.pk]
    assert make_session("new").pk > twin.pk


def test_each_session_keeps_its_own_log_entries(old: Any, root: User) -> None:
    shared = make_live(old, "live").pk
    make_removed(old, shared, "removed", make_run(old))
    kind = ContentType.objects.get_for_model(BrowserSession)
    for instant in (ADDED_AT - timedelta(minutes=1), AS_OF):
        LogEntry.objects.create(
            user=root, content_type=kind, object_id=str(shared), action_flag=CHANGE, action_time=instant
        )
    step().forwards()
    entries = LogEntry.objects.order_by("action_time").values_list("object_id", flat=True)
    assert list(entries) == [str(ArchivedSession.objects.get().pk), str(shared)]


def test_an_interrupted_removal_of_a_file_is_finished_under_the_new_id(
    old: Any, folder: Path, directory: SessionDirectory
) -> None:
    shared = make_live(old, "live").pk
    removed = {"directory_id": directory.pk, "file_name": "old.json"}
    make_removed(old, shared, "old", make_run(old), columns=removed)
    put(folder, "old", **OLD).rename(folder / f".removing-{shared}")
    step().forwards()
    assert names_in(folder) == [f".removing-{ArchivedSession.objects.get().pk}"]
    # It is not the file that was archived, so it is put back and read as a new session.
    sync(directory)
    assert ".removing" not in " ".join(names_in(folder))


def test_states_of_browsers_belong_to_the_present_endpoint(old: Any) -> None:
    fill(old)
    step().forwards()
    states = dict(BrowserSession.objects.values_list("name", "browser_state"))
    assert (states["gone"], states["other"], states["plain"]) == (BrowserState.GONE, None, None)
    assert BrowserSession.objects.get(name="gone").in_use_at == AS_OF


def test_endpoints_have_a_length_and_a_part_that_is_shown(old: Any) -> None:
    fill(old)
    step().forwards()
    shown = dict(BrowserSession.objects.values_list("name", "shown_endpoint"))
    assert (shown["plain"], shown["invalid"], shown["long"]) == ("ws://127.0.0.1:9222", "", "ws://h")
    problems = {one.name: one.problem_set.codes for one in BrowserSession.objects.all()}
    assert problems["long"] == ["invalid_cdp_url"]
    assert problems["invalid"] == ["missing_session_id", "missing_cdp_url"]


def test_earlier_runs_become_events(old: Any) -> None:
    fill(old)
    step().forwards()
    back = BrowserSession.objects.get(name="restored")
    events = SessionEvent.objects.filter(session_key=back.pk, code="restored").order_by("pk")
    first = CleanupRun.objects.order_by("pk")[0]
    assert list(events.values_list("run_key", "removed_at")) == [
        (UNKNOWN_RUN, None),
        (first.pk, first.finished_at),
    ]
    assert events[1].at == AS_OF + timedelta(hours=2)
    assert "unknown" in events[0].details
    assert back.restored_from == first.pk


def test_interrupted_runs_resume_and_earlier_runs_are_undone(old: Any) -> None:
    run = make_run(
        old, "interrupted", matched_count=3, removed_count=1, removed_bytes=1, position=0, attempt=1
    )
    ids = [make_live(old, name, **OLD).pk for name in ("a", "b")]
    make_removed(old, ids[-1] + 1, "c", run)
    later = make_run(old, "planned", matched_count=2, planned_at=database_now())
    step().forwards()
    resumed = run_cleanup(CleanupRun.objects.get(pk=run.pk))
    assert (resumed.state, resumed.removed_count, live()) == ("succeeded", 3, [])
    assert undo_cleanup(resumed).restored_count == 3
    # The undo dates the sessions after the seal of the plan.
    assert run_cleanup(CleanupRun.objects.get(pk=later.pk), trigger="").removed_count == 0
    assert live() == ["a", "b", "c"]


@pytest.mark.parametrize("is_after", [False, True], ids=["before", "after"])
def test_an_interrupted_migration_is_resumed_with_the_same_result(
    old: Any, is_after: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(copying, "BATCH_ROWS", 3)
    fill(old)
    step().forwards()
    expected = _without_run_numbers(contents())
    fault, has_failed = 1 + is_after, True
    while has_failed:
        step().restart()
        fill(old)
        with Faulty(fault, is_after=is_after) as faulty, suppress(Died):
            step().forwards()
        has_failed = faulty.has_failed
        # As the end of a process does.
        connection.close()
        step().forwards()
        assert _without_run_numbers(contents()) == expected
        fault += 5


def _without_run_numbers(found: dict[str, list[tuple[Any, ...]]]) -> dict[str, Any]:
    """Return the number of rows and the documents: each try has other numbers of runs and sessions."""
    sessions = [row[1:] for row in found.pop("sessions_app_sessiondocument")]
    named = BrowserSession._base_manager.order_by("name", "run").values_list(
        "namespace", "name", "size_bytes", "updated_at", "added_at", "problems", "shown_endpoint", "reasons"
    )
    events = SessionEvent.objects.order_by("at", "code", "pk").values_list(
        "code", "at", "removed_at", "actor", "details"
    )
    return {
        "documents": sorted(sessions, key=repr),
        "sessions": list(named),
        "events": sorted(events, key=repr),
        "counts": {table: len(rows) for table, rows in found.items()},
    }


def test_a_run_at_work_refuses_the_migration(old: Any) -> None:
    make_live(old, "one")
    run = make_run(old, "running", heartbeat_at=database_now())
    with pytest.raises(CommandError, match=f"Run {run.pk} is at work"):
        step().forwards()
    assert OLD_LIVE not in tables_of(connection)
    old.get_model("sessions_app", "CleanupRun").objects.update(heartbeat_at=AS_OF)
    step().forwards()
    assert live() == ["one"]


@pytest.mark.skipif("connection.vendor != 'sqlite'", reason="the disk of the server is not visible")
def test_a_disk_without_room_for_a_second_copy_refuses_the_migration(
    old: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_live(old, "one")
    with monkeypatch.context() as patched:
        patched.setattr(begin, "free_bytes", lambda folder: 1_000)
        with pytest.raises(CommandError, match="Nothing was changed"):
            step().forwards()
    assert OLD_LIVE not in tables_of(connection)


def test_a_copy_that_differs_stops_the_migration(old: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    make_live(old, "one")
    build = finishing.compare

    def spoil(*args: Any) -> None:
        run_sql(connection, "UPDATE sessions_app_sessiondocument SET document = %s", [b"spoiled"])
        build(*args)

    monkeypatch.setattr("sessions_app.migrations.one_row.operation.compare", spoil)
    with pytest.raises(CommandError, match="differs"):
        step().forwards()


def test_a_process_with_the_old_code_fails_loudly(old: Any) -> None:
    make_live(old, "one")
    step().forwards()
    with pytest.raises(Exception, match="cdp_url"):
        make_live(old, "two")
    with pytest.raises(Exception, match="archivedsession"):
        old.get_model("sessions_app", "ArchivedSession").objects.count()


def test_a_command_drops_the_old_tables(old: Any) -> None:
    make_live(old, "one")
    step().forwards()
    assert OLD_LIVE in tables_of(connection)
    call_command("drop_old_tables", "--yes")
    assert not tables_of(connection).intersection(OURS)
    assert live() == ["one"]


def test_a_panel_does_not_start_a_long_copy_by_itself(old: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    make_live(old, "one")
    make_live(old, "two")
    recorder = MigrationRecorder(connection)
    upgrade.refuse_long_copy()
    recorder.record_unapplied("sessions_app", MIGRATION)
    try:
        upgrade.refuse_long_copy()
        monkeypatch.setattr(upgrade, "COPIED_AT_ONCE", 1)
        with pytest.raises(CommandError, match=r"2 sessions must be copied.*1 minute.*manage\.py migrate"):
            upgrade.refuse_long_copy()
    finally:
        recorder.record_applied("sessions_app", MIGRATION)
    upgrade.refuse_long_copy()


def test_an_empty_database_keeps_no_old_tables(old: Any) -> None:
    step().forwards()
    assert not tables_of(connection).intersection(OURS)


def test_a_database_with_sessions_does_not_go_back(old: Any) -> None:
    make_live(old, "one")
    step().forwards()
    with pytest.raises(CommandError, match="Restore a backup"):
        step().backwards()
    assert live() == ["one"]


def test_the_ids_of_deleted_sessions_are_not_reused(old: Any) -> None:
    last = make_live(old, "one").pk
    old.get_model("sessions_app", "BrowserSession").objects.all().delete()
    make_run(old, position=last + 3)
    step().forwards()
    assert make_session("new").pk > last + 3
    assert archived() == []
