from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import DatabaseError, IntegrityError, connection, transaction
from django.db.models import QuerySet

from sessions_app.cleanup import run_cleanup, sessions_missing_files, sessions_missing_files_of
from sessions_app.models import BrowserSession, CleanupRun
from sessions_app.models.clock import database_now
from sessions_app.session.lookups import begins_with
from sessions_app.session.problems import Problem, has_problem, is_expired, is_invalid
from tests.factories import AS_OF, OLD, archived, live, make_session, plan

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
    "session_pinned": lambda: BrowserSession.objects.filter(is_pinned=True).values("pk")[:100],
}


@pytest.mark.parametrize("index", INDEXED_QUERIES)
def test_each_index_serves_its_documented_query(index: str) -> None:
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
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
