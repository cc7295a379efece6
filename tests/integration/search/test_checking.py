"""The nightly check finds and repairs a damaged or incomplete index."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from django.db import connection

from sessions_app import tasks
from sessions_app.models import BrowserSession, SessionSearch
from sessions_app.search import check_index, find, prepare, trigrams
from tests.factories import build_session, forget_sessions, make_session

pytestmark = pytest.mark.django_db

only_sqlite = pytest.mark.skipif(
    "connection.vendor != 'sqlite'", reason="the index of PostgreSQL is checked by the server"
)


def execute(*statements: str) -> None:
    with connection.cursor() as cursor:
        for statement in statements:
            cursor.execute(statement)


@pytest.fixture(autouse=True)
def look_again() -> Iterator[None]:
    trigrams._ready.clear()
    yield
    trigrams._ready.clear()


def test_a_whole_index_is_left_alone() -> None:
    make_session("cart")
    assert check_index() == (True, False, 0, 0)
    assert tasks.check_index() == (
        "The search index is whole: 0 missing sessions added, 0 deleted sessions removed."
    )


def test_missing_and_deleted_sessions_are_repaired() -> None:
    make_session("gone")
    make_session("kept")
    BrowserSession.objects.bulk_create([build_session("added")])
    forget_sessions("gone")
    assert check_index() == (True, False, 1, 1)
    assert SessionSearch.objects.count() == 2
    assert check_index() == (True, False, 0, 0)


@only_sqlite
def test_a_damaged_index_is_built_again() -> None:
    session = make_session("cart")
    trigger = f"{trigrams.INDEX}_update"
    execute(f"DROP TRIGGER {trigger}")
    SessionSearch.objects.filter(pk=session.pk).update(text="zebra")
    execute(f"CREATE TRIGGER {trigger} {trigrams._TRIGGERS[trigger]}")
    assert trigrams.is_damaged() is True
    assert check_index() == (True, True, 0, 0)
    assert trigrams.is_damaged() is False
    assert find(["zebra"], limit=9).ids == [session.pk]


@only_sqlite
def test_a_missing_table_or_trigger_is_created_again() -> None:
    session = make_session("cart")
    triggers = [f"DROP TRIGGER {name}" for name in trigrams._TRIGGERS]
    execute(*triggers, f"DROP TABLE {trigrams.INDEX}")
    assert not trigrams.is_ready()
    other = make_session("cart-2")
    assert prepare()
    assert find(["cart"], limit=9).ids == [other.pk, session.pk]
    assert not trigrams.is_damaged()


@only_sqlite
def test_statistics_that_slow_the_index_down_are_dropped() -> None:
    make_session("cart")

    def analyzed() -> list[str]:
        with connection.cursor() as cursor:
            cursor.execute("SELECT DISTINCT tbl FROM sqlite_stat1")
            return [table for (table,) in cursor.fetchall()]

    execute("ANALYZE")
    assert f"{trigrams.INDEX}_data" in analyzed()
    assert prepare()
    assert [table for table in analyzed() if table.startswith(trigrams.INDEX)] == []
    assert "sessions_app_browsersession" in analyzed()


@only_sqlite
def test_texts_can_be_stored_by_a_sqlite_without_the_extension(monkeypatch: pytest.MonkeyPatch) -> None:
    make_session("cart")
    execute(f"DROP TRIGGER {trigrams.INDEX}_insert")
    monkeypatch.setattr(trigrams, "_has_trigrams", lambda cursor: False)
    assert prepare() is False
    assert check_index().describe().startswith("The database cannot index parts of texts")
    make_session("cart-2")
    monkeypatch.undo()
    assert prepare()
    assert len(find(["cart"], limit=9).ids) == 2


@pytest.mark.skipif("connection.vendor != 'postgresql'", reason="concerns an extension of PostgreSQL")
def test_a_role_without_the_right_to_the_extension_keeps_the_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    make_session("cart")
    execute(f"DROP INDEX {trigrams.INDEX}", "DROP EXTENSION pg_trgm")
    execute("CREATE ROLE raptor_limited", "SET LOCAL ROLE raptor_limited")
    assert prepare() is False
    execute("RESET ROLE")
    assert prepare() is True
    assert len(find(["cart"], limit=9).ids) == 1


def test_the_index_follows_the_deletion_of_all_texts() -> None:
    make_session("cart")
    SessionSearch.objects.all().delete()
    assert find(["cart"], limit=9, reads_new=False).ids == []
    assert not trigrams.is_damaged()
