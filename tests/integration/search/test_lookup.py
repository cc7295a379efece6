"""The search finds parts of texts among all sessions, live and archived."""

from __future__ import annotations

import pytest
from django.db import connection

from sessions_app.models import ArchivedSession, BrowserSession, SessionSearch
from sessions_app.search import CannotSearch, find, index_sessions, lookup, trigrams
from sessions_app.session.criteria import Criteria
from sessions_app.session.lookups import mentions_all
from sessions_app.session.selection import Selection
from tests.factories import ENDPOINT, OLD, SECRET, build_session, make_session, swept

pytestmark = pytest.mark.django_db


def found(text: str, *, limit: int = 100) -> set[str]:
    """Return the names of the sessions that a search finds, and compare it with its condition."""
    words = text.split()
    hits = find(words, limit=limit).ids
    names: set[str] = set()
    for model in (BrowserSession, ArchivedSession):
        matching = model._default_manager.filter(mentions_all(words))
        by_index = set(matching.filter(pk__in=hits).values_list("name", flat=True))
        assert by_index == set(matching.values_list("name", flat=True)), text
        names |= by_index
    return names


def test_parts_of_all_texts_are_found_in_live_and_archived_sessions() -> None:
    make_session("checkout-old", **OLD, metadata={"user": "u42", "note": "Überholt"})
    swept()
    make_session("checkout-new", session_id="abc-123", metadata={"user": "u42", "build": 4711, "ok": True})
    grid = "ws://grid-7.example:9333/devtools/browser/x"
    make_session("other", session_id="x", cdp_url=grid, metadata={"user": "u7"})
    assert found("u42") == {"checkout-old", "checkout-new"}
    assert found("ECKOUT") == {"checkout-old", "checkout-new"}
    assert found("c-12") == {"checkout-new"}
    assert found("grid-7") == found("9333") == {"other"}
    assert found("4711") == {"checkout-new"}
    assert found("überholt") == found("ÜBERHOLT") == {"checkout-old"}
    assert found("nothing") == set()


def test_several_words_all_have_to_match() -> None:
    make_session("shop-a", metadata={"user": "u42", "team": "shop"})
    make_session("shop-b", metadata={"user": "u43", "team": "shop"})
    assert found("u42 shop") == {"shop-a"}
    assert found("shop u4") == {"shop-a", "shop-b"}
    assert found("u42 u43") == set()


def test_a_key_with_a_value_finds_values_of_that_key_only() -> None:
    make_session("a", metadata={"user": "u42", "env": "staging"})
    make_session("b", metadata={"owner": "u42", "env": "prod"})
    make_session("c", metadata={"superuser": "u42", "note": "user:u42"})
    assert found("user:u42") == {"a", "c"}
    assert found("User:U42 env:staging") == {"a"}
    assert found("env:prod") == {"b"}
    assert found("localhost:9222") == set()
    assert found("127.0.0.1:9222") == {"a", "b", "c"}


@pytest.mark.parametrize(
    "text", ['"', 'say "hello"', "100%", "a_b", "x' OR 1", "a\\b", "(a) AND b*", "-x +y"]
)
def test_signs_are_searched_literally(text: str) -> None:
    make_session("same", metadata={"note": f"it has {text} inside"})
    make_session("other", metadata={"note": "it has 1000 aXb inside"})
    assert found(f"inside {text}") == {"same"}


def test_secrets_are_not_found() -> None:
    make_session("one", metadata={"note": f"see {ENDPOINT}", "token": "t0psecret", "x": SECRET})
    for text in (SECRET, SECRET[:12], SECRET[-12:], "t0psecret", "token:t0p"):
        assert found(text) == set()


def test_sessions_that_are_not_indexed_yet_are_found() -> None:
    make_session("first")
    BrowserSession.objects.bulk_create([build_session("added", metadata={"user": "u42"}), build_session("x")])
    assert SessionSearch.objects.count() == 1
    assert find(["u42"], limit=9).ids == find(["user:u42"], limit=9).ids
    assert len(find(["u42"], limit=9).ids) == 1
    index_sessions()
    assert found("u42") == {"added"}


def test_the_latest_hits_come_first_and_a_limit_is_reported() -> None:
    keys = [make_session(f"cart-{number}").pk for number in range(5)]
    assert find(["cart"], limit=3) == (keys[:1:-1], True, True)
    assert find(["cart"], limit=5) == (keys[::-1], False, True)


def test_what_the_index_cannot_answer_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    make_session("cart")
    for words in ([], ["ca"], ["a", "b:cd"], ["user:"]):
        with pytest.raises(CannotSearch, match="needs 3 characters"):
            find(words, limit=9)
    monkeypatch.setattr(lookup, "UNINDEXED", 1)
    BrowserSession.objects.bulk_create([build_session("x"), build_session("y")])
    with pytest.raises(CannotSearch, match="is being built"):
        find(["cart"], limit=9)
    index_sessions()
    assert len(find(["cart"], limit=9).ids) == 1
    monkeypatch.setattr(trigrams, "was_ready", lambda: False)
    with pytest.raises(CannotSearch, match="no index"):
        find(["cart"], limit=9)


def test_a_search_does_not_read_the_texts() -> None:
    for number in range(20):
        make_session(f"cart-{number}")
    make_session("zebra")
    if connection.vendor == "sqlite":
        explained, sql = "EXPLAIN QUERY PLAN", f"{trigrams.INDEX} WHERE {trigrams.INDEX} MATCH '\"zebra\"'"
        expected = "VIRTUAL TABLE INDEX"
    else:
        explained, sql = "EXPLAIN", "sessions_app_sessionsearch WHERE text LIKE '%zebra%'"
        expected = f"Bitmap Index Scan on {trigrams.INDEX}"
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            # Without this, PostgreSQL would not use an index for so few rows.
            cursor.execute("SET LOCAL enable_seqscan TO off")
        cursor.execute(f"{explained} SELECT * FROM {sql}")
        assert expected in "\n".join(str(row) for row in cursor.fetchall())


def test_a_plan_from_a_search_includes_sessions_that_were_not_indexed() -> None:
    make_session("a", metadata={"user": "u42"})
    BrowserSession.objects.bulk_create([build_session("b", metadata={"user": "u42"}), build_session("c")])
    SessionSearch.objects.all().delete()
    for query in ({"q": "user:u42"}, {"metadata.user": "u42"}):
        criteria = Criteria.from_selection(Selection.from_address(query), max_age_days=7)
        assert criteria.reads_texts
    run = swept(selection=Selection.from_address({"q": "user:u42"}))
    assert sorted(run.archived_sessions.values_list("name", flat=True)) == ["a", "b"]


def test_a_stored_selection_of_an_earlier_version_searches_the_whole_text() -> None:
    make_session("a", metadata={"note": "rain jacket"})
    make_session("b", metadata={"note": "jacket", "x": "rain"})
    earlier = Selection.from_json({"text": "rain jacket", "in_metadata": True})
    assert list(BrowserSession.objects.filter(earlier.search_condition()).values_list("name", flat=True)) == [
        "a"
    ]
    assert found("rain jacket") == {"a", "b"}
