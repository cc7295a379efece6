"""Selections: how they are stored and described."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest

from sessions_app.session.criteria import Criteria, InvalidCriteria
from sessions_app.session.selection import InvalidSelection, Selection, Since

SINCE = Since(datetime(2026, 11, 20, 14, 3, tzinfo=UTC), 17)


def test_a_selection_survives_being_stored() -> None:
    for selection in (
        Selection(problem="any", namespace="shop"),
        Selection(text="log", since=SINCE, expired="no", accessed="7", browser_type="other", pinned="no"),
    ):
        assert Selection.from_json(json.loads(json.dumps(selection.to_json()))) == selection
        criteria = Criteria.from_selection(selection, max_age_days=3)
        assert Criteria.from_json(json.loads(json.dumps(criteria.to_json()))) == criteria


def test_the_stored_form_of_criteria_without_a_selection_is_unchanged() -> None:
    stored = {
        "expired": True,
        "invalid": False,
        "all": False,
        "session_ids": None,
        "has_vanished": False,
        "max_age_days": 7,
        "namespace": "",
        "browser_type": "",
        "directory": None,
    }
    assert Criteria.from_json(stored).to_json() == stored


def test_an_empty_selection_is_refused() -> None:
    with pytest.raises(InvalidCriteria, match="filter the list"):
        Criteria.from_selection(Selection(), max_age_days=7)
    with pytest.raises(InvalidCriteria):
        Criteria(selection=Selection(namespace="shop"))


def test_an_unknown_value_of_a_filter_is_refused_with_the_known_ones() -> None:
    with pytest.raises(InvalidSelection, match="“sometimes” is not one of: yes, no"):
        Selection.from_address({"expired": "sometimes"})


def test_a_selection_is_read_from_an_address() -> None:
    query = {"problem": "any", "namespace": "shop", "q": "  log ", "o": "-7", "p": "3"}
    assert Selection.from_address(query) == Selection(
        problem="any", namespace="shop", text="log", in_metadata=True, by_words=True
    )
    assert Selection.from_address({"o": "1"}).is_empty


@pytest.mark.parametrize(
    ("selection", "text"),
    [
        (Selection(problem="any", pinned="no"), "sessions with any problem, not pinned"),
        (Selection(problem="none", namespace="shop"), "sessions without a problem, in namespace shop"),
        (
            Selection(problem="missing_cdp_url", browser_type="firefox"),
            "sessions with the problem “The endpoint (cdp_url) is missing”, of browser type firefox",
        ),
        (
            Selection(expired="yes", accessed="older"),
            "sessions expired (last accessed over 7 days ago), last accessed over 30 days ago",
        ),
        (Selection(text="log"), "sessions with “log” in name, host or session id"),
        (
            Selection(text="log", in_metadata=True),
            "sessions with “log” in name, host, session id or metadata",
        ),
        (
            Selection(text="log", since=SINCE, namespace="shop"),
            "sessions with a name that begins with “log”, or with it in name, host or session id "  # noqa: ISC004
            "where accessed since 2026-11-20 14:03 UTC, in namespace shop",
        ),
        (
            Selection(text="ws://127.0.0.1:9222/devtools/browser/0123-4567"),
            "sessions with “ws://127.0.0.1:9222/…” in name, host or session id",
        ),
        (Selection(namespace="shop"), "sessions, in namespace shop"),
    ],
)
def test_a_selection_describes_its_filters(selection: Selection, text: str) -> None:
    assert Criteria.from_selection(selection, max_age_days=7).describe() == text
