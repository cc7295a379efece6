"""The rows of the list of sessions, by its filters, search and order, and the notes about their limits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from django.db.models import Q, QuerySet
from django.http import HttpRequest

from sessions_app.admin.changelist import BOUND, READ_BOUND, BoundedChangeList, Listing, first_rows
from sessions_app.admin.sessions.index_choice import (
    BY_AGE,
    ORDERS,
    SEEN,
    IndexChoice,
    ListQuery,
    column_of,
    first_by_index,
    has_few_rows,
    index_choices,
    narrowest_index,
    query_of_request,
    remaining,
)
from sessions_app.models import BrowserSession
from sessions_app.session.lookups import mentions
from sessions_app.session.selection import CHOICES, Selection, Since


class SessionList(BoundedChangeList):
    selection: Selection

    def columns_of(self, name: str) -> Sequence[str]:
        return ORDERS[name]

    @property
    def selects_all_matches(self) -> bool:
        return not self.selection.is_empty

    def get_listing(self, request: HttpRequest) -> Listing:
        order = tuple(self.get_ordering(request, self.root_queryset))
        self.selection = valid_selection(request)
        return build_listing(query_of_request(request, self.selection), order)


def build_listing(query: ListQuery, order: tuple[str, ...]) -> Listing:
    """Return the rows for a query, in an order."""
    return (_search if query.selection.text else _list)(query, order)


def valid_selection(request: HttpRequest) -> Selection:
    """Return the filters and the search of the URL, without the values that a filter does not offer."""
    query = request.GET.dict()
    unknown = [name for name, choices in CHOICES.items() if query.get(name) not in choices]
    return Selection.from_address({name: value for name, value in query.items() if name not in unknown})


def bounded_selection(request: HttpRequest) -> Selection:
    """Return the selection of the URL, with the position at which its search for parts of texts ends.

    Raises: InvalidSelection: the URL has a value that its filter does not offer.
    """
    selection = Selection.from_address(request.GET.dict())
    if not selection.text:
        return selection
    index = narrowest_index(query_of_request(request, selection))
    if has_few_rows(index):
        return selection
    recent, _ = first_by_index(index, BY_AGE, columns=("idle_since",), bound=READ_BOUND)
    pk, idle_since = recent[-1]
    return replace(selection, since=Since(idle_since, pk))


def sample_ids(query: ListQuery, wanted: Q, *, is_oldest_first: bool, bound: int) -> list[int]:
    """Return the ids of the wanted sessions among the first ``bound`` by age."""
    order = ORDERS["idle_since"] if is_oldest_first else BY_AGE
    found, _ = first_by_index(narrowest_index(query), order, wanted, bound=bound)
    return [pk for (pk,) in found]


def _list(query: ListQuery, order: tuple[str, ...]) -> Listing:
    for index in index_choices(query, order):
        if index.is_in_order and index.met.issuperset(query.conditions):
            found, is_truncated = first_by_index(index, order, bound=index.bound)
            return Listing([pk for (pk,) in found], is_truncated=is_truncated)
    by = order if column_of(order) == "idle_since" else BY_AGE
    index = narrowest_index(query)
    # No index in order of age has the name, and only some have the namespace.
    is_in_index = column_of(order) != "namespace" and (index.has_namespace or SEEN not in query.conditions)
    bound = index.bound if is_in_index else READ_BOUND
    found, has_more = first_by_index(
        index, by, *remaining(index, query), columns=_columns(order), bound=bound
    )
    listing = Listing(_sorted(found, order, by), is_partial=has_more)
    if has_more:
        listing.notes.append(f"Only the {_recent(index, bound, by)} were searched. Others may match too.")
    return listing


def _search(query: ListQuery, order: tuple[str, ...]) -> Listing:
    """Search all sessions by the start of the name, and the latest ones by parts of their texts."""
    text, columns = query.selection.text, _columns(order)
    index = narrowest_index(query)
    # Read all rows if there are few enough, although that takes longer.
    bound = index.bound if has_few_rows(index) else READ_BOUND
    found, has_more = first_by_index(
        index, BY_AGE, *remaining(index, query), mentions(text), columns=columns, bound=bound
    )
    listing = Listing(_sorted(found, order), is_partial=has_more)
    where = f"the {_recent(index, READ_BOUND)}"
    if not has_more:
        among = "all sessions that match the filters" if query.conditions.keys() - {SEEN} else "all sessions"
        listing.notes.append(f"Searched: name, host, session id and metadata of {among}.")
        return listing
    named = _named(query)
    if named is None:
        listing.notes += [
            f"Searched: name, host, session id and metadata of {where}.",
            f"Too many names begin with “{text}”. Type more of the name to search all sessions.",
        ]
        return listing
    listing.notes.append(
        f"Searched: names that begin with “{text}” in all sessions; "
        f"other matches of name, host, session id and metadata among {where}."
    )
    conditions = query.conditions.values()
    begin, _ = first_rows(named.order_by(*BY_AGE), *conditions, columns=columns, bound=READ_BOUND)
    # Rows that only the search by name found were accessed earlier than all others.
    earlier = set(begin).difference(found)
    listing.ids = _sorted([*found, *(row for row in begin if row in earlier)], order)
    return listing


def _named(query: ListQuery) -> QuerySet[BrowserSession] | None:
    """Return the sessions whose names begin with the text, or None if there are too many to read."""
    named = BrowserSession.objects.filter(name__begins=query.selection.text).order_by()
    if SEEN not in query.conditions:
        return named if named[: READ_BOUND + 1].count() <= READ_BOUND else None
    # Hidden sessions share the index, so bound these rows too. Do not sort them: on PostgreSQL the index for
    # prefixes has another order than the column.
    if named[: BOUND + 1].count() > BOUND:
        return None
    keys = list(named.filter(query.conditions[SEEN]).values_list("pk", flat=True)[: READ_BOUND + 1])
    return named.filter(pk__in=keys) if len(keys) <= READ_BOUND else None


def _recent(index: IndexChoice, bound: int, by: Sequence[str] = BY_AGE) -> str:
    return f"{bound:,} {'most' if by == BY_AGE else 'least'} recently accessed {index.noun}"


def _columns(order: Sequence[str]) -> list[str]:
    """Return the columns that sorting needs in addition to the age."""
    return [column for column in ORDERS[column_of(order)] if f"-{column}" not in BY_AGE]


def _sorted(
    found: list[tuple[Any, ...]], order: Sequence[str], found_by: Sequence[str] = BY_AGE
) -> list[int]:
    """Sort ids that come with their columns and in order of age."""
    is_backwards = order[0].startswith("-")
    if is_backwards != found_by[0].startswith("-"):
        found = found[::-1]
    if column_of(order) != "idle_since":
        found = sorted(found, key=lambda row: row[1:], reverse=is_backwards)
    return [row[0] for row in found]
