from __future__ import annotations

import json

import pytest

from sessions_app.session.criteria import Criteria, InvalidCriteria, Reason, count_reasons, reasons_in
from sessions_app.session.problems import Problem


def test_an_empty_criteria_is_refused() -> None:
    with pytest.raises(InvalidCriteria, match="Nothing to clean up was named"):
        Criteria()
    with pytest.raises(InvalidCriteria):
        Criteria(namespace="shop", browser_type="chromium")


@pytest.mark.parametrize("days", [0, -1, 40_000, float("nan"), float("inf")])
def test_an_impossible_age_is_refused(days: float) -> None:
    with pytest.raises(InvalidCriteria, match="maximum age"):
        Criteria(expired=True, max_age_days=days)


def test_criteria_survive_being_stored() -> None:
    criteria = Criteria(expired=True, session_ids=(3, 4), max_age_days=0.5, namespace="shop")
    assert Criteria.from_json(json.loads(json.dumps(criteria.to_json()))) == criteria


def test_a_session_with_two_reasons_counts_in_both() -> None:
    both = Reason.EXPIRED | Problem.MISSING_CDP_URL
    assert count_reasons([(both, 3), (Reason.EXPIRED, 2)]) == {"missing_cdp_url": 3, "expired": 5}
    assert reasons_in(both) == [Problem.MISSING_CDP_URL, Reason.EXPIRED]


@pytest.mark.parametrize(
    ("criteria", "text"),
    [
        (Criteria(expired=True, max_age_days=7), "expired (last accessed over 7 days ago)"),
        (
            Criteria(expired=True, invalid=True, max_age_days=1),
            "expired (last accessed over 1 day ago) or invalid",
        ),
        (Criteria(all=True, namespace="shop"), "all sessions, in namespace shop"),
        (Criteria(session_ids=(1, 2)), "2 selected"),
        (Criteria(session_ids=(1,), has_vanished=True), "sessions whose files are gone"),
    ],
)
def test_criteria_describe_what_they_match(criteria: Criteria, text: str) -> None:
    assert criteria.describe() == text
