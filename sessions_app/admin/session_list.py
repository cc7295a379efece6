"""The list of sessions: which index leads to what its filters, its search and its order ask for.

An index that has all of it in order gives the list. Where none has, the sessions that were accessed last
are looked through, by the index that leaves the fewest, and the page says how far.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace
from datetime import datetime
from functools import reduce
from operator import and_
from typing import Any, NamedTuple

from django.db.models import Q, QuerySet
from django.http import HttpRequest

from sessions_app.admin.bounded import BOUND, READ_BOUND, BoundedChangeList, Listing, first_of, merged
from sessions_app.admin.filters import NAMESPACES_SHOWN, first_namespaces
from sessions_app.admin.presentation import expiry_cutoff, request_time
from sessions_app.admin.sight import hidden_from
from sessions_app.models import BrowserSession
from sessions_app.problems import is_invalid
from sessions_app.searching import mentions
from sessions_app.selections import CHOICES, Selection, Since

BY_AGE = ("-idle_since", "-pk")
ORDERS = {
    "idle_since": ("idle_since", "pk"),
    "size_bytes": ("size_bytes", "pk"),
    "browser_type": ("browser_type", "idle_since", "pk"),
    "namespace": ("namespace", "name"),
}
"""What the list can be sorted by: each is an index, read forwards or backwards."""

_RANGES = ("expired", "accessed")
SEEN = "seen"
"""Stands among the filters for the namespaces that the user sees, where some are hidden."""


class SessionList(BoundedChangeList):
    selection: Selection

    def columns_of(self, name: str) -> Sequence[str]:
        return ORDERS[name]

    @property
    def keeps_conditions(self) -> bool:
        return not self.selection.is_empty

    def look(self, request: HttpRequest) -> Listing:
        order = tuple(self.get_ordering(request, self.root_queryset))
        self.selection = known_selection(request)
        asked = _asked_by(request, self.selection)
        return (_search if self.selection.text else _list)(asked, order)


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
        # As one that is not there.
        conditions["namespace"] = Q(pk__in=[])
    elif hidden and not selection.namespace:
        conditions[SEEN] = ~Q(namespace__in=sorted(hidden))
        seen = first_namespaces(hidden)
        return Asked(selection, conditions, tuple(seen) if len(seen) < NAMESPACES_SHOWN else ())
    return Asked(selection, conditions)


def known_selection(request: HttpRequest) -> Selection:
    """The filters and the search of the address; a value that is none is left out, as its filter shows."""
    query = request.GET.dict()
    unknown = [name for name, choices in CHOICES.items() if query.get(name) not in choices]
    return Selection.from_address({name: value for name, value in query.items() if name not in unknown})


def kept_selection(request: HttpRequest) -> Selection:
    """What the list is asked for, to be kept: with the place at which its search for parts of texts ends.

    Raises: InvalidSelection: a filter has a value that is none.
    """
    selection = Selection.from_address(request.GET.dict())
    if not selection.text:
        return selection
    way = _narrowest(_asked_by(request, selection))
    if _has_few(way):
        return selection
    recent, _ = _first(way, BY_AGE, columns=("idle_since",), bound=READ_BOUND)
    pk, idle_since = recent[-1]
    return replace(selection, since=Since(idle_since, pk))


def _asked_by(request: HttpRequest, selection: Selection) -> Asked:
    as_of = request_time(request)
    return ask(selection, as_of, expiry_cutoff(as_of), hidden_from(request))


def some_of(asked: Asked, wanted: Q, *, is_oldest_first: bool, bound: int) -> list[int]:
    """Give the keys of those that are wanted of so many sessions, by age, at most."""
    order = ORDERS["idle_since"] if is_oldest_first else BY_AGE
    found, _ = _first(_narrowest(asked), order, wanted, bound=bound)
    return [pk for (pk,) in found]


def _list(asked: Asked, order: tuple[str, ...]) -> Listing:
    for way in _ways(asked, order):
        if way.is_in_order and way.met.issuperset(asked.conditions):
            found, is_cut = _first(way, order, bound=way.bound)
            return Listing([pk for (pk,) in found], is_cut=is_cut)
    by = order if _by(order) == "idle_since" else BY_AGE
    way = _narrowest(asked)
    # Names are in no index of those that are in order of age, and namespaces in some.
    is_in_index = _by(order) != "namespace" and (way.has_namespace or SEEN not in asked.conditions)
    bound = way.bound if is_in_index else READ_BOUND
    found, has_more = _first(way, by, *_rest(way, asked), columns=_columns(order), bound=bound)
    listing = Listing(_sorted(found, order, by), is_partial=has_more)
    if has_more:
        listing.notes.append(f"Only the {_recent(way, bound, by)} were looked through: others may match too.")
    return listing


def _search(asked: Asked, order: tuple[str, ...]) -> Listing:
    """Look for names that begin with a text among all, and for parts of texts among the latest sessions."""
    text, columns = asked.selection.text, _columns(order)
    way = _narrowest(asked)
    # So few that all of them can be read are read, though it takes longer.
    bound = way.bound if _has_few(way) else READ_BOUND
    found, has_more = _first(way, BY_AGE, *_rest(way, asked), mentions(text), columns=columns, bound=bound)
    listing = Listing(_sorted(found, order), is_partial=has_more)
    where = f"the {_recent(way, READ_BOUND)}"
    if not has_more:
        among = "all sessions that meet the filters" if asked.conditions.keys() - {SEEN} else "all sessions"
        listing.notes.append(f"Searched: name, host, session id and metadata of {among}.")
        return listing
    named = _named(asked)
    if named is None:
        listing.notes += [
            f"Searched: name, host, session id and metadata of {where}.",
            f"Too many names begin with “{text}”: write more of the name to find it among all.",
        ]
        return listing
    listing.notes.append(
        f"Searched: names that begin with “{text}” in all sessions; "
        f"other matches of name, host, session id and metadata among {where}."
    )
    conditions = asked.conditions.values()
    begin, _ = first_of(named.order_by(*BY_AGE), *conditions, columns=columns, bound=READ_BOUND)
    # Those that were not found before were accessed earlier than all that were.
    earlier = set(begin).difference(found)
    listing.ids = _sorted([*found, *(row for row in begin if row in earlier)], order)
    return listing


def _named(asked: Asked) -> QuerySet[BrowserSession] | None:
    """The sessions with names that begin with the text, where these are few enough to be read."""
    named = BrowserSession.objects.filter(name__begins=asked.selection.text).order_by()
    if SEEN not in asked.conditions:
        return named if named[: READ_BOUND + 1].count() <= READ_BOUND else None
    # The names of sessions that are hidden stand in the way, but only so many of them.
    found, has_more = first_of(named.order_by("name", "pk"), asked.conditions[SEEN])
    if has_more or len(found) > READ_BOUND:
        return None
    return named.filter(pk__in=[pk for (pk,) in found])


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


def _ways(asked: Asked, order: tuple[str, ...]) -> Iterator[Way]:
    """Name the indexes that lead to a selection; those that leave fewer sessions first, as a rule."""
    selection, conditions = asked.selection, asked.conditions
    by = _by(order)
    is_by_age = by == "idle_since"
    ages = reduce(and_, (conditions[name] for name in _RANGES if name in conditions), Q())
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


def _narrowest(asked: Asked) -> Way:
    """Choose the index to look through: one that leaves so few that all are looked at, or the first."""
    ways = [way for way in _ways(asked, BY_AGE) if way.is_in_order]
    # The last two, by age alone and of all, leave no fewer than any of the others.
    rivals = ways[:-2]
    for way in rivals if len(rivals) > 1 else ():
        if _has_few(way):
            return way
    return ways[0]


def _has_few(way: Way) -> bool:
    sessions, count = _sessions(way, BY_AGE), way.bound + 1
    left = len(merged(sessions, way.ranges, count)) if way.ranges else sessions[:count].count()
    return left <= way.bound


def _sessions(way: Way, order: Sequence[str]) -> QuerySet[BrowserSession]:
    return BrowserSession.objects.filter(way.condition).order_by(*order)


def _first(way: Way, order: Sequence[str], *rest: Q, **limits: Any) -> tuple[list[tuple[Any, ...]], bool]:
    return first_of(_sessions(way, order), *rest, ranges=way.ranges, **limits)


def _rest(way: Way, asked: Asked) -> list[Q]:
    return [condition for name, condition in asked.conditions.items() if name not in way.met]


def _recent(way: Way, bound: int, by: Sequence[str] = BY_AGE) -> str:
    return f"{bound:,} {'most' if by == BY_AGE else 'least'} recently accessed {way.noun}"


def _by(order: Sequence[str]) -> str:
    return order[0].removeprefix("-")


def _columns(order: Sequence[str]) -> list[str]:
    """What has to be known of sessions that are in order of age, to sort them."""
    return [column for column in ORDERS[_by(order)] if f"-{column}" not in BY_AGE]


def _sorted(
    found: list[tuple[Any, ...]], order: Sequence[str], found_by: Sequence[str] = BY_AGE
) -> list[int]:
    """Sort keys that have their columns beside them and are in order of age."""
    is_backwards = order[0].startswith("-")
    if is_backwards != found_by[0].startswith("-"):
        found = found[::-1]
    if _by(order) != "idle_since":
        found = sorted(found, key=lambda row: row[1:], reverse=is_backwards)
    return [row[0] for row in found]
