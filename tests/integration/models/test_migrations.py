"""The effect of migrations on existing rows."""

from __future__ import annotations

import importlib
from typing import Any

import pytest
from django.apps import apps
from django.db import connection

from sessions_app.cleanup import run_cleanup
from sessions_app.models import ArchivedSession, BrowserSession
from tests.factories import ENDPOINT, OLD, SECRET, archived, live, make_session, plan, swept

pytestmark = pytest.mark.django_db


def test_the_search_text_is_filled_from_the_documents_and_plans_stay_valid() -> None:
    filling: Any = importlib.import_module("sessions_app.migrations.0009_fill_metadata_text")
    make_session("swept", **OLD, metadata={"suite": "smoke"})
    swept()
    make_session("old", **OLD, metadata={"suite": "smoke"})
    make_session("none", metadata=None)
    BrowserSession.objects.create(namespace="shop", name="corrupted", is_corrupted=True, document=b"{")
    run = plan(expired=True, invalid=True)
    with connection.cursor() as cursor:
        for model in (BrowserSession, ArchivedSession):
            cursor.execute(f"UPDATE {model._meta.db_table} SET metadata_text = ''")
    filling.CHUNK_ROWS = 2
    filling.fill_metadata_text(apps, connection.schema_editor())
    assert set(BrowserSession.objects.values_list("name", "metadata_text")) == {
        ("old", "smoke"),
        ("none", ""),
        ("corrupted", ""),
    }
    assert ArchivedSession.objects.get().metadata_text == "smoke"
    assert run_cleanup(run).removed_count == 2
    assert (live(), archived()) == (["none"], ["corrupted", "old", "swept"])


def test_runs_over_vanished_files_get_the_namespace_of_the_files() -> None:
    filling: Any = importlib.import_module("sessions_app.migrations.0009_fill_metadata_text")
    gone, other = (make_session(name, namespace=name) for name in ("gone", "other"))
    vanished = swept(session_ids=(gone.pk,), has_vanished=True)
    manual = swept(session_ids=(other.pk,))
    filling.name_vanished_namespaces(apps, connection.schema_editor())
    for run in (vanished, manual):
        run.refresh_from_db()
    assert (vanished.criteria.namespace, manual.criteria.namespace) == ("gone", "")


def test_columns_are_read_again_with_the_present_masks_and_plans_stay_valid() -> None:
    reading: Any = importlib.import_module("sessions_app.migrations.0014_masked_columns")
    secret = {
        "session_id": SECRET,
        "cdp_url": f"{ENDPOINT}/{'x' * 3_000}",
        "metadata": {"token": "abc", "n": 1},
    }
    make_session("swept", **OLD, **secret)
    swept()
    make_session("old", **OLD, **secret)
    BrowserSession.objects.create(namespace="shop", name="corrupted", is_corrupted=True, document=b"{")
    run = plan(expired=True, invalid=True)
    with connection.cursor() as cursor:
        for model in (BrowserSession, ArchivedSession):
            cursor.execute(
                f"UPDATE {model._meta.db_table} SET session_id = %s, metadata_text = 'abc 1'", [SECRET]
            )
    reading.CHUNK_ROWS = 1
    reading.read_columns_again(apps, connection.schema_editor())
    for session in (BrowserSession.objects.get(name="old"), ArchivedSession.objects.get()):
        assert (session.session_id, session.metadata_text) == ("…", "1")
        assert (len(session.cdp_url), session.problem_set.codes) == (2_001, ["invalid_cdp_url"])
    assert run_cleanup(run).removed_count == 2
