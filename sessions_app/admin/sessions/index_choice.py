"""Choose the database index for the filters of the list and the namespaces that a user sees.

An index that covers all filters in the order of the list provides the list. Without one, the most recently
accessed sessions are searched through the index that leaves the fewest.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from datetime import datetime
from functools import reduce
from operator import and_
from typing import Any, NamedTuple

from django.db.models import OrderBy, Q, QuerySet
from django.http import HttpRequest

from sessions_app.access.visibility import hidden_from
from sessions_app.admin.changelist import BOUND, READ_BOUND, first_rows, merge_ranges
from sessions_app.admin.filters import NAMESPACES_SHOWN, first_namespaces
from sessions_app.admin.formatting import expiry_cutoff, request_time
from sessions_app.models import BrowserSession
from sessions_app.session.browser_states import BrowserState, in_state
from sessions_app.session.lookups import ByteOrder
from sessions_app.session.problems import is_invalid
from sessions_app.session.selection import Selection

BY_AGE = ("-idle_since", "-pk")
ORDERS = {
    "idle_since": ("idle_since", "pk"),
    "size_bytes": ("size_bytes", "pk"),
    "browser_type": ("browser_type", "idle_since", "pk"),
    "namespace": ("namespace", "name"),
    "name": ("name", "pk"),
}
"""The orders of the list that an index provides, forwards or backwards. See also ``status_order``."""

_RANGES = ("expired", "accessed")
_LOWER = ("idle_since__gt", "idle_since__gte")
_UPPER = ("idle_since__lt", "idle_since__lte")
SEEN = "seen"
"""Key of the condition that leaves out hidden namespaces, if there are any."""


class ListQuery(NamedTuple):
    """The selection of a list and its conditions.

    Args:
        conditions: The condition of each filter by name, and ``SEEN`` if some namespaces are hidden.
        namespaces: The visible namespaces, if some are hidden and only a few are visible.
    """

    selection: Selection
    conditions: dict[str, Q]
    namespaces: tuple[str, ...] = ()


def build_query(
    selection: Selection, as_of: datetime, cutoff: datetime, hidden: Collection[str]
) -> ListQuery:
    """Build the conditions of a selection at an instant, without hidden namespaces."""
    conditions = selection.conditions(as_of, cutoff)
    if selection.namespace in hidden:
        # Treat it like a namespace that does not exist.
        conditions["namespace"] = Q(pk=0)
    elif hidden and not selection.namespace:
        conditions[SEEN] = ~Q(namespace__in=sorted(hidden))
        seen = first_namespaces(hidden)
        return ListQuery(selection, conditions, tuple(seen) if len(seen) < NAMESPACES_SHOWN else ())
    return ListQuery(selection, conditions)


def query_of_request(request: HttpRequest, selection: Selection) -> ListQuery:
    """Build the query of a selection at the instant of a request, for its user."""
    as_of = request_time(request)
    return build_query(selection, as_of, expiry_cutoff(as_of), hidden_from(request.user))


class IndexChoice(NamedTuple):
    """An index: the condition that it narrows the sessions to, and the filters that this covers.

    Args:
        noun: Describes the sessions that it leaves.
        has_namespace: The index includes the namespace.
        ranges: See ``changelist.merge_ranges``.
    """

    condition: Q
    met: frozenset[str]
    is_in_order: bool
    noun: str
    has_namespace: bool = False
    ranges: tuple[Q, ...] = ()

    @property
    def bound(self) -> int:
        """Maximum rows to read; to merge ranges of a generated column, SQLite reads the table."""
        return READ_BOUND if self.ranges else BOUND


def index_choices(query: ListQuery, order: tuple[str, ...]) -> Iterator[IndexChoice]:
    """Yield the indexes for a selection; usually those that leave fewer sessions come first."""
    selection, conditions = query.selection, query.conditions
    by = column_of(order)
    is_by_age = by == "idle_since"
    ages = _as_one_range([conditions[name] for name in _RANGES if name in conditions])
    ages_met = frozenset(conditions).intersection(_RANGES)
    plural = "sessions of that age" if ages_met else "sessions"
    if selection.pinned == "yes":
        yield IndexChoice(
            conditions["pinned"] & ages, ages_met | {"pinned"}, is_by_age, f"pinned {plural}", True
        )
    if selection.problem not in ("", "none") or selection.browser_type == "other":
        met = ages_met | ({"problem"} if selection.problem == "any" else set())
        yield IndexChoice(is_invalid() & ages, met, is_by_age, f"{plural} with a problem", True)
    if selection.browser not in ("", "unknown"):
        noun = f"{plural} with a browser in that state"
        state = in_state(BrowserState[selection.browser.upper()])
        yield IndexChoice(state & ages, ages_met, is_by_age, noun)
    if selection.namespace:
        noun = f"{plural} in namespace {selection.namespace}"
        yield IndexChoice(conditions["namespace"] & ages, ages_met | {"namespace"}, is_by_age, noun, True)
        yield IndexChoice(conditions["namespace"], frozenset({"namespace"}), by == "namespace", noun, True)
    if query.namespaces:
        first, *others = (Q(namespace=namespace) for namespace in query.namespaces)
        condition, ranges = (ages, (first, *others)) if others else (ages & first, ())
        yield IndexChoice(condition, ages_met | {SEEN}, is_by_age, plural, True, ranges)
    if selection.browser_type not in ("", "other"):
        noun = f"{plural} of browser type {selection.browser_type}"
        is_in_order = is_by_age or by == "browser_type"
        yield IndexChoice(conditions["browser_type"] & ages, ages_met | {"browser_type"}, is_in_order, noun)
    yield IndexChoice(ages, ages_met, is_by_age, plural)
    yield IndexChoice(Q(), frozenset(), True, "sessions")


def _as_one_range(ranges: Sequence[Q]) -> Q:
    """Combine ranges of the last access into one.

    With two limits on the same side, SQLite seeks by either and reads all rows that the other excludes.
    """
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


def narrowest_index(query: ListQuery) -> IndexChoice:
    """Return the first index that leaves few enough rows to read all of them, or else the first."""
    found = [index for index in index_choices(query, BY_AGE) if index.is_in_order]
    # The last two, by age only and without any condition, never leave fewer rows than the others.
    candidates = found[:-2]
    for index in candidates if len(candidates) > 1 else ():
        if has_few_rows(index):
            return index
    return found[0]


class Entries(NamedTuple):
    """An index to read in order of age, and the conditions that it does not cover."""

    choice: IndexChoice
    remaining: Sequence[Q]

    @property
    def rows(self) -> QuerySet[BrowserSession]:
        return sessions(self.choice, BY_AGE)


def entries_of(query: ListQuery) -> Entries:
    index, searched = narrowest_index(query), query.selection.search_condition()
    return Entries(index, [*remaining(index, query), searched] if searched else remaining(index, query))


def entries_for_filter(query: ListQuery, name: str) -> Entries:
    """Return the entries of the first index that a filter narrows, or else of the first index."""
    others = {other: condition for other, condition in query.conditions.items() if other != name}
    selection = query.selection.taking(name, "")
    without = list(index_choices(query._replace(selection=selection, conditions=others), BY_AGE))
    found = [index for index in index_choices(query, BY_AGE) if index.is_in_order]
    index = next((index for index in found if index not in without), found[0])
    return Entries(index, remaining(index, query))


def has_few_rows(index: IndexChoice) -> bool:
    """Check whether an index leaves few enough sessions to read all of them."""
    rows, count = sessions(index, BY_AGE), index.bound + 1
    left = len(merge_ranges(rows, index.ranges, count)) if index.ranges else rows[:count].count()
    return left <= index.bound


def sessions(index: IndexChoice, order: Sequence[str]) -> QuerySet[BrowserSession]:
    rows = BrowserSession.objects.filter(index.condition)
    if column_of(order) != "name":
        return rows.order_by(*order)
    is_backwards = order[0].startswith("-")
    return rows.order_by(OrderBy(ByteOrder("name"), descending=is_backwards), order[1])


def first_by_index(
    index: IndexChoice, order: Sequence[str], *others: Q, **limits: Any
) -> tuple[list[tuple[Any, ...]], bool]:
    return first_rows(sessions(index, order), *others, ranges=index.ranges, **limits)


def remaining(index: IndexChoice, query: ListQuery) -> list[Q]:
    return [condition for name, condition in query.conditions.items() if name not in index.met]


def column_of(order: Sequence[str]) -> str:
    return order[0].removeprefix("-")
