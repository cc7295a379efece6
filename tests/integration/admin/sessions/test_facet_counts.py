"""The facet counts of the filters are exact or lower bounds."""

from __future__ import annotations

import random
import re
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import connection, models
from django.test import Client
from django.test.utils import CaptureQueriesContext

from sessions_app.admin.formatting import expiry_cutoff
from sessions_app.admin.sessions import index_choice
from sessions_app.admin.sessions.changelist import build_listing
from sessions_app.admin.sessions.facet_counts import Choice, Count, count_choices
from sessions_app.models import BrowserSession, CleanupRun
from sessions_app.search import index_sessions
from sessions_app.session.selection import CHOICES, Selection
from tests.clients import LIST, set_bounds
from tests.factories import AS_OF, build_session, make_session

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("at_noon")]

CUTOFF = AS_OF - timedelta(days=7)
NAMESPACES = ("n0", "n1", "n2", "empty")
OFFERED = [
    *(Choice(name, value) for name, choices in CHOICES.items() for value in choices),
    *(Choice("namespace", value) for value in NAMESPACES),
]
SELECTIONS = 16
# Some of the counts exceed these bounds.
BOUNDS = [(10_000, 1_000), (80, 30), (10, 4)]


KINDS: tuple[dict[str, Any], ...] = (
    {},
    {},
    {"browser_type": "firefox"},
    {"browser_type": "opera", "session_id": ""},
    {"cdp_url": ""},
    {"last_accessed": "never"},
)


def crowd(count: int) -> None:
    """Create sessions of all kinds, so that no two filters have the same result."""
    chance = random.Random(7)
    BrowserSession.objects.bulk_create(
        build_session(
            f"{chance.choice(('cart', 'login'))}-{n:03}",
            age=timedelta(hours=chance.choice((-5, 1, 30, 100, 300, 2_000))),
            namespace=f"n{chance.randrange(3)}",
            is_pinned=chance.random() < 0.2,
            **chance.choice(KINDS),
        )
        for n in range(count)
    )
    index_sessions()


def some_selections() -> list[Selection]:
    chance = random.Random(8)
    found = [Selection()]
    for _ in range(SELECTIONS - 1):
        given: dict[str, Any] = dict(chance.sample(OFFERED, chance.randrange(1, 4)))
        if chance.random() < 0.4:
            given["text"] = chance.choice(("cart", "n-00", "1", "zebra"))
        found.append(Selection(**given, in_metadata="text" in given))
    return found


def counted(selection: Selection, *hidden: str) -> dict[Choice, Count]:
    def build(selection: Selection) -> index_choice.ListQuery:
        return index_choice.build_query(selection, AS_OF, expiry_cutoff(AS_OF), hidden)

    return count_choices(
        selection, build_listing(build(selection), index_choice.BY_AGE), OFFERED, build_query=build
    )


def brute_force(selection: Selection, *hidden: str) -> dict[Choice, int]:
    """Count the sessions of each choice, in one query without limits."""
    conditions = {
        choice: Selection(**{**selection.to_json(), choice.name: choice.value}).matching(AS_OF, CUTOFF)
        for choice in OFFERED
    }
    seen = BrowserSession.objects.exclude(namespace__in=hidden)
    counts = seen.aggregate(
        **{f"{choice.name}_{choice.value}": models.Count("pk", filter=q) for choice, q in conditions.items()}
    )
    return dict(zip(conditions, counts.values(), strict=True))


def choices_in(page: str) -> dict[str, list[str]]:
    """Return the choices of each filter on the page."""
    sidebar = page.partition('id="changelist-filter"')[2]
    return {
        title: re.findall(r'<a href="\?[^"]*">([^<]*)</a></li>', part)
        for title, part in re.findall(r'data-filter-title="([^"]*)"(.*?)</details>', sidebar, re.DOTALL)
    }


def test_each_count_is_exact_or_a_lower_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    crowd(400)
    expected = {selection: brute_force(selection) for selection in some_selections()}
    for bound, read_bound in BOUNDS:
        set_bounds(monkeypatch, BOUND=bound, READ_BOUND=read_bound)
        whole = sum(assert_bounded(counted(one), expected[one]) for one in expected)
        assert whole == SELECTIONS * len(OFFERED) if bound > 400 else 0 < whole < SELECTIONS * len(OFFERED)


def assert_bounded(counts: dict[Choice, Count], expected: dict[Choice, int]) -> int:
    """Check that each count is exact or a lower bound; return how many are exact."""
    for choice, count in counts.items():
        number = expected[choice]
        assert count.number == number if count.is_whole else count.number <= number, choice
    return sum(count.is_whole for count in counts.values())


@pytest.mark.parametrize("hidden", [("n1",), ("n0", "n2"), ("n0", "n1", "n2", "n3")])
def test_hidden_sessions_are_not_counted(monkeypatch: pytest.MonkeyPatch, hidden: tuple[str, ...]) -> None:
    crowd(400)
    for selection in some_selections()[:12]:
        expected = brute_force(selection, *hidden)
        for bound, read_bound in BOUNDS:
            set_bounds(monkeypatch, BOUND=bound, READ_BOUND=read_bound)
            assert_bounded(counted(selection, *hidden), expected)


def test_sessions_in_an_index_are_counted_to_the_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    set_bounds(monkeypatch, BOUND=90, READ_BOUND=80)
    crowd(400)
    for selection in (Selection(), Selection(expired="no"), Selection(namespace="n1")):
        counts, whole = counted(selection), brute_force(selection)
        for name in ("expired", "accessed", "namespace"):
            for choice in (one for one in OFFERED if one.name == name):
                expected = whole[choice]
                assert counts[choice] == Count(min(expected, 80), is_whole=expected <= 80), choice


def test_a_lower_bound_has_a_plus() -> None:
    assert str(Count(1_234, is_whole=True)) == "1,234"
    assert str(Count(0, is_whole=True)) == "0"
    assert str(Count(1_000, is_whole=False)) == "1,000+"
    assert str(Count(0, is_whole=False)) == "–"  # noqa: RUF001


class TestOnThePage:
    @pytest.fixture(autouse=True)
    def sessions(self) -> None:
        make_session("one", namespace="default")
        make_session("two", namespace="shop", is_pinned=True, age=timedelta(days=9))
        make_session("bad", namespace="shop", session_id="")

    def test_counts_are_shown_on_demand(self, see: Callable[..., str]) -> None:
        page = see()
        assert choices_in(page)["pinned"] == ["All", "Yes", "No"]
        (link,) = re.findall(r'href="(\?[^"]*)" class="viewlink"', page)
        assert link == "?_facets=True"
        page = see(f"{LIST}{link}")
        assert choices_in(page)["pinned"] == ["All", "Yes (1)", "No (2)"]
        assert choices_in(page)["namespace"] == ["All", "default (1)", "shop (2)"]
        assert 'href="?" class="hidelink"' in page

    def test_each_count_is_the_length_of_the_filtered_list(self, see: Callable[..., str]) -> None:
        page = see(f"{LIST}?_facets=True&namespace=shop")
        links = re.findall(r'<a href="(\?[^"]*)">[^<]* \((\d+)\)</a>', page)
        assert len(links) == 26
        for link, number in links:
            assert "_facets=True" in link
            listed = see(LIST + link.replace("&amp;", "&"))
            assert len(re.findall('class="action-select"', listed)) == int(number), link

    def test_counts_stay_through_filters_and_searches(self, see: Callable[..., str]) -> None:
        page = see(f"{LIST}?_facets=True&q=o&pinned=yes&o=-7")
        assert '<input type="hidden" name="_facets" value="True">' in page
        assert '(<a href="?_facets=True">Show all</a>)' in page
        assert "_facets=True" in re.findall(r'href="([^"]*)">&#10006; Clear', page)[0]
        (hide,) = re.findall(r'href="(\?[^"]*)" class="hidelink"', page)
        assert hide == "?o=-7&amp;pinned=yes&amp;q=o"
        assert '<a href="?_facets=True">Show all sessions</a>' in see(f"{LIST}?_facets=True&q=zebra")

    @pytest.mark.parametrize(
        "query", ["namespace=", "namespace=%20", "problem=wrong", "pinned=&q=%20", "p=x"]
    )
    def test_an_odd_url_has_counts_too(self, see: Callable[..., str], query: str) -> None:
        assert choices_in(see(f"{LIST}?_facets=1&{query}"))["expired"][0] == "All"

    def test_counts_do_not_change_a_selection(self, client: Client, operator: User) -> None:
        client.force_login(operator)
        data = {"action": "clean_up", "select_across": "1", "_selected_action": ["1"]}
        for facets_too in ("", "&_facets=True"):
            response = client.post(f"{LIST}?namespace=shop&pinned=no{facets_too}", data)
            assert "/plan/" in response["Location"]
        one, other = CleanupRun.objects.order_by("pk").values_list("criteria_json", "matched_count")
        assert one == other
        assert one[1] == 1

    def test_other_lists_have_no_counts(self, client: Client, root: User) -> None:
        client.force_login(root)
        for name in ("archivedsession", "cleanuprun"):
            page = client.get(f"/admin/sessions_app/{name}/?_facets=True").content.decode()
            assert "viewlink" not in page
            assert "hidelink" not in page


@pytest.mark.parametrize(
    ("query", "limit"),
    [
        ("", 12),
        ("expired=yes", 14),
        ("pinned=no&problem=any&namespace=n1", 24),
        ("problem=any&expired=no&accessed=7&browser_type=firefox&pinned=yes&namespace=n1", 52),
        ("q=cart", 18),
        ("q=cart&pinned=no&problem=any&namespace=n1", 40),
    ],
)
@pytest.mark.parametrize("bound", [10_000, 10])
def test_counts_take_few_bounded_queries(
    see: Any, monkeypatch: pytest.MonkeyPatch, query: str, limit: int, bound: int
) -> None:
    set_bounds(monkeypatch, BOUND=bound, READ_BOUND=min(bound, 40))
    crowd(300)
    with CaptureQueriesContext(connection) as queries:
        see(f"{LIST}?{query}&_facets=True")
    assert len(queries) <= limit
    for sql in (query["sql"] for query in queries if "browsersession" in query["sql"]):
        reads = sql.count('FROM "sessions_app_browsersession"')
        assert '"id" IN (' in sql or sql.count("LIMIT") >= reads > 0 or "RECURSIVE" in sql, sql
        assert '"document"' not in sql


def test_all_offered_namespaces_are_counted_in_one_query(see: Any, monkeypatch: Any) -> None:
    set_bounds(monkeypatch, BOUND=10)
    for n in range(60):
        make_session(f"s{n}", namespace=f"n{n:02}")
    with CaptureQueriesContext(connection) as queries:
        page = see(f"{LIST}?_facets=True")
    assert choices_in(page)["namespace"][1:] == [f"n{n:02} (1)" for n in range(50)]
    assert len(queries) <= 12
