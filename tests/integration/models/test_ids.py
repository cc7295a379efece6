"""The id of a session is never reused, even if an upgrade rebuilds the tables."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.core.management import call_command
from django.db import connection

from sessions_app import tasks
from sessions_app.cleanup import empty_archive
from sessions_app.models import PlannedSessions
from sessions_app.models.clock import database_now
from sessions_app.models.ids import repair_after_migration
from tests.factories import (
    OLD,
    make_session,
    plan,
    swept,
)

pytestmark = pytest.mark.django_db


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
