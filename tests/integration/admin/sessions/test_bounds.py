"""Lists read a bounded number of rows and show what they did not read."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from sessions_app.admin.sessions import changelist
from sessions_app.cleanup import plan_cleanup, run_cleanup
from sessions_app.models import BrowserSession
from sessions_app.search import trigrams
from sessions_app.session.criteria import Criteria
from sessions_app.session.selection import CHOICES, Selection
from tests.clients import LIST, set_bounds
from tests.factories import AS_OF, build_session, make_session, read_hints
from tests.integration.admin.sessions.test_list import names

pytestmark = pytest.mark.usefixtures("at_noon")

ARCHIVE = "/admin/sessions_app/archivedsession/"
ADDRESSES = (
    "",
    "p=2",
    "problem=any",
    "problem=missing_cdp_url&pinned=no",
    "expired=yes&namespace=n1",
    "accessed=7&browser_type=firefox&namespace=n2&pinned=yes&problem=none",
    "browser_type=other",
    "q=s1",
    "q=s1&o=-7&expired=no&namespace=n1",
    "o=2",
    "o=-2&problem=any",
    "o=5&browser_type=chromium",
    "o=-7&namespace=n1",
)


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    """Bounds that a few rows exceed."""
    set_bounds(monkeypatch, BOUND=10, READ_BOUND=4)


@pytest.fixture
def without_index(monkeypatch: pytest.MonkeyPatch) -> None:
    """A database that cannot index parts of texts."""
    monkeypatch.setattr(trigrams, "was_ready", lambda: False)


def crowd(count: int) -> None:
    BrowserSession.objects.bulk_create(
        build_session(
            f"s{n:03}",
            age=timedelta(hours=n),
            namespace=f"n{n % 3}",
            browser_type="firefox" if n % 2 else "chromium",
            session_id="" if n % 5 == 0 else f"id-of-{n}",
            is_pinned=n % 7 == 0,
            metadata={"note": "x" * 9 * n},
        )
        for n in range(count)
    )


def notes(html: str) -> str:
    return " ".join(re.findall(r"<p>(.+?)</p>", html.partition("raptor-looked")[2].partition("</div>")[0]))


@pytest.mark.parametrize("address", ADDRESSES)
def test_a_page_takes_few_bounded_queries(see: Any, address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    set_bounds(monkeypatch, READ_BOUND=40)
    crowd(300)
    with CaptureQueriesContext(connection) as queries:
        html = see(f"{LIST}?{address}")
    # Login session, user, two for permissions, namespaces, directories, at most two compared indexes, the ids
    # of the list, and the rows of the page; a search takes two more.
    assert len(queries) <= 12
    assert len(html) < 150_000
    for sql in (query["sql"] for query in queries if "browsersession" in query["sql"]):
        assert "LIMIT" in sql or '"id" IN (' in sql, sql
        assert '"document"' not in sql


@pytest.mark.parametrize("order", ["", "o=6", "o=-6", "o=2", "o=-2", "o=5", "o=-5", "o=7", "o=-7"])
@pytest.mark.parametrize("query", ["", "namespace=n1&expired=no", "browser_type=firefox", "problem=any"])
def test_a_list_with_an_index_is_read_in_its_order(see: Any, order: str, query: str) -> None:
    crowd(60)
    read_hints()
    with connection.cursor() as cursor, CaptureQueriesContext(connection) as queries:
        if connection.vendor == "postgresql":
            # Without this, PostgreSQL would not use an index for so few rows.
            for method in ("seqscan", "sort", "bitmapscan"):
                cursor.execute(f"SET LOCAL enable_{method} TO off")
        see(f"{LIST}?{order}&{query}")
    looked = [q["sql"] for q in queries if re.search(r"^SELECT (?!COUNT).* LIMIT 10*01$", q["sql"])]
    assert len(looked) == 1
    explain = "EXPLAIN QUERY PLAN" if connection.vendor == "sqlite" else "EXPLAIN"
    with connection.cursor() as cursor:
        cursor.execute(f"{explain} {looked[0]}")
        plan = "\n".join(str(row) for row in cursor.fetchall())
    assert "Sort" not in plan, plan
    assert "TEMP B-TREE" not in plan, plan
    assert re.search(r"USING (COVERING )?INDEX|Index (Only )?Scan", plan), plan


@pytest.mark.parametrize("expired", CHOICES["expired"])
@pytest.mark.parametrize("accessed", CHOICES["accessed"])
def test_two_ranges_of_the_last_access_are_combined(see: Any, expired: str, accessed: str) -> None:
    for hours in (-1, 1, 100, 200, 2_000):
        make_session(f"s{hours}", age=timedelta(hours=hours))
    make_session("unreadable", last_accessed="never")
    with CaptureQueriesContext(connection) as queries:
        html = see(f"{LIST}?expired={expired}&accessed={accessed}")
    (looked,) = [q["sql"] for q in queries if re.search(r"^SELECT (?!COUNT).* LIMIT 10*01$", q["sql"])]
    for limit in ('"idle_since" >', '"idle_since" <'):
        assert looked.count(limit) <= 1, looked
    selection = Selection(expired=expired, accessed=accessed)
    matching = BrowserSession.objects.filter(selection.matching(AS_OF, AS_OF - timedelta(days=7)))
    assert names(html) == set(matching.values_list("name", flat=True))


@pytest.mark.usefixtures("few")
def test_a_truncated_list_has_a_count_with_a_plus(see: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(changelist.SessionList, "list_per_page", 6, raising=False)
    monkeypatch.setattr("sessions_app.admin.sessions.admin.BrowserSessionAdmin.list_per_page", 6)
    crowd(12)
    first, last = see(), see(f"{LIST}?p=2")
    assert re.search(r"10\+\s+browser sessions", first)
    assert "Only the first 10 are listed." not in first
    assert "Only the first 10 are listed." in last
    assert names(first) == {f"s{n:03}" for n in range(6)}
    assert names(last) == {f"s{n:03}" for n in range(6, 10)}
    assert names(see(f"{LIST}?o=6&p=1")) == {f"s{n:03}" for n in range(6, 12)}


@pytest.mark.usefixtures("few")
def test_a_complete_list_has_an_exact_count(see: Any) -> None:
    crowd(10)
    html = see()
    assert re.search(r"\s10\s+browser sessions", html)
    assert "are listed" not in html


def test_a_page_number_after_the_end_shows_the_last_page(see: Any) -> None:
    crowd(120)
    assert names(see(f"{LIST}?p=9&pinned=no")) == names(see(f"{LIST}?p=2&pinned=no")) != set()


@pytest.mark.usefixtures("few")
def test_filters_without_an_index_show_how_many_rows_were_searched(see: Any) -> None:
    crowd(40)
    html = see(f"{LIST}?namespace=n1&pinned=no")
    searched = "Only the 10 most recently accessed sessions in namespace n1 were searched."
    assert notes(html) == f"{searched} Others may match too."
    assert names(html) <= {f"s{n:03}" for n in range(1, 30, 3)}
    assert re.search(r"\d\+\s+browser sessions", html)


@pytest.mark.usefixtures("few")
def test_a_filter_that_leaves_few_rows_reads_all_of_them(see: Any) -> None:
    crowd(40)
    make_session("lonely", namespace="small", age=timedelta(days=90))
    html = see(f"{LIST}?namespace=small&pinned=no&problem=none&o=-7")
    assert names(html) == {"lonely"}
    assert "were searched" not in html


@pytest.mark.usefixtures("few")
def test_an_order_without_an_index_sorts_the_latest_sessions(see: Any) -> None:
    crowd(40)
    html = see(f"{LIST}?namespace=n1&o=-7")
    listed = re.findall(r'class="field-name"><a [^>]*>([^<]+)</a>', html)
    assert listed == [f"s{n:03}" for n in range(28, 0, -3)]
    assert "10 most recently accessed sessions in namespace n1" in notes(html)


@pytest.mark.usefixtures("few")
def test_a_search_covers_all_sessions(see: Any) -> None:
    crowd(20)
    make_session("zebra-1", age=timedelta(days=400))
    make_session("my-zebra", age=timedelta(days=400))
    html = see(f"{LIST}?q=zeb")
    assert names(html) == {"zebra-1", "my-zebra"}
    assert notes(html) == "Searched: name, host, session id and metadata of all sessions."
    html = see(f"{LIST}?q=014&namespace=n2")
    assert (names(html), notes(html)) == (
        {"s014"},
        "Searched: name, host, session id and metadata of all sessions that match the filters.",
    )
    html = see(f"{LIST}?q=s01")
    assert names(html) == {"s016", "s017", "s018", "s019"}
    assert re.search(r"4\+\s+browser sessions", html)
    assert notes(html) == "Over 4 sessions match the search. Only the most recently added 4 were read."
    html = see(f"{LIST}?q=s0")
    assert "A word needs 3 characters to be searched in all sessions." in notes(html)


@pytest.mark.usefixtures("few", "without_index")
def test_a_search_without_the_index_shows_what_was_searched(see: Any) -> None:
    crowd(20)
    make_session("zebra-1", age=timedelta(days=400))
    make_session("my-zebra", age=timedelta(days=400))
    html = see(f"{LIST}?q=zeb")
    assert names(html) == {"zebra-1"}
    assert notes(html) == (
        "Searched: names that begin with “zeb” in all sessions; other matches of name, host, session id "
        "and metadata among the 4 most recently accessed sessions. "
        "The database has no index for parts of texts."
    )
    assert names(see(f"{LIST}?q=002")) == {"s002"}
    assert names(see(f"{LIST}?q=014")) == set()
    html = see(f"{LIST}?q=014&namespace=n2")
    assert (names(html), notes(html)) == (
        {"s014"},
        "Searched: name, host, session id and metadata of all sessions that match the filters.",
    )
    html = see(f"{LIST}?q=s0")
    assert names(html) == {"s000", "s001", "s002", "s003"}
    assert "Too many names begin with “s0”. Type more" in notes(html)
    html = see(f"{LIST}?q=zeb&accessed=older")
    assert names(html) == {"zebra-1", "my-zebra"}
    assert (
        notes(html) == "Searched: name, host, session id and metadata of all sessions that match the filters."
    )


@pytest.mark.usefixtures("few")
def test_search_results_are_sorted(see: Any) -> None:
    crowd(20)
    for n in range(3):
        make_session(f"zebra-{n}", age=timedelta(days=400 - n), namespace=f"z{2 - n}")
    for order, expected in (
        ("", ["zebra-2", "zebra-1", "zebra-0"]),
        ("o=6", ["zebra-2", "zebra-1", "zebra-0"]),
        ("o=2", ["zebra-2", "zebra-1", "zebra-0"]),
        ("o=-2", ["zebra-0", "zebra-1", "zebra-2"]),
        ("o=-6", ["zebra-0", "zebra-1", "zebra-2"]),
    ):
        html = see(f"{LIST}?q=zebra&{order}")
        found = re.findall(r'class="field-name"><a [^>]*>([^<]+)</a>', html)
        assert found == expected or sorted(found) == sorted(expected), order


@pytest.mark.usefixtures("few", "without_index")
def test_the_archive_is_bounded(as_root: Client) -> None:
    crowd(20)
    run = run_cleanup(plan_cleanup(Criteria(all=True), trigger="command"))
    html = as_root.get(ARCHIVE).content.decode()
    assert re.search(r"10\+\s+archived sessions", html)
    html = as_root.get(f"{ARCHIVE}?run={run.pk}").content.decode()
    assert re.search(r"10\+\s+archived sessions", html)
    html = as_root.get(f"{ARCHIVE}?q=s01").content.decode()
    assert notes(html).startswith(
        "Searched: name, host, session id and metadata of the 4 sessions that were removed last"
    )
    assert "Too many names begin with “s01”." in notes(html)
    html = as_root.get(f"{ARCHIVE}?reason=all").content.decode()
    assert notes(html) == "Only the 4 sessions that were removed last were searched. Others may match too."
    html = as_root.get(f"{ARCHIVE}?q=s019").content.decode()
    assert notes(html).startswith("Searched: names that begin with “s019” in the whole archive")
    html = as_root.get(f"{LIST}?q=s019").content.decode()
    assert re.search(r">\d\+? more in the archive</a>", html)
