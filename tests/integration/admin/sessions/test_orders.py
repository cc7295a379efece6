"""The list in order of name and of status."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from sessions_app.models import BrowserSession
from tests.clients import LIST, names, set_bounds
from tests.factories import build_session, make_many, make_session

pytestmark = pytest.mark.usefixtures("at_noon", "db")


def of_all_kinds() -> None:
    make_session("valid-2", age=timedelta(days=2))
    make_session("valid-1", age=timedelta(days=1), namespace="bank")
    make_session("expired", age=timedelta(days=9))
    make_session("invalid-new", session_id="")
    make_session("invalid-old", session_id="", age=timedelta(days=30))


def test_names_are_sorted_in_all_namespaces_in_both_directions(see: Any) -> None:
    for name in ("b", "B", "ä", "a-1", "a1", "z"):
        make_session(name, namespace="bank" if name == "z" else "shop")
    expected = ["B", "a-1", "a1", "b", "z", "ä"]
    assert names(see(f"{LIST}?o=1")) == expected
    assert names(see(f"{LIST}?o=-1")) == expected[::-1]
    assert names(see(f"{LIST}?o=1&problem=none")) == expected
    assert set(names(see(f"{LIST}?o=1&namespace=shop"))) == set(expected) - {"z"}


def test_the_order_by_status_shows_invalid_then_expired_sessions(see: Any) -> None:
    of_all_kinds()
    expected = ["invalid-new", "invalid-old", "expired", "valid-1", "valid-2"]
    assert names(see(f"{LIST}?o=3")) == expected
    assert names(see(f"{LIST}?o=-3")) == ["valid-1", "valid-2", "expired", "invalid-new", "invalid-old"]


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("problem=none", ["expired", "valid-1", "valid-2"]),
        ("problem=missing_session_id", ["invalid-new", "invalid-old"]),
        ("expired=yes", ["invalid-old", "expired"]),
        ("expired=no", ["invalid-new", "valid-1", "valid-2"]),
        ("namespace=bank", ["valid-1"]),
        ("q=id&namespace=shop", ["invalid-new", "invalid-old", "valid-2"]),
    ],
)
def test_the_order_by_status_can_be_combined_with_filters(see: Any, query: str, expected: list[str]) -> None:
    of_all_kinds()
    assert names(see(f"{LIST}?o=3&{query}")) == expected


@pytest.mark.parametrize("order", ["1", "-1", "3", "-3"])
def test_the_orders_are_bounded(see: Any, monkeypatch: pytest.MonkeyPatch, order: str) -> None:
    BrowserSession.objects.bulk_create(
        build_session(f"s{n:03}", age=timedelta(days=n % 20), session_id="x" * (n % 3)) for n in range(200)
    )
    set_bounds(monkeypatch, BOUND=30, READ_BOUND=20)
    with CaptureQueriesContext(connection) as queries:
        html = see(f"{LIST}?o={order}")
    assert len(names(html)) <= 30
    assert "Only the first" in html
    assert len(queries) <= 18
    for sql in (query["sql"] for query in queries if "browsersession" in query["sql"]):
        assert "LIMIT" in sql or '"id" IN (' in sql, sql


def test_the_order_by_name_and_the_search_for_prefixes_use_an_index() -> None:
    make_many(3_000)
    from sessions_app.admin.sessions.index_choice import ListQuery, index_choices, sessions
    from sessions_app.session.lookups import begins_with
    from sessions_app.session.selection import Selection

    (*_, everything) = index_choices(ListQuery(Selection(), {}), ("name", "pk"))
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE")
    for rows in (
        sessions(everything, ("-name", "-pk")).values_list("pk")[:5],
        BrowserSession.objects.filter(begins_with("s0123")).order_by().values_list("pk"),
    ):
        explained = rows.explain()
        assert "session_name" in explained, json.dumps(explained)
