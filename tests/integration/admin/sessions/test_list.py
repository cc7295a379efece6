"""The list of sessions: its columns, filters and order, and the action “Validate”."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from sessions_app.models import BrowserSession, CleanupRun
from tests.clients import LIST
from tests.factories import build_session, make_many, make_session

pytestmark = pytest.mark.usefixtures("at_noon")


def names(html: str) -> set[str]:
    return set(re.findall(r'class="field-name"><a [^>]*>([^<]+)</a>', html))


def test_the_list_shows_why_a_session_is_invalid_or_expired(see: Any) -> None:
    make_session("fresh")
    make_session("old", age=timedelta(days=9, hours=5))
    make_session("just-over", age=timedelta(days=7, minutes=1))
    make_session("broken", session_id="", last_accessed="yesterday")
    html = see()
    assert "Last accessed 9 days ago; the limit is 7 days." in html
    assert "Last accessed over 7 days ago; the limit is 7 days." in html
    assert "The session id is missing." in html
    assert "It counts as expired because its age cannot be read." in html
    assert ">Valid</span>" in html
    assert ">Invalid</span>" in html
    assert ">Expired</span>" in html


def test_the_age_has_the_exact_instant_as_title(see: Any) -> None:
    make_session(age=timedelta(days=3))
    assert 'title="2026-11-19 12:00:00 UTC">3 days ago</time>' in see()


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("problem=any", {"no-id", "no-url", "bad-type", "corrupted", "unreadable"}),
        ("problem=none", {"fresh", "old", "ancient", "future", "pinned", "firefox"}),
        ("problem=missing_session_id", {"no-id"}),
        ("problem=missing_cdp_url", {"no-url"}),
        ("problem=invalid_last_accessed", {"unreadable"}),
        ("problem=invalid_browser_type", {"bad-type"}),
        ("problem=corrupted_document", {"corrupted"}),
        ("expired=yes", {"old", "ancient", "corrupted", "unreadable"}),
        ("expired=yes&problem=none", {"old", "ancient"}),
        ("accessed=today", {"fresh", "no-id", "no-url", "bad-type", "firefox"}),
        ("accessed=7&problem=none", {"fresh", "firefox", "pinned"}),
        ("accessed=30&problem=none", {"fresh", "firefox", "pinned", "old"}),
        ("accessed=older", {"ancient"}),
        ("accessed=future", {"future"}),
        ("accessed=unreadable", {"corrupted", "unreadable"}),
        ("browser_type=firefox", {"firefox"}),
        ("browser_type=other", {"bad-type", "corrupted"}),
        ("namespace=second", {"pinned"}),
        ("namespace=nowhere", set()),
        ("pinned=yes", {"pinned"}),
        ("pinned=no&accessed=older", {"ancient"}),
        ("q=fire", {"firefox"}),
        ("q=id-of-old", {"old"}),
    ],
)
def test_filters_combine(see: Any, query: str, expected: set[str]) -> None:
    make_session("fresh")
    make_session("old", age=timedelta(days=9), session_id="id-of-old")
    make_session("ancient", age=timedelta(days=90))
    make_session("future", age=timedelta(days=-2))
    make_session("pinned", namespace="second", age=timedelta(days=2), is_pinned=True)
    make_session("firefox", browser_type="firefox")
    make_session("no-id", session_id=" ")
    make_session("no-url", cdp_url=None)
    make_session("bad-type", browser_type="Safari")
    make_session("unreadable", last_accessed="soon")
    make_session("corrupted", document=b'{"session_id": ')
    assert names(see(f"{LIST}?{query}")) == expected


@pytest.mark.parametrize("column", range(1, 8))
def test_every_column_with_an_order_can_be_sorted_by(see: Any, column: int) -> None:
    make_session("a", age=timedelta(days=1))
    make_session("b", browser_type="webkit")
    assert names(see(f"{LIST}?o={column}")) == names(see(f"{LIST}?o=-{column}")) == {"a", "b"}


def test_namespaces_are_offered_in_order(see: Any) -> None:
    for namespace in ("zebra", "alpha", "middle", "alpha"):
        make_session(namespace=namespace)
    found = re.findall(r"\?namespace=(\w+)", see())
    assert found == ["alpha", "middle", "zebra"]


@pytest.mark.parametrize("rows", [100, 1_000])
def test_the_list_takes_a_fixed_number_of_queries_and_reads_no_document(see: Any, rows: int) -> None:
    BrowserSession.objects.bulk_create(
        build_session(f"s{n}", age=timedelta(days=n % 20), namespace=f"n{n % 5}") for n in range(rows)
    )
    with CaptureQueriesContext(connection) as queries:
        html = see()
    assert len(names(html)) == 100
    assert len(html) < 150_000
    # Login session, user, two for permissions, limits, metadata, ids, rows, namespaces and directories.
    assert len(queries) <= 10
    assert not [query for query in queries if '"document"' in query["sql"]]


def test_an_empty_panel_explains_how_to_add_sessions(see: Any, client: Client, operator: User) -> None:
    assert "No sessions yet" in see()
    assert "sessiondirectory/add" not in see()
    client.force_login(operator)
    assert "/admin/sessions_app/sessiondirectory/add/" in client.get(LIST).content.decode()
    assert "No sessions yet" not in client.get(f"{LIST}?q=x").content.decode()


def test_validate_shows_the_verdicts_and_changes_nothing(see: Any, client: Client) -> None:
    sessions = [
        make_session("fine"),
        make_session("old", age=timedelta(days=9)),
        make_session("bad", session_id=""),
    ]
    see()
    before = list(BrowserSession.objects.order_by("pk").values())
    response = client.post(LIST, {"action": "validate", "_selected_action": [s.pk for s in sessions]})
    html = response.content.decode()
    assert response.context["totals"] == {"all": 3, "valid": 2, "invalid": 1, "expired": 1}
    assert "Save the session again" in html
    assert list(BrowserSession.objects.order_by("pk").values()) == before
    assert not CleanupRun.objects.exists()


def test_validate_lists_one_page_and_counts_all(client: Client, viewer: User) -> None:
    make_many(300, session_id="")
    first = BrowserSession.objects.values_list("pk", flat=True)[0]
    client.force_login(viewer)
    data = {"action": "validate", "select_across": "1", "_selected_action": [first]}
    response = client.post(LIST, data)
    assert response.context["totals"]["all"] == 300
    assert "The first 200 are listed" in response.content.decode()
    assert len(response.content) < 150_000
