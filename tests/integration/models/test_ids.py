"""The id of a session is never reused, even if an upgrade rebuilds the tables."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pytest
from django.contrib.admin.models import CHANGE, LogEntry
from django.contrib.auth.models import User
from django.contrib.contenttypes.models import ContentType
from django.core.management import call_command
from django.db import connection

from sessions_app import tasks
from sessions_app.cleanup import empty_archive, run_cleanup, undo_cleanup
from sessions_app.deadline import Deadline
from sessions_app.models import ArchivedSession, BrowserSession, PlannedSessions, SessionDirectory
from sessions_app.models.clock import database_now
from sessions_app.models.ids import repair_after_migration
from tests.factories import (
    OLD,
    PROJECT_DIR,
    archived,
    live,
    make_session,
    make_sessions,
    names_in,
    plan,
    put,
    swept,
    sync,
)

pytestmark = pytest.mark.django_db

UPGRADE = """
import json, sys, django
django.setup()
from django.core.management import call_command
from sessions_app.cleanup import empty_archive, run_cleanup, undo_cleanup
from sessions_app.models import ArchivedSession, BrowserSession
from sessions_app.models.clock import database_now
from tests.factories import OLD
from tests.factories import make_session, plan

call_command("migrate", verbosity=0)
for name in ("a", "b", "c"):
    make_session(name)
for name in ("d", "e"):
    make_session(name, **OLD)
first = run_cleanup(plan(expired=True))
if "emptied" in sys.argv:
    empty_archive(database_now())
call_command("migrate", "sessions_app", "0007", verbosity=0)
call_command("migrate", verbosity=0)
new = make_session("new", **OLD)
found = {"new id": new.pk}
second = run_cleanup(plan(expired=True))
found["removed"] = second.removed_count
if "emptied" not in sys.argv:
    undo_cleanup(first)
undo_cleanup(second)
found["live"] = sorted(BrowserSession.objects.values_list("name", flat=True))
found["archived"] = ArchivedSession.objects.count()
print(json.dumps(found))
"""


def upgraded(folder: Path, *arguments: str) -> dict[str, object]:
    """Migrate a new SQLite database back and forward, with sessions in its archive."""
    environment = {
        **os.environ,
        "RAPTOR_VAR_DIR": str(folder),
        "RAPTOR_DATABASE_URL": f"sqlite:///{folder}/own.sqlite3",
        "DJANGO_SETTINGS_MODULE": "raptor_admin.settings",
    }
    done = subprocess.run(
        [sys.executable, "-c", UPGRADE, *arguments],
        env=environment,
        cwd=PROJECT_DIR,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, object] = json.loads(done.stdout)
    return found


def test_an_upgrade_does_not_reuse_the_id_of_an_archived_session(tmp_path: Path) -> None:
    assert upgraded(tmp_path) == {
        "new id": 6,
        "removed": 1,
        "live": ["a", "b", "c", "d", "e", "new"],
        "archived": 0,
    }


def test_an_upgrade_does_not_reuse_the_id_of_a_session_deleted_from_the_archive(tmp_path: Path) -> None:
    found = upgraded(tmp_path, "emptied")
    assert (found["new id"], found["live"]) == (6, ["a", "b", "c", "new"])


def set_sequence_back(to: int) -> None:
    with connection.cursor() as cursor:
        if connection.vendor == "sqlite":
            cursor.execute(
                "UPDATE sqlite_sequence SET seq = %s WHERE name = 'sessions_app_browsersession'", [to]
            )
        else:
            cursor.execute(
                "SELECT setval(pg_get_serial_sequence('sessions_app_browsersession', 'id'), %s)", [to]
            )


@pytest.mark.parametrize("is_by_worker", [False, True], ids=["migrate", "worker"])
def test_a_sequence_that_is_behind_is_raised(is_by_worker: bool) -> None:
    make_session("kept")
    gone = [make_session(name, **OLD).pk for name in ("a", "b")]
    swept()
    set_sequence_back(gone[0] - 1)
    if is_by_worker:
        tasks.tidy_up()
    else:
        call_command("migrate", verbosity=0)
    assert make_session("new").pk > gone[1]


def test_the_ids_of_deleted_sessions_are_not_reused() -> None:
    gone = [make_session(name, **OLD).pk for name in ("a", "b")]
    swept()
    empty_archive(database_now() + timedelta(days=1))
    set_sequence_back(1)
    repair_after_migration("default")
    assert make_session("new").pk > gone[1]


def test_the_ids_of_a_plan_are_not_reused() -> None:
    make_session("old", **OLD)
    listed = plan(expired=True)
    PlannedSessions.objects.filter(run=listed).update(ids_json=[3, 700_000])
    repair_after_migration("default")
    assert make_session("new").pk == 700_001


def test_a_correct_sequence_is_not_changed() -> None:
    last = make_session("last").pk
    repair_after_migration("default")
    assert make_session("new").pk == last + 1


def make_twin(pk: int) -> BrowserSession:
    """Make a session with the id of an archived one, as an upgrade once could."""
    twin = make_session("twin", **OLD)
    BrowserSession.objects.filter(pk=twin.pk).update(id=pk, updated_at=database_now())
    return BrowserSession.objects.get(pk=pk)


def test_sessions_that_share_an_id_are_separated_and_nothing_is_lost() -> None:
    old = make_session("old", **OLD)
    first = swept()
    twin = make_twin(old.pk)
    newest = make_session("newest").pk
    repair_after_migration("default")
    moved = ArchivedSession.objects.get()
    assert (moved.name, live()) == ("old", ["newest", "twin"])
    assert moved.pk > newest
    assert BrowserSession.objects.get(pk=twin.pk).name == "twin"
    assert make_session("next").pk > moved.pk
    # Each is removed and restored by its own run.
    second = swept()
    assert archived() == ["old", "twin"]
    undo_cleanup(first)
    undo_cleanup(second)
    assert live() == ["newest", "next", "old", "twin"]
    assert bytes(BrowserSession.objects.get(name="old").document) == bytes(old.document)
    repair_after_migration("default")
    assert BrowserSession.objects.get(name="old").pk == moved.pk


def test_an_interrupted_run_resumes_after_its_sessions_have_new_ids() -> None:
    make_sessions(4, **OLD)
    run = run_cleanup(plan(expired=True), deadline=Deadline(0), batch_size=2)
    pair = ArchivedSession.objects.order_by("pk").values_list("pk", flat=True)[0]
    make_twin(pair)
    repair_after_migration("default")
    moved = ArchivedSession.objects.order_by("-pk").values_list("pk", flat=True)[0]
    assert run.planned_sessions.ids_json[-1] == moved
    assert pair not in PlannedSessions.objects.get(run=run).ids_json
    run_cleanup(run, batch_size=2)
    assert (run.removed_count, run.skipped_count, live()) == (4, 0, ["twin"])
    assert undo_cleanup(run).restored_count == 4


def test_a_plan_of_the_live_session_keeps_its_id() -> None:
    old = make_session("old", **OLD)
    swept()
    make_twin(old.pk)
    later = plan(expired=True)
    repair_after_migration("default")
    assert PlannedSessions.objects.get(run=later).ids_json == [old.pk]


def test_each_session_keeps_its_own_history(root: User) -> None:
    old = make_session("old", **OLD)
    kind = ContentType.objects.get_for_model(BrowserSession)
    entries = LogEntry.objects.filter(content_type=kind)
    pinned_at = database_now() - timedelta(minutes=1)
    for instant in (pinned_at, database_now() + timedelta(minutes=1)):
        LogEntry.objects.create(
            user=root, content_type=kind, object_id=str(old.pk), action_flag=CHANGE, action_time=instant
        )
    swept()
    make_twin(old.pk)
    repair_after_migration("default")
    moved = ArchivedSession.objects.get().pk
    assert entries.get(action_time=pinned_at).object_id == str(moved)
    assert entries.exclude(action_time=pinned_at).get().object_id == str(old.pk)


def test_an_interrupted_removal_of_a_file_is_finished_under_the_new_id(
    folder: Path, directory: SessionDirectory
) -> None:
    put(folder, "old", **OLD)
    sync(directory)
    swept()
    old = ArchivedSession.objects.get().pk
    put(folder, "old", **OLD).rename(folder / f".removing-{old}")
    make_twin(old)
    repair_after_migration("default")
    assert names_in(folder) == [f".removing-{ArchivedSession.objects.get().pk}"]
    # It is not the file that was archived, so it is put back and read as a new session.
    sync(directory)
    assert ".removing" not in " ".join(names_in(folder))
