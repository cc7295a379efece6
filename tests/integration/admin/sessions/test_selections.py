"""Selections of all matching sessions: the run removes only what the preview showed."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.test import Client

from sessions_app.cleanup import run_cleanup, undo_cleanup
from sessions_app.models import ArchivedSession, BrowserSession, CleanupRun
from sessions_app.search import trigrams
from tests.clients import LIST, set_bounds
from tests.factories import make_many, make_session

RUNS = "/admin/sessions_app/cleanuprun/"


def select_all(client: Client, query: str, action: str = "clean_up") -> Any:
    first = BrowserSession.objects.order_by("pk").values_list("pk", flat=True)[0]
    data = {"action": action, "select_across": "1", "index": "0", "_selected_action": [first]}
    return client.post(f"{LIST}?{query}", data)


def planned(client: Client, query: str) -> CleanupRun:
    response = select_all(client, query)
    assert response["Location"].endswith("/plan/"), client.get(LIST).content.decode()
    return CleanupRun.objects.latest("pk")


def archived(run: CleanupRun) -> set[str]:
    return set(ArchivedSession.objects.filter(run=run).values_list("name", flat=True))


def test_a_filtered_selection_is_stored_as_a_condition_without_ids(as_operator: Client) -> None:
    make_many(120, session_id="")
    make_session("fine")
    run = planned(as_operator, "problem=any&pinned=no&o=2&p=1")
    assert run.criteria_json["session_ids"] is None
    assert run.criteria_json["selection"] == {"problem": "any", "pinned": "no"}
    assert run.matched_count == 120
    assert run.matched_reasons == {"selected": 120, "missing_session_id": 120}
    html = as_operator.get(f"{RUNS}{run.pk}/plan/").content.decode()
    assert "sessions with any problem, not pinned" in html


def test_the_list_offers_to_select_all_that_match(as_operator: Client) -> None:
    make_many(120, session_id="")
    html = as_operator.get(f"{LIST}?problem=any").content.decode()
    assert "Select all 120 that match" in html
    assert "All 120 that match selected" in html
    assert "Select all 120 browser sessions" in as_operator.get(LIST).content.decode()


def test_more_may_match_than_are_listed(as_operator: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    set_bounds(monkeypatch, BOUND=10)
    make_many(50, session_id="")
    html = as_operator.get(f"{LIST}?problem=missing_session_id").content.decode()
    assert "Select all 10+ that match" in html
    assert planned(as_operator, "problem=missing_session_id").matched_count == 50


def test_sessions_added_changed_or_pinned_after_the_preview_are_kept(as_operator: Client) -> None:
    for name in ("login-1", "login-2", "login-3", "login-4"):
        make_session(name, namespace="shop", age=timedelta(days=400))
    make_session("cart-1", namespace="shop")
    make_session("login-elsewhere", namespace="other")
    make_session("login-kept", namespace="shop", is_pinned=True)
    for _ in range(20):
        make_session(namespace="shop")
    run = planned(as_operator, "namespace=shop&q=login")
    assert (run.matched_count, run.criteria_json["namespace"]) == (4, "shop")
    make_session("login-new", namespace="shop")
    BrowserSession.objects.filter(name="login-2").update(size_bytes=7)
    BrowserSession.objects.filter(name="login-3").update(is_pinned=True)
    as_operator.post(f"{RUNS}{run.pk}/plan/")
    run.refresh_from_db()
    assert (run.state, run.removed_count, run.skipped_count) == ("succeeded", 2, 2)
    assert archived(run) == {"login-1", "login-4"}
    assert {skipped["name"]: skipped["because"] for skipped in run.skipped_sessions} == {
        "login-2": "It was changed after the preview.",
        "login-3": "It was pinned after the preview.",
    }
    undo_cleanup(run)
    assert BrowserSession.objects.filter(name__startswith="login-").count() == 7


def test_a_bounded_search_has_the_same_bound_in_the_run(
    as_operator: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_bounds(monkeypatch, BOUND=12, READ_BOUND=3)
    monkeypatch.setattr(trigrams, "was_ready", lambda: False)
    for hours, name in enumerate(("a-cart", "b", "c-cart", "d-cart", "cart-old")):
        make_session(name, age=timedelta(hours=hours))
    for _ in range(10):
        make_session(age=timedelta(days=300))
    run = planned(as_operator, "q=cart")
    assert run.matched_count == 3
    assert "a name that begins with “cart”" in run.criteria.describe()
    # These are now the latest, so the search would end earlier.
    for number in range(5):
        make_session(f"new-cart-{number}", age=timedelta(hours=-1))
    assert archived(run_cleanup(run)) == {"a-cart", "c-cart", "cart-old"}


def test_a_selection_counts_other_reasons_too(as_operator: Client) -> None:
    make_session("old", age=timedelta(days=4_000), namespace="shop")
    make_session("fresh", namespace="shop", age=timedelta(days=-3_000))
    run = planned(as_operator, "namespace=shop")
    assert run.matched_reasons == {"selected": 2, "expired": 1}


@pytest.mark.parametrize("query", ["problem=sometimes", "problem=any&expired=x"])
def test_an_unknown_filter_value_selects_nothing(as_operator: Client, query: str) -> None:
    make_session("bad", session_id="")
    select_all(as_operator, query)
    assert not CleanupRun.objects.exists()
    assert "Nothing was planned: “" in as_operator.get(LIST).content.decode()


def test_without_a_filter_all_listed_sessions_are_selected(as_operator: Client) -> None:
    for _ in range(3):
        make_session()
    run = planned(as_operator, "o=2")
    assert "selection" not in run.criteria_json
    assert len(run.criteria_json["session_ids"]) == 3


def test_a_selection_of_most_of_the_scope_requires_confirmation(as_operator: Client) -> None:
    for number in range(3):
        make_session(session_id="" if number else "id", namespace="shop")
    run = planned(as_operator, "problem=any&namespace=shop")
    as_operator.post(f"{RUNS}{run.pk}/plan/")
    assert BrowserSession.objects.count() == 3
    as_operator.post(f"{RUNS}{run.pk}/plan/", {"number": "2"})
    assert BrowserSession.objects.count() == 1


def test_the_list_of_runs_finds_and_describes_a_selection(as_operator: Client) -> None:
    make_session("bad", session_id="", namespace="shop")
    run = planned(as_operator, "problem=any&namespace=shop")
    for query in ("rule=selected", "namespace=shop"):
        html = as_operator.get(f"{RUNS}?{query}").content.decode()
        assert "sessions with any problem, in namespace shop" in html
    assert f"Run {run.pk}" not in as_operator.get(f"{RUNS}?rule=all").content.decode()
    download = as_operator.get(f"{RUNS}export.csv?outcome=previews").getvalue().decode()
    assert "sessions with any problem, in namespace shop" in download


def test_validate_includes_all_listed_sessions(as_operator: Client) -> None:
    for number in range(6):
        make_session(f"a-{number}", session_id="")
    response = select_all(as_operator, "q=a-", "validate")
    assert response.context["totals"]["all"] == 6
