"""The list of sessions: what its filters, its search and its order leave, and how far that was looked for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from django.db.models import Q, QuerySet
from django.http import HttpRequest

from sessions_app.admin.changelist import BOUND, READ_BOUND, BoundedChangeList, Listing, first_of
from sessions_app.admin.sessions.index_choice import (
    BY_AGE,
    ORDERS,
    SEEN,
    Asked,
    Way,
    asked_by,
    column_of,
    first,
    has_few,
    narrowest,
    rest,
    ways,
)
from sessions_app.models import BrowserSession
from sessions_app.session.lookups import mentions
from sessions_app.session.selection import CHOICES, Selection, Since


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
        return listing_of(asked_by(request, self.selection), order)


def listing_of(asked: Asked, order: tuple[str, ...]) -> Listing:
    """What is listed of what is asked for."""
    return (_search if asked.selection.text else _list)(asked, order)


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
    way = narrowest(asked_by(request, selection))
    if has_few(way):
        return selection
    recent, _ = first(way, BY_AGE, columns=("idle_since",), bound=READ_BOUND)
    pk, idle_since = recent[-1]
    return replace(selection, since=Since(idle_since, pk))


def some_of(asked: Asked, wanted: Q, *, is_oldest_first: bool, bound: int) -> list[int]:
    """Give the keys of those that are wanted of so many sessions, by age, at most."""
    order = ORDERS["idle_since"] if is_oldest_first else BY_AGE
    found, _ = first(narrowest(asked), order, wanted, bound=bound)
    return [pk for (pk,) in found]


def _list(asked: Asked, order: tuple[str, ...]) -> Listing:
    for way in ways(asked, order):
        if way.is_in_order and way.met.issuperset(asked.conditions):
            found, is_cut = first(way, order, bound=way.bound)
            return Listing([pk for (pk,) in found], is_cut=is_cut)
    by = order if column_of(order) == "idle_since" else BY_AGE
    way = narrowest(asked)
    # Names are in no index of those that are in order of age, and namespaces in some.
    is_in_index = column_of(order) != "namespace" and (way.has_namespace or SEEN not in asked.conditions)
    bound = way.bound if is_in_index else READ_BOUND
    found, has_more = first(way, by, *rest(way, asked), columns=_columns(order), bound=bound)
    listing = Listing(_sorted(found, order, by), is_partial=has_more)
    if has_more:
        listing.notes.append(f"Only the {_recent(way, bound, by)} were looked through: others may match too.")
    return listing


def _search(asked: Asked, order: tuple[str, ...]) -> Listing:
    """Look for names that begin with a text among all, and for parts of texts among the latest sessions."""
    text, columns = asked.selection.text, _columns(order)
    way = narrowest(asked)
    # So few that all of them can be read are read, though it takes longer.
    bound = way.bound if has_few(way) else READ_BOUND
    found, has_more = first(way, BY_AGE, *rest(way, asked), mentions(text), columns=columns, bound=bound)
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
    # The names of sessions that are hidden stand in the way, but only so many of them. In no order: that of
    # PostgreSQL's index is another than its own order of texts.
    if named[: BOUND + 1].count() > BOUND:
        return None
    keys = list(named.filter(asked.conditions[SEEN]).values_list("pk", flat=True)[: READ_BOUND + 1])
    return named.filter(pk__in=keys) if len(keys) <= READ_BOUND else None


def _recent(way: Way, bound: int, by: Sequence[str] = BY_AGE) -> str:
    return f"{bound:,} {'most' if by == BY_AGE else 'least'} recently accessed {way.noun}"


def _columns(order: Sequence[str]) -> list[str]:
    """What has to be known of sessions that are in order of age, to sort them."""
    return [column for column in ORDERS[column_of(order)] if f"-{column}" not in BY_AGE]


def _sorted(
    found: list[tuple[Any, ...]], order: Sequence[str], found_by: Sequence[str] = BY_AGE
) -> list[int]:
    """Sort keys that have their columns beside them and are in order of age."""
    is_backwards = order[0].startswith("-")
    if is_backwards != found_by[0].startswith("-"):
        found = found[::-1]
    if column_of(order) != "idle_since":
        found = sorted(found, key=lambda row: row[1:], reverse=is_backwards)
    return [row[0] for row in found]
