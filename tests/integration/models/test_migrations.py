"""The effect of migrations on existing rows."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from typing import Any

import pytest
from django.apps import apps
from django.db import connection

from sessions_app.cleanup import run_cleanup
from sessions_app.models import CleanupRun
from sessions_app.models.clock import database_now
from sessions_app.session.problems import Problem
from tests.factories import ENDPOINT, OLD, SECRET, archived, live, make_session, swept
from tests.old_tables import make_live, make_removed, make_run, old_tables, step

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def old() -> Iterator[Any]:
    """The models of the tables that these migrations changed."""
    with old_tables() as migration:
        yield migration.apps


def sessions_of(apps: Any) -> list[Any]:
    models = (apps.get_model("sessions_app", name) for name in ("BrowserSession", "ArchivedSession"))
    return [row for model in models for row in model.objects.order_by("name")]


def make_old_sessions(apps: Any, columns: dict[str, Any], **changes: Any) -> Any:
    """Store two live sessions and a removed one, with a plan of the live ones."""
    make_live(apps, "old", columns=columns, **OLD, **changes)
    corrupted = make_live(apps, "corrupted", document=b"{")
    swept_run = make_run(apps, removed_count=1, matched_count=1)
    make_removed(apps, corrupted.pk + 1, "swept", swept_run, columns=columns, **changes)
    now = database_now()
    return make_run(apps, "planned", matched_count=2, planned_at=now, sealed_at=now)


def assert_planned_sessions_are_removed(run: Any) -> None:
    step().forwards()
    assert run_cleanup(CleanupRun.objects.get(pk=run.pk)).removed_count == 2
    assert (live(), archived()) == ([], ["corrupted", "old", "swept"])


def test_runs_over_vanished_files_get_the_namespace_of_the_files() -> None:
    filling: Any = importlib.import_module("sessions_app.migrations.0009_fill_metadata_text")
    gone, other = (make_session(name, namespace=name) for name in ("gone", "other"))
    vanished = swept(session_ids=(gone.pk,), has_vanished=True)
    manual = swept(session_ids=(other.pk,))
    filling.name_vanished_namespaces(apps, connection.schema_editor())
    for run in (vanished, manual):
        run.refresh_from_db()
    assert (vanished.criteria.namespace, manual.criteria.namespace) == ("gone", "")


def test_columns_are_read_again_with_the_present_masks_and_plans_stay_valid(
    old: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    reading: Any = importlib.import_module("sessions_app.migrations.0014_masked_columns")
    secret = {
        "session_id": SECRET,
        "cdp_url": f"{ENDPOINT}/{'x' * 3_000}",
    }
    run = make_old_sessions(old, {"session_id": SECRET}, **secret)
    monkeypatch.setattr(reading, "CHUNK_ROWS", 1)
    with connection.schema_editor() as editor:
        reading.read_columns_again(old, editor)
    for row in (row for row in sessions_of(old) if row.name != "corrupted"):
        assert row.session_id == "…"
        assert (len(row.cdp_url), row.problems) == (2_001, Problem.INVALID_CDP_URL)
    assert_planned_sessions_are_removed(run)
