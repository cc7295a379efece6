"""Which index leads to what the filters of the list ask for, and to what a user sees.

An index that has all of it in order gives the list. Where none has, the sessions that were accessed last
are looked through, by the index that leaves the fewest.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from datetime import datetime
from functools import reduce
from operator import and_
from typing import Any, NamedTuple

from django.db.models import Q, QuerySet
from django.http import HttpRequest

from sessions_app.access.visibility import hidden_from
from sessions_app.admin.changelist import BOUND, READ_BOUND, first_of, merged
from sessions_app.admin.filters import NAMESPACES_SHOWN, first_namespaces
from sessions_app.admin.formatting import expiry_cutoff, request_time
from sessions_app.models import BrowserSession
from sessions_app.session.lookups import mentions
from sessions_app.session.problems import is_invalid
from sessions_app.session.selection import Selection

BY_AGE = ("-idle_since", "-pk")
ORDERS = {
    "idle_since": ("idle_since", "pk"),
    "size_bytes": ("size_bytes", "pk"),
    "browser_type": ("browser_type", "idle_since", "pk"),
    "namespace": ("namespace", "name"),
}
"""What the list can be sorted by: each is an index, read forwards or backwards."""

_RANGES = ("expired", "accessed")
_LOWER = ("idle_since__gt", "idle_since__gte")
_UPPER = ("idle_since__lt", "idle_since__lte")
SEEN = "seen"
"""Stands among the filters for the namespaces that the user sees, where some are hidden."""


class Asked(NamedTuple):
    """What a list is asked for.

    Args:
        conditions: What each filter asks for, by its name; ``SEEN`` where some namespaces are hidden.
        namespaces: Those that are seen, where some are hidden and these are few.
    """

    selection: Selection
    conditions: dict[str, Q]
    namespaces: tuple[str, ...] = ()


def ask(selection: Selection, as_of: datetime, cutoff: datetime, hidden: Collection[str]) -> Asked:
    """Put a selection into conditions, as judged at an instant, that leave out hidden namespaces."""
    conditions = selection.conditions(as_of, cutoff)
    if selection.namespace in hidden:
        # As one that is not there: no session has that key.
        conditions["namespace"] = Q(pk=0)
    elif hidden and not selection.namespace:
        conditions[SEEN] = ~Q(namespace__in=sorted(hidden))
        seen = first_namespaces(hidden)
        return Asked(selection, conditions, tuple(seen) if len(seen) < NAMESPACES_SHOWN else ())
    return Asked(selection, conditions)


def asked_by(request: HttpRequest, selection: Selection) -> Asked:
    """Ask for a selection at the instant of a request, of what its user sees."""
    as_of = request_time(request)
    return ask(selection, as_of, expiry_cutoff(as_of), hidden_from(request.user))


class Way(NamedTuple):
    """An index as a way to the sessions: what it narrows them to, and which filters are met by that.

    Args:
        has_namespace: Whether the index has the namespace as well.
        ranges: See ``bounded.merged``.
    """

    condition: Q
    met: frozenset[str]
    is_in_order: bool
    noun: str
    has_namespace: bool = False
    ranges: tuple[Q, ...] = ()

    @property
    def bound(self) -> int:
        """So many sessions are read by it; to merge ranges of a generated column, SQLite reads the table."""
        return READ_BOUND if self.ranges else BOUND


def ways(asked: Asked, order: tuple[str, ...]) -> Iterator[Way]:
    """Name the indexes that lead to a selection; those that leave fewer sessions first, as a rule."""
    selection, conditions = asked.selection, asked.conditions
    by = column_of(order)
    is_by_age = by == "idle_since"
    ages = _as_one_range([conditions[name] for name in _RANGES if name in conditions])
    ages_met = frozenset(conditions).intersection(_RANGES)
    plural = "sessions of that age" if ages_met else "sessions"
    if selection.pinned == "yes":
        yield Way(conditions["pinned"] & ages, ages_met | {"pinned"}, is_by_age, f"pinned {plural}", True)
    if selection.problem not in ("", "none") or selection.browser_type == "other":
        met = ages_met | ({"problem"} if selection.problem == "any" else set())
        yield Way(is_invalid() & ages, met, is_by_age, f"{plural} with a problem", True)
    if selection.namespace:
        noun = f"{plural} in namespace {selection.namespace}"
        yield Way(conditions["namespace"] & ages, ages_met | {"namespace"}, is_by_age, noun, True)
        yield Way(conditions["namespace"], frozenset({"namespace"}), by == "namespace", noun, True)
    if asked.namespaces:
        first, *others = (Q(namespace=namespace) for namespace in asked.namespaces)
        condition, ranges = (ages, (first, *others)) if others else (ages & first, ())
        yield Way(condition, ages_met | {SEEN}, is_by_age, plural, True, ranges)
    if selection.browser_type not in ("", "other"):
        noun = f"{plural} of browser type {selection.browser_type}"
        is_in_order = is_by_age or by == "browser_type"
        yield Way(conditions["browser_type"] & ages, ages_met | {"browser_type"}, is_in_order, noun)
    yield Way(ages, ages_met, is_by_age, plural)
    yield Way(Q(), frozenset(), True, "sessions")


def _as_one_range(ranges: Sequence[Q]) -> Q:
    """The part that ranges of the last access have in common, as one: of two limits on one side, SQLite
    would seek by either, and read all that the other leaves out."""
    if len(ranges) < 2:
        return reduce(and_, ranges, Q())
    limits: list[Any] = [limit for one in ranges for limit in one.children]
    lower = [(at, how == "idle_since__gt") for how, at in limits if how not in _UPPER]
    upper = [(at, how != "idle_since__lt") for how, at in limits if how not in _LOWER]
    common = Q()
    if lower:
        at, is_open = max(lower)
        common &= Q(idle_since__gt=at) if is_open else Q(idle_since__gte=at)
    if upper:
        at, is_closed = min(upper)
        common &= Q(idle_since__lte=at) if is_closed else Q(idle_since__lt=at)
    return common


def narrowest(asked: Asked) -> Way:
    """Choose the index to look through: one that leaves so few that all are looked at, or the first."""
    found = [way for way in ways(asked, BY_AGE) if way.is_in_order]
    # The last two, by age alone and of all, leave no fewer than any of the others.
    rivals = found[:-2]
    for way in rivals if len(rivals) > 1 else ():
        if has_few(way):
            return way
    return found[0]


class Entries(NamedTuple):
    """What is looked through in order of age, and what else is asked of each."""

    way: Way
    rest: Sequence[Q]

    @property
    def rows(self) -> QuerySet[BrowserSession]:
        return sessions(self.way, BY_AGE)


def entries_of(asked: Asked) -> Entries:
    way, text = narrowest(asked), asked.selection.text
    return Entries(way, [*rest(way, asked), mentions(text)] if text else rest(way, asked))


def entries_of_choice(asked: Asked, name: str) -> Entries:
    """The entries of the first index that a filter narrows, or else of the first: no other is weighed."""
    others = {other: condition for other, condition in asked.conditions.items() if other != name}
    selection = asked.selection.taking(name, "")
    without = list(ways(asked._replace(selection=selection, conditions=others), BY_AGE))
    found = [way for way in ways(asked, BY_AGE) if way.is_in_order]
    way = next((way for way in found if way not in without), found[0])
    return Entries(way, rest(way, asked))


def has_few(way: Way) -> bool:
    """Whether it leaves so few sessions that all are looked at."""
    rows, count = sessions(way, BY_AGE), way.bound + 1
    left = len(merged(rows, way.ranges, count)) if way.ranges else rows[:count].count()
    return left <= way.bound


def sessions(way: Way, order: Sequence[str]) -> QuerySet[BrowserSession]:
    return BrowserSession.objects.filter(way.condition).order_by(*order)


def first(way: Way, order: Sequence[str], *rest: Q, **limits: Any) -> tuple[list[tuple[Any, ...]], bool]:
    return first_of(sessions(way, order), *rest, ranges=way.ranges, **limits)


def rest(way: Way, asked: Asked) -> list[Q]:
    return [condition for name, condition in asked.conditions.items() if name not in way.met]


def column_of(order: Sequence[str]) -> str:
    return order[0].removeprefix("-")
