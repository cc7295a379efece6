from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import DatabaseError, IntegrityError, connection, transaction
from django.db.models import QuerySet

from sessions_app.cleanup import run_cleanup, sessions_missing_files, sessions_missing_files_of
from sessions_app.cleanup.plans import in_use
from sessions_app.models import (
    ArchivedSession,
    BrowserSession,
    CleanupRun,
    Probe,
    SessionDirectory,
    SessionDocument,
)
from sessions_app.models.clock import database_now
from sessions_app.session.browser_states import is_gone
from sessions_app.session.lookups import begins_with
from sessions_app.session.problems import Problem, has_problem, is_expired, is_invalid
from tests.factories import AS_OF, OLD, archived, build_session, live, make_session, plan, read_hints

pytestmark = pytest.mark.django_db


@pytest.mark.parametrize(
    ("changes", "codes"),
    [
        ({}, []),
        ({"session_id": ...}, ["missing_session_id"]),
        ({"session_id": " \t\n"}, ["missing_session_id"]),
        ({"session_id": "\u00a0"}, ["missing_session_id"]),
        ({"session_id": 7}, ["missing_session_id"]),
        ({"cdp_url": None}, ["missing_cdp_url"]),
        ({"created_at": "?"}, ["invalid_created_at"]),
        ({"last_accessed": 0}, ["invalid_last_accessed"]),
        ({"browser_type": "Chromium"}, ["invalid_browser_type"]),
        ({"browser_type": "chromium" * 100}, ["invalid_browser_type"]),
        ({"session_id": "", "browser_type": ...}, ["missing_session_id", "invalid_browser_type"]),
    ],
)
def test_the_database_computes_every_broken_rule(changes: dict[str, Any], codes: list[str]) -> None:
    session = make_session("checkout", **changes)
    session.refresh_from_db()
    assert session.problem_set.codes == codes


def test_a_row_written_by_raw_sql_is_evaluated_too() -> None:
    session = make_session("checkout")
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE sessions_app_browsersession SET session_id = '  ', last_accessed = NULL WHERE id = %s",
            [session.pk],
        )
    assert BrowserSession.objects.get().problem_set.codes == ["missing_session_id", "invalid_last_accessed"]


def test_expired_includes_old_sessions_and_unreadable_ages() -> None:
    make_session("fresh")
    make_session("old", **OLD)
    make_session("no-access", last_accessed=None)
    make_session("no-creation", created_at="?")
    make_session("exactly", last_accessed="2026-11-15T12:00:00+00:00")
    make_session("future", last_accessed="2027-01-01T00:00:00+00:00")
    expired = BrowserSession.objects.filter(is_expired(AS_OF - timedelta(days=7)))
    assert sorted(expired.values_list("name", flat=True)) == ["no-access", "no-creation", "old"]


def test_sessions_are_filtered_by_problem() -> None:
    make_session("valid")
    make_session("no-id", session_id="")
    make_session("no-id-no-url", session_id="", cdp_url="")
    found = BrowserSession.objects.filter(has_problem(Problem.MISSING_CDP_URL)).values_list("name", flat=True)
    assert list(found) == ["no-id-no-url"]
    assert BrowserSession.objects.filter(is_invalid()).count() == 2


def test_a_name_is_unique_in_its_namespace() -> None:
    make_session("checkout", namespace="shop")
    make_session("checkout", namespace="bank")
    with pytest.raises(IntegrityError), transaction.atomic():
        make_session("checkout", namespace="shop")


@pytest.mark.parametrize("field", ["name", "namespace"])
def test_a_session_has_a_name_and_a_namespace(field: str) -> None:
    session = make_session("checkout")
    with pytest.raises(IntegrityError), transaction.atomic():
        BrowserSession.objects.filter(pk=session.pk).update(**{field: ""})


def test_every_write_is_dated_by_the_clock_of_the_database() -> None:
    session = make_session("checkout")
    session.refresh_from_db()
    before = session.updated_at
    assert abs(before - database_now()) < timedelta(minutes=1)
    seen = []
    for _ in range(3):
        BrowserSession.objects.update(is_pinned=True)
        seen.append(BrowserSession.objects.get().updated_at)
    session.save()
    seen.append(BrowserSession.objects.get().updated_at)
    assert sorted(seen) == seen
    assert seen[0] >= before


def test_a_time_far_from_now_is_stored_and_listed() -> None:
    make_session("old", last_accessed="0002-01-01T00:00:00+00:00")
    make_session("young", last_accessed="9998-01-01T00:00:00+00:00")
    assert live() == ["old", "young"]
    oldest = BrowserSession.objects.order_by("idle_since")[0]
    assert oldest.last_accessed == datetime(2, 1, 1, tzinfo=UTC)


def test_a_run_cannot_count_more_than_it_matched() -> None:
    now = database_now()
    with pytest.raises(IntegrityError), transaction.atomic():
        CleanupRun.objects.create(
            trigger="command", criteria_json={"all": True}, as_of=now, sealed_at=now, removed_count=1
        )


INDEXED_QUERIES: dict[str, Callable[[], QuerySet[Any, Any]]] = {
    "session_idle": lambda: BrowserSession.objects.filter(is_expired(AS_OF)).order_by("idle_since", "pk")[
        :100
    ],
    "session_invalid": lambda: BrowserSession.objects.filter(is_invalid()).order_by()[:100],
    "session_namespace_idle": lambda: BrowserSession.objects.filter(namespace="shop").order_by("-idle_since")[
        :9
    ],
    "session_browser_idle": lambda: BrowserSession.objects.filter(browser_type="webkit").order_by(
        "-idle_since"
    )[:9],
    "session_size": lambda: BrowserSession.objects.order_by("-size_bytes", "-pk")[:20],
    "session_directory": lambda: BrowserSession.objects.filter(directory_id=1).order_by(),
    "session_name": lambda: BrowserSession.objects.filter(begins_with("log")).order_by(),
    "session_owed ": lambda: sessions_missing_files().filter(directory_id=1).order_by("pk"),
    "session_owed_by_run": lambda: sessions_missing_files_of(CleanupRun(pk=1)).order_by(),
    "session_in_use": lambda: in_use(AS_OF).order_by()[:9],
    "session_browser_state": lambda: BrowserSession.objects.filter(is_gone(AS_OF)).order_by()[:9],
    "archived_run": lambda: CleanupRun(pk=1).archived_sessions.order_by("pk")[:9],
    "archived_removed": lambda: ArchivedSession.objects.order_by("-removed_at", "-pk")[:9],
    "archived_name": lambda: ArchivedSession.objects.filter(begins_with("log")).order_by(),
    "archived_file": lambda: ArchivedSession.objects.filter(directory_id=1, file_name="a.json").order_by(),
    "session_pinned": lambda: BrowserSession.objects.filter(is_pinned=True).values("pk")[:100],
}


def _fill_indexes(cursor: Any) -> None:
    """Store rows for PostgreSQL's planner: scans of empty indexes all cost the same."""
    run = CleanupRun.objects.create(
        trigger="command", criteria_json={"all": True}, as_of=AS_OF, sealed_at=AS_OF
    )
    directory = SessionDirectory.objects.create(path="/nowhere", namespace="shop")
    make_session("one")
    changed = {
        "namespace": "'team-' || i % 100",
        "name": "CASE i % 40 WHEN 0 THEN 'log-' ELSE 'name-' END || i",
        "size_bytes": "i",
        "browser_type": "CASE WHEN i % 50 = 0 THEN 'webkit' ELSE 'chromium' END",
        "session_id": "CASE WHEN i % 20 = 0 THEN '' ELSE 'x' END",
        "last_accessed": "last_accessed - i * interval '1 minute'",
        "is_pinned": "i % 25 = 0",
        "browser_state": "CASE WHEN i % 10 = 0 THEN i % 30 / 10 + 1 END",
        "in_use_at": "CASE WHEN i % 100 = 0 THEN now() END",
        "directory_id": f"CASE WHEN i % 10 = 1 THEN {directory.pk} END",
        "file_name": "i || '.json'",
        "file_changed_ns": "CASE WHEN i % 100 <> 1 THEN i END",
        "run_id": f"CASE WHEN i % 4 = 1 THEN {run.pk} END",
        "reasons": "CASE WHEN i % 4 = 1 THEN 1 END",
        "removed_at": "CASE WHEN i % 4 = 1 THEN now() - i * interval '1 minute' END",
    }
    fields = [f for f in BrowserSession._meta.local_concrete_fields if not (f.generated or f.primary_key)]
    names = [str(field.column) for field in fields]
    values = [changed.get(name, name) for name in names]
    cursor.execute(
        f"INSERT INTO sessions_app_browsersession ({', '.join(names)}) "
        f"SELECT {', '.join(values)} FROM sessions_app_browsersession, generate_series(1, 4000) AS i"
    )
    cursor.execute("ANALYZE sessions_app_browsersession")


@pytest.mark.parametrize("index", INDEXED_QUERIES)
def test_each_index_serves_its_documented_query(index: str) -> None:
    read_hints()
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            _fill_indexes(cursor)
            # A full scan is cheaper for few rows; forbid it to see which index can be used.
            cursor.execute("SET LOCAL enable_seqscan = off")
            cursor.execute("SET LOCAL enable_sort = off")
    assert index in INDEXED_QUERIES[index]().explain()


def test_each_index_has_a_documented_query() -> None:
    indexes = {index.name for index in BrowserSession._meta.indexes}
    assert indexes <= {name.strip() for name in INDEXED_QUERIES}


def test_saving_a_stale_object_of_an_archived_session_is_refused() -> None:
    session = make_session("old", **OLD)
    run_cleanup(plan(expired=True))
    with pytest.raises(DatabaseError), transaction.atomic():
        session.save()
    assert (live(), archived()) == ([], ["old"])


def test_only_a_cleanup_deletes_sessions() -> None:
    session = make_session("old", **OLD)
    with pytest.raises(TypeError, match="Only a cleanup removes sessions"):
        session.delete()
    with pytest.raises(TypeError, match="Only a cleanup removes sessions"):
        BrowserSession.objects.all().delete()
    assert live() == ["old"]


@pytest.fixture
def removed() -> BrowserSession:
    """An object that was loaded before a cleanup removed its session."""
    make_session("old", **OLD)
    session = BrowserSession.objects.get()
    run_cleanup(plan(expired=True))
    return session


def test_managers_separate_live_and_removed_sessions(removed: BrowserSession) -> None:
    make_session("new")
    assert BrowserSession.objects.get().name == "new"
    assert ArchivedSession.objects.get().pk == removed.pk
    assert BrowserSession._base_manager.count() == ArchivedSession._base_manager.count() == 2
    run = CleanupRun.objects.get()
    assert [one.name for one in run.archived_sessions] == ["old"]


def test_a_removed_row_is_found_by_relations_and_by_a_refresh(removed: BrowserSession) -> None:
    probe = Probe.objects.create(session=removed, due_at=AS_OF)
    assert Probe.objects.get(pk=probe.pk).session.pk == removed.pk
    assert SessionDocument.objects.get().session.name == "old"
    removed.refresh_from_db()
    assert (removed.run, removed.reasons) == (CleanupRun.objects.get(), 256)
    assert removed.document == ArchivedSession.objects.get().document


def test_saving_cannot_remove_or_restore_a_session(removed: BrowserSession) -> None:
    removed.refresh_from_db()
    removed.run = removed.reasons = removed.removed_at = None
    for stale in (removed, ArchivedSession.objects.get()):
        with pytest.raises(DatabaseError), transaction.atomic():
            stale.save()
    assert (live(), archived()) == ([], ["old"])
    other = make_session("other")
    other.run, other.reasons, other.removed_at = CleanupRun.objects.get(), 1, AS_OF
    other.save()
    assert live() == ["other"]


def test_a_removal_is_recorded_completely_or_not_at_all() -> None:
    make_session("one")
    with pytest.raises(IntegrityError), transaction.atomic():
        BrowserSession.objects.record_browser(reasons=1)


def test_each_way_to_store_a_session_stores_its_document() -> None:
    built = [build_session("a"), build_session("b")]
    BrowserSession.objects.bulk_create(built)
    BrowserSession.objects.create(namespace="shop", name="c")
    documents = dict(BrowserSession.objects.values_list("name", "content__document"))
    assert [bytes(documents[name]) for name in "abc"] == [built[0].document, built[1].document, b""]
    with pytest.raises(TypeError):
        BrowserSession.objects.bulk_create([build_session("d")], ignore_conflicts=True)


def test_a_changed_document_is_stored_with_the_columns_of_its_endpoint() -> None:
    make_session("one")
    BrowserSession.objects.record_browser(browser_state=1, browser_since=AS_OF)
    session = BrowserSession.objects.get()
    session.document = b"{}"
    session.save()
    session.refresh_from_db()
    assert (session.document, session.browser_state) == (b"{}", 1)
    session.cdp_url = "http://grid.example:4444/secret"
    session.save()
    session.refresh_from_db()
    assert (session.endpoint_length, session.shown_endpoint) == (31, "http://grid.example:4444")
    assert (session.cdp_url, session.browser_state, session.browser_since) == (
        "http://grid.example:4444/secret",
        None,
        None,
    )


@pytest.mark.skipif("connection.vendor != 'sqlite'", reason="PostgreSQL needs an index")
def test_the_key_of_a_document_needs_no_index() -> None:
    with connection.cursor() as cursor:
        assert cursor.execute(f"PRAGMA index_list({SessionDocument._meta.db_table})").fetchall() == []
