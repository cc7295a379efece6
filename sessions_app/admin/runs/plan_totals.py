"""The current totals of a plan, without a scan of all sessions."""

from __future__ import annotations

from typing import NamedTuple

from django.db.models import QuerySet

from sessions_app.admin.changelist import first_rows
from sessions_app.admin.sessions.changelist import sample_ids
from sessions_app.admin.sessions.index_choice import build_query
from sessions_app.cleanup import matching, planned_condition
from sessions_app.models import BrowserSession, CleanupRun, PlannedSessions
from sessions_app.session.criteria import Criteria
from sessions_app.session.problems import is_invalid
from sessions_app.session.selection import Selection

READ_SESSIONS = 1_000
"""Maximum sessions read for the page of a plan; a larger plan lists only some of its sessions."""


class PlanTotals(NamedTuple):
    """The totals of a plan.

    Args:
        listed: Ids of its sessions, or of some of them.
        is_counted_now: False if the numbers are those of the time of the plan.
    """

    session_count: int
    size_bytes: int
    listed: list[int]
    is_counted_now: bool


def current_totals(run: CleanupRun) -> PlanTotals:
    """Count what is left of a plan; for a large one, return its stored numbers and some of its sessions."""
    if run.matched_count > READ_SESSIONS:
        return PlanTotals(run.matched_count, run.matched_bytes, _sample_ids(run), is_counted_now=False)
    left = matching(run)
    if planned := PlannedSessions.objects.filter(pk=run.pk).first():
        left = left.filter(pk__in=planned.ids_json)
    rows = list(left.order_by("pk").values_list("pk", "size_bytes"))
    return PlanTotals(len(rows), sum(size for _, size in rows), [pk for pk, _ in rows], is_counted_now=True)


def _sample_ids(run: CleanupRun) -> list[int]:
    """Return the ids of the plan's sessions among the first rows of a suitable index."""
    criteria = run.criteria
    is_planned = planned_condition(run)
    if criteria.selection is not None or criteria.not_namespaces:
        selection = criteria.selection or Selection(namespace=criteria.namespace)
        query = build_query(selection, run.as_of, criteria.cutoff(run.as_of), criteria.not_namespaces)
        is_oldest_first = criteria.selection is None
        return sample_ids(query, is_planned, is_oldest_first=is_oldest_first, bound=READ_SESSIONS)
    found, _ = first_rows(_sessions(criteria), is_planned, bound=READ_SESSIONS)
    return [pk for (pk,) in found]


def _sessions(criteria: Criteria) -> QuerySet[BrowserSession]:
    sessions = BrowserSession.objects.order_by("idle_since", "pk")
    if criteria.invalid and not criteria.expired:
        return sessions.filter(is_invalid())
    if criteria.namespace:
        return sessions.filter(namespace=criteria.namespace)
    return sessions.filter(browser_type=criteria.browser_type) if criteria.browser_type else sessions
