"""Finds the sessions that are not among the newest of their group, for plans and previews.

A plan stores the oldest kept session of each group, and its run removes older sessions. So sessions that are
saved after the plan do not displace kept sessions.
"""

from __future__ import annotations

import uuid
from dataclasses import replace
from datetime import datetime
from typing import Any

from django.db import transaction
from django.db.models import Count, Exists, F, Max, OuterRef, Q, QuerySet, Subquery, Window
from django.db.models.functions import Lag, Lead

from sessions_app.models import BrowserSession, CleanupRun, NewestKept
from sessions_app.models.run import PLAN_LIMIT
from sessions_app.session.criteria import Criteria, has_id
from sessions_app.session.keeping import GROUPS, Newest
from sessions_app.transactions import retried_when_busy

GROUPS_LIMIT = 10_000
"""Maximum groups in one plan. The next plan includes the remaining groups."""

INLINE_GROUPS = 100
INLINE_KEPT = 50_000
"""Maximum groups and kept sessions for a preview that lists the kept sessions in its statement."""

_State = CleanupRun.State
_Last = tuple[str, datetime, int]
_IN_USE = (_State.RUNNING, _State.INTERRUPTED, _State.FAILED)


def seal_newest(criteria: Criteria) -> Criteria:
    """Store the oldest kept session of each group; return criteria that refer to the stored sessions.

    Criteria without ``newest`` are returned unchanged.
    """
    if criteria.newest is None:
        return criteria
    last = _last_kept(criteria.newest, criteria.scope())
    sealed = uuid.uuid4().hex
    kept = [NewestKept(sealed=sealed, group=group, idle_since=at, session_key=pk) for group, at, pk in last]
    _store(kept)
    return replace(criteria, newest=replace(criteria.newest, sealed=sealed))


@retried_when_busy
def _store(kept: list[NewestKept]) -> None:
    with transaction.atomic():
        NewestKept.objects.bulk_create(kept, batch_size=500)


def beyond_sealed(criteria: Criteria) -> Q | None:
    """Match the sessions that are older than the stored ones; None for criteria without ``newest``."""
    if criteria.newest is None:
        return None
    later = Q(idle_since__gt=OuterRef("idle_since"))
    same = Q(idle_since=OuterRef("idle_since"), session_key__gt=OuterRef("pk"))
    kept = NewestKept.objects.filter(later | same, sealed=criteria.newest.sealed)
    return Q(Exists(kept.filter(group=criteria.newest.group(OuterRef))))


def beyond_now(criteria: Criteria, *, removed: Q | None = None) -> Q | None:
    """Match the sessions that are not among the newest now, without storing anything.

    Args:
        removed: Sessions that earlier steps remove. They do not count among the newest.
    """
    if criteria.newest is None:
        return None
    newest, scope = criteria.newest, criteria.scope()
    if removed is not None:
        scope &= ~removed
    if newest.per in GROUPS:
        last = _last_kept(newest, scope)
        if len(last) <= INLINE_GROUPS and len(last) * newest.count <= INLINE_KEPT:
            return _beyond_kept(newest.per, last, BrowserSession.objects.filter(scope))
    return Q(pk__in=_beyond(newest, scope).values("pk"))


def _beyond_kept(column: str, last: list[_Last], sessions: QuerySet[BrowserSession]) -> Q:
    """Match the sessions of a few groups, except the kept sessions, which the statement lists.

    Unlike a condition for each group, this lets SQLite count a million sessions from an index alone.
    """
    kept = Q(pk__in=[])
    for group, at, pk in last:
        kept |= Q(**{column: group}) & (Q(idle_since__gt=at) | Q(idle_since=at, pk__gte=pk))
    ids = tuple(sessions.filter(kept).order_by().values_list("pk", flat=True))
    return Q(**{f"{column}__in": [group for group, _, _ in last]}) & ~has_id(ids)


def drop_newest(run: CleanupRun) -> None:
    """Delete the stored sessions of a run's plan."""
    newest = run.criteria.newest
    if newest is not None and newest.sealed:
        NewestKept.objects.filter(sealed=newest.sealed).delete()


def drop_unused_newest(as_of: datetime) -> None:
    """Delete stored sessions that are over a day old, if no run can still use them."""
    used = CleanupRun.objects.filter(state__in=_IN_USE).exclude(criteria_json__newest=None)
    sealed = [run["newest"].get("sealed", "") for run in used.values_list("criteria_json", flat=True)]
    NewestKept.objects.filter(stored_at__lt=as_of - PLAN_LIMIT).exclude(sealed__in=sealed).delete()


def _last_kept(newest: Newest, scope: Q) -> list[_Last]:
    """Return the oldest kept session of each group that has too many sessions, in at most two queries."""
    if newest.per in GROUPS:
        return _last_by_index(newest, BrowserSession.objects.filter(scope).exclude(**{newest.per: ""}))
    rows: QuerySet[Any] = _grouped(newest, scope).annotate(
        newer=_following(newest.count - 1), too_new=_following(newest.count), older=_following(-1)
    )
    last = rows.filter(newer__isnull=False, too_new=None, older__isnull=False)
    return list(last.order_by("group").values_list("group", "idle_since", "pk")[:GROUPS_LIMIT])


def _last_by_index(newest: Newest, sessions: QuerySet[BrowserSession]) -> list[_Last]:
    """Count the sessions of each group, and follow an index to the oldest kept session.

    Both queries read only ``session_namespace_idle`` or ``session_browser_idle``. With a million sessions in
    100 namespaces, they take a tenth of the time of a window function over all sessions.
    """
    column = newest.per
    groups = sessions.order_by(column).values(column).annotate(sessions=Count("*"), one=Max("pk"))
    some = tuple(groups.filter(sessions__gt=newest.count).values_list("one", flat=True)[:GROUPS_LIMIT])
    newest_first = sessions.filter(**{column: OuterRef(column)}).order_by("-idle_since", "-pk")
    last = slice(newest.count - 1, newest.count)
    rows = BrowserSession.objects.filter(has_id(some)).annotate(
        last_at=Subquery(newest_first.values("idle_since")[last]),
        last_key=Subquery(newest_first.values("pk")[last]),
    )
    found = rows.order_by(column).values_list(column, "last_at", "last_key")
    # A group may have shrunk since the first query.
    return [(group, at, key) for group, at, key in found if key is not None]


def _beyond(newest: Newest, scope: Q) -> QuerySet[BrowserSession]:
    return _grouped(newest, scope).annotate(newer=_following(newest.count)).filter(newer__isnull=False)


def _grouped(newest: Newest, scope: Q) -> QuerySet[BrowserSession]:
    rows = BrowserSession.objects.filter(scope).order_by().annotate(group=newest.group())
    return rows.exclude(group="").exclude(group=None)


def _following(offset: int) -> Window:
    """Return the primary key of the session at an offset within its group, or None."""
    function = Lead("pk", offset) if offset > 0 else Lag("pk", -offset) if offset < 0 else Max("pk")
    return Window(function, partition_by=[F("group")], order_by=["idle_since", "pk"])
