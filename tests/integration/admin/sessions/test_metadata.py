"""Columns and filters of the list for metadata keys."""

from __future__ import annotations

import re
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from sessions_app.admin.formatting import NONE
from sessions_app.cleanup import plan_cleanup, run_cleanup
from sessions_app.models import BrowserSession, LimitedNamespace, SessionSearch
from sessions_app.session.criteria import Criteria
from sessions_app.session.search_text import LABELS, labels_of
from sessions_app.session.selection import Selection
from tests.clients import LIST, RUNS, names, page_at, set_bounds
from tests.factories import ENDPOINT, OLD, SECRET, live, make_session

pytestmark = pytest.mark.django_db


def people() -> None:
    for name, user, env in (("a", "ada", "ci"), ("b", "ada", "staging"), ("c", "grace", "ci")):
        make_session(name, metadata={"user": user, "env": env})
    make_session("d", metadata={"user": "ada lovelace", "env": "CI"}, **OLD)


def choose(client: Client, *keys: str) -> None:
    client.post(f"{LIST}columns/", {"column": keys})


def test_filters_by_metadata_match_whole_values_and_combine(see: Any) -> None:
    people()
    assert names(see(f"{LIST}?metadata.user=ada&o=1")) == ["a", "b"]
    assert names(see(f"{LIST}?metadata.user=ada&metadata.env=ci")) == ["a"]
    assert names(see(f"{LIST}?metadata.env=ci&o=1")) == ["a", "c"]
    assert names(see(f"{LIST}?metadata.user=ada%25")) == names(see(f"{LIST}?metadata.use=ada")) == []
    assert names(see(f"{LIST}?metadata.env=ci&q=gra")) == ["c"]
    assert len(names(see(f"{LIST}?metadata.env="))) == 4


def test_the_list_offers_a_filter_for_keys_that_group_the_sessions(see: Any) -> None:
    people()
    html = see()
    assert "By user" in html
    assert 'href="?metadata.env=ci"' in html
    make_session("e", metadata={"build": "1"})
    assert "By build" not in see()
    assert "By build" in see(f"{LIST}?metadata.build=1")


def test_chosen_keys_are_columns_with_filters(as_viewer: Client) -> None:
    people()
    make_session("e", metadata={"build": "17"})
    choose(as_viewer, "build", "user")
    html = as_viewer.get(f"{LIST}?o=1").content.decode()
    assert re.findall(r'field-metadata"[^>]*>([^<]*)<', html)[:4] == [NONE, "ada", NONE, "ada"]
    assert "By build" in html
    assert 'name="column" value="build" checked' in html
    choose(as_viewer)
    assert "field-metadata" not in as_viewer.get(LIST).content.decode()


def test_choosing_columns_keeps_the_filters(as_viewer: Client) -> None:
    response = as_viewer.post(f"{LIST}columns/?namespace=shop&o=1", {"column": ["user"]})
    assert response["Location"] == f"{LIST}?namespace=shop&o=1"
    assert as_viewer.get(f"{LIST}columns/").status_code == 405


def test_labels_contain_no_secrets_and_cannot_forge_another_label() -> None:
    session = make_session(
        metadata={
            "user": "ada\nenv\x1eforged",
            "note": f"see {ENDPOINT}",
            "cdp_url": ENDPOINT,
            "token": "t0p",
            "nested": {"team": "blue", "tags": ["x", "y"]},
            "count": 3,
            "is_smoke": True,
            "long": "x" * 500,
        }
    )
    stored = SessionSearch.objects.get(pk=session.pk).labels
    labels = labels_of(stored)
    assert labels["user"] == r"ada\nenv\x1eforged"
    assert (labels["team"], labels["tags"], labels["count"], labels["is_smoke"]) == ("blue", "x", "3", "true")
    assert not {"env", "token", "cdp_url", "long"} & labels.keys()
    assert SECRET not in stored
    many = make_session(metadata={f"key-{number}": number for number in range(500)})
    assert len(labels_of(SessionSearch.objects.get(pk=many.pk).labels)) == LABELS


@pytest.mark.parametrize("key", ["user name", "a=b", "ключ", "%", "x.y", "constructor"])
def test_the_url_accepts_any_key_as_a_filter(see: Any, key: str) -> None:
    from urllib.parse import quote

    make_session("one", metadata={key: "b=c"})
    make_session("two", metadata={key: "b"})
    assert names(see(f"{LIST}?metadata.{quote(key)}=b%3Dc")) == ["one"]


def test_values_of_hidden_namespaces_are_not_offered(as_viewer: Client, viewer: User) -> None:
    make_session("open", namespace="shop", metadata={"user": "ada"})
    for number in range(3):
        make_session(f"hidden-{number}", namespace="secret", metadata={"user": "grace", "vault": "7"})
    LimitedNamespace.objects.create(namespace="secret")
    html = as_viewer.get(f"{LIST}?metadata.user=ada").content.decode()
    assert "grace" not in html
    assert "vault" not in html
    assert names(as_viewer.get(f"{LIST}?metadata.user=grace").content.decode()) == []


def test_all_matches_are_cleaned_up(as_operator: Client) -> None:
    people()
    selection = Selection.from_address({"metadata.user": "ada"})
    any_id = BrowserSession.objects.latest("pk").pk
    data = {"action": "clean_up", "select_across": "1", "_selected_action": [any_id]}
    response = as_operator.post(f"{LIST}?metadata.user=ada", data)
    page = page_at(as_operator, response["Location"])
    assert "sessions with user “ada” in metadata" in page.text
    run = plan_cleanup(Criteria.from_selection(selection, max_age_days=7), trigger="admin")
    assert Criteria.from_json(run.criteria_json).selection == selection
    run_cleanup(run)
    assert live() == ["c", "d"]
    assert "ada" in as_operator.get(f"{RUNS}{run.pk}/sessions.json").getvalue().decode()


def test_a_filter_reads_bounded_rows(see: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(40):
        make_session(f"s{number:02}", metadata={"user": "ada" if number % 2 else "grace"})
    set_bounds(monkeypatch, BOUND=20, READ_BOUND=10)
    with CaptureQueriesContext(connection) as queries:
        html = see(f"{LIST}?metadata.user=ada")
    assert len(names(html)) == 10
    assert "Over 10 sessions match the search. Only the most recently added 10 were read." in html
    for sql in (query["sql"] for query in queries if "browsersession" in query["sql"]):
        assert "LIMIT" in sql or '"id" IN (' in sql, sql
