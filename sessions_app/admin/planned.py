"""What a plan would take now, as far as that is told without going through all sessions."""

from __future__ import annotations

from typing import NamedTuple

from django.db.models import QuerySet

from sessions_app.admin.bounded import first_of
from sessions_app.admin.session_list import some_of
from sessions_app.admin.ways import ask
from sessions_app.cleanup import is_taken, matching
from sessions_app.criteria import Criteria
from sessions_app.models import BrowserSession, CleanupRun, PlannedSessions
from sessions_app.problems import is_invalid
from sessions_app.selections import Selection

READ_SESSIONS = 1_000
"""So many sessions are read for the page of a plan; of one that takes more, only some are listed."""


class Taken(NamedTuple):
    """What a plan takes.

    Args:
        listed: The keys of its sessions, or of some of them.
        is_counted_now: Off: the numbers are those of the plan.
    """

    session_count: int
    size_bytes: int
    listed: list[int]
    is_counted_now: bool


def taken_now(run: CleanupRun) -> Taken:
    """Count what is left of a plan; a larger one has its own numbers, and some of its sessions."""
    if run.matched_count > READ_SESSIONS:
        return Taken(run.matched_count, run.matched_bytes, _some_of(run), is_counted_now=False)
    left = matching(run)
    if planned := PlannedSessions.objects.filter(pk=run.pk).first():
        left = left.filter(pk__in=planned.ids_json)
    rows = list(left.order_by("pk").values_list("pk", "size_bytes"))
    return Taken(len(rows), sum(size for _, size in rows), [pk for pk, _ in rows], is_counted_now=True)


def _some_of(run: CleanupRun) -> list[int]:
    """Give those of a plan that are among the first sessions of an index that leads to it."""
    criteria = run.criteria
    condition = is_taken(run)
    if criteria.selection is not None or criteria.not_namespaces:
        selection = criteria.selection or Selection(namespace=criteria.namespace)
        asked = ask(selection, run.as_of, criteria.cutoff(run.as_of), criteria.not_namespaces)
        is_oldest_first = criteria.selection is None
        return some_of(asked, condition, is_oldest_first=is_oldest_first, bound=READ_SESSIONS)
    found, _ = first_of(_sessions(criteria), condition, bound=READ_SESSIONS)
    return [pk for (pk,) in found]


def _sessions(criteria: Criteria) -> QuerySet[BrowserSession]:
    sessions = BrowserSession.objects.order_by("idle_since", "pk")
    if criteria.invalid and not criteria.expired:
        return sessions.filter(is_invalid())
    if criteria.namespace:
        return sessions.filter(namespace=criteria.namespace)
    return sessions.filter(browser_type=criteria.browser_type) if criteria.browser_type else sessions
