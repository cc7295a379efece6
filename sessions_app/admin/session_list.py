"""The list of sessions: which index leads to what its filters, its search and its order ask for.

An index that has all of it in order gives the list. Where none has, the sessions that were accessed last
are looked through, by the index that leaves the fewest, and the page says how far.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from functools import reduce
from operator import and_
from typing import Any, NamedTuple

from django.db.models import Q, QuerySet
from django.http import HttpRequest

from sessions_app.admin.bounded import BOUND, READ_BOUND, BoundedChangeList, Listing, first_of
from sessions_app.admin.presentation import expiry_cutoff, request_time
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
_LOWER = ("idle_since__gt", "idle_since__gte")
_UPPER = ("idle_since__lt", "idle_since__lte")


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
        return listing_of(self.selection, request_time(request), order)


def listing_of(selection: Selection, as_of: datetime, order: tuple[str, ...]) -> Listing:
    """What is listed of a selection."""
    find = _search if selection.text else _list
    return find(selection, selection.conditions(as_of, expiry_cutoff(as_of)), order)


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
    as_of = request_time(request)
    recent = recent_sessions(selection, as_of, expiry_cutoff(as_of))
    if has_few(recent):
        return selection
    last = recent.values_list("idle_since", "pk")[READ_BOUND - 1]
    return replace(selection, since=Since(*last))


def recent_sessions(selection: Selection, as_of: datetime, cutoff: datetime) -> QuerySet[BrowserSession]:
    """The sessions among which those of a selection are looked for, the most recently accessed first."""
    return _sessions(_narrowest(selection, selection.conditions(as_of, cutoff)), BY_AGE)


def _list(selection: Selection, asked: Mapping[str, Q], order: tuple[str, ...]) -> Listing:
    for way in _ways(selection, asked, order):
        if way.is_in_order and way.met.issuperset(asked):
            found, is_cut = first_of(_sessions(way, order))
            return Listing([pk for (pk,) in found], is_cut=is_cut)
    by = order if _by(order) == "idle_since" else BY_AGE
    # Names are in no index of those that are in order of age.
    bound = READ_BOUND if _by(order) == "namespace" else BOUND
    way = _narrowest(selection, asked)
    found, has_more = first_of(_sessions(way, by), *_rest(way, asked), columns=_columns(order), bound=bound)
    listing = Listing(_sorted(found, order, by), is_partial=has_more)
    if has_more:
        listing.notes.append(f"Only the {_recent(way, bound, by)} were looked through: others may match too.")
    return listing


def _search(selection: Selection, asked: Mapping[str, Q], order: tuple[str, ...]) -> Listing:
    """Look for names that begin with a text among all, and for parts of texts among the latest sessions."""
    text, columns = selection.text, _columns(order)
    way = _narrowest(selection, asked)
    recent = _sessions(way, BY_AGE)
    wanted = (*_rest(way, asked), mentions(text))
    # So few that all of them can be read are read, though it takes longer.
    bound = BOUND if has_few(recent) else READ_BOUND
    found, has_more = first_of(recent, *wanted, columns=columns, bound=bound)
    listing = Listing(_sorted(found, order), is_partial=has_more)
    where = f"the {_recent(way, READ_BOUND)}"
    if not has_more:
        among = "all sessions that meet the filters" if asked else "all sessions"
        listing.notes.append(f"Searched: name, host, session id and metadata of {among}.")
        return listing
    named = BrowserSession.objects.filter(name__begins=text).order_by()
    if named[: READ_BOUND + 1].count() > READ_BOUND:
        listing.notes += [
            f"Searched: name, host, session id and metadata of {where}.",
            f"Over {READ_BOUND:,} names begin with “{text}”: write more of the name to find it among all.",
        ]
        return listing
    listing.notes.append(
        f"Searched: names that begin with “{text}” in all sessions; "
        f"other matches of name, host, session id and metadata among {where}."
    )
    begin, _ = first_of(named.order_by(*BY_AGE), *asked.values(), columns=columns, bound=READ_BOUND)
    # Those that were not found before were accessed earlier than all that were.
    earlier = set(begin).difference(found)
    listing.ids = _sorted([*found, *(row for row in begin if row in earlier)], order)
    return listing


class Way(NamedTuple):
    """An index as a way to the sessions: what it narrows them to, and which filters are met by that."""

    condition: Q
    met: frozenset[str]
    is_in_order: bool
    noun: str


def _ways(selection: Selection, asked: Mapping[str, Q], order: tuple[str, ...]) -> Iterator[Way]:
    """Name the indexes that lead to a selection; those that leave fewer sessions first, as a rule."""
    by = _by(order)
    is_by_age = by == "idle_since"
    ranges = _as_one_range([asked[name] for name in _RANGES if name in asked])
    ranges_met = frozenset(asked).intersection(_RANGES)
    plural = "sessions of that age" if ranges_met else "sessions"
    if selection.pinned == "yes":
        yield Way(asked["pinned"] & ranges, ranges_met | {"pinned"}, is_by_age, f"pinned {plural}")
    if selection.problem not in ("", "none") or selection.browser_type == "other":
        met = ranges_met | ({"problem"} if selection.problem == "any" else set())
        yield Way(is_invalid() & ranges, met, is_by_age, f"{plural} with a problem")
    if selection.namespace:
        noun = f"{plural} in namespace {selection.namespace}"
        yield Way(asked["namespace"] & ranges, ranges_met | {"namespace"}, is_by_age, noun)
        yield Way(asked["namespace"], frozenset({"namespace"}), by == "namespace", noun)
    if selection.browser_type not in ("", "other"):
        noun = f"{plural} of browser type {selection.browser_type}"
        is_in_order = is_by_age or by == "browser_type"
        yield Way(asked["browser_type"] & ranges, ranges_met | {"browser_type"}, is_in_order, noun)
    yield Way(ranges, ranges_met, is_by_age, plural)
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


def _narrowest(selection: Selection, asked: Mapping[str, Q]) -> Way:
    """Choose the index to look through: one that leaves so few that all are looked at, or the first."""
    ways = [way for way in _ways(selection, asked, BY_AGE) if way.is_in_order]
    # The last two, by age alone and of all, leave no fewer than any of the others.
    rivals = ways[:-2]
    for way in rivals if len(rivals) > 1 else ():
        if has_few(_sessions(way, BY_AGE)):
            return way
    return ways[0]


class Entries(NamedTuple):
    """What is looked through in order of age, and what else is asked of each."""

    way: Way
    rest: Sequence[Q]

    @property
    def rows(self) -> QuerySet[BrowserSession]:
        return _sessions(self.way, BY_AGE)


def entries_of(selection: Selection, asked: Mapping[str, Q]) -> Entries:
    way = _narrowest(selection, asked)
    rest = _rest(way, asked)
    return Entries(way, [*rest, mentions(selection.text)] if selection.text else rest)


def entries_of_choice(selection: Selection, name: str, asked: Mapping[str, Q]) -> Entries:
    """The entries of the first index that a filter narrows, or else of the first: no other is weighed."""
    others = {other: condition for other, condition in asked.items() if other != name}
    without = list(_ways(selection.taking(name, ""), others, BY_AGE))
    ways = [way for way in _ways(selection, asked, BY_AGE) if way.is_in_order]
    way = next((way for way in ways if way not in without), ways[0])
    return Entries(way, _rest(way, asked))


def has_few(sessions: QuerySet[BrowserSession]) -> bool:
    return sessions[: BOUND + 1].count() <= BOUND


def _sessions(way: Way, order: Sequence[str]) -> QuerySet[BrowserSession]:
    return BrowserSession.objects.filter(way.condition).order_by(*order)


def _rest(way: Way, asked: Mapping[str, Q]) -> list[Q]:
    return [condition for name, condition in asked.items() if name not in way.met]


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
