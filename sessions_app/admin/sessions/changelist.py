"""The rows of the list of sessions, by its filters, search and order, and the notes about their limits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from django.db.models import Q, QuerySet
from django.http import HttpRequest

from sessions_app.access.visibility import visible
from sessions_app.admin.changelist import (
    BOUND,
    READ_BOUND,
    BoundedChangeList,
    Listing,
    describe_truncation,
    first_rows,
    selects_all,
)
from sessions_app.admin.formatting import expiry_cutoff, request_time
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
from sessions_app.admin.sessions.status_order import STATUS, by_status
from sessions_app.models import BrowserSession
from sessions_app.search import CannotSearch, find
from sessions_app.session.criteria import SELECTION_LIMIT, has_id
from sessions_app.session.selection import CHOICES, METADATA, Selection, Since

HITS = 2_000
"""Maximum hits of a search that are read if there are filters, because they are scattered in the table."""


class TooManySelected(ValueError):
    """Raised if more sessions are selected than an action can handle at once."""

    def __init__(self) -> None:
        super().__init__(f"at most {SELECTION_LIMIT:,} sessions can be selected at once. Narrow the filters.")


class SessionList(BoundedChangeList):
    selection: Selection

    def columns_of(self, name: str) -> Sequence[str]:
        return (STATUS, *ORDERS["idle_since"]) if name == STATUS else ORDERS[name]

    @property
    def selects_all_matches(self) -> bool:
        return not self.selection.is_empty

    def get_listing(self, request: HttpRequest) -> Listing:
        order = tuple(self.get_ordering(request, self.root_queryset))
        self.selection = valid_selection(request)
        if column_of(order) == STATUS:
            return by_status(
                self.selection,
                partial(query_of_request, request),
                build_listing,
                is_backwards=order[0].startswith("-"),
            )
        if column_of(order) == "name" and self.selection.namespace:
            # Within a namespace, the index on namespace and name has this order.
            order = tuple(f"{order[0].removesuffix('name')}{column}" for column in ORDERS["namespace"])
        return build_listing(query_of_request(request, self.selection), order)


def build_listing(query: ListQuery, order: tuple[str, ...]) -> Listing:
    """Return the rows for a query, in an order."""
    if not query.selection.reads_texts:
        return _list(query, order)
    try:
        return _find(query, order)
    except CannotSearch as reason:
        listing = _scan(query, order)
        if listing.is_partial:
            listing.notes.append(f"{reason}.")
        return listing


def _scan(query: ListQuery, order: tuple[str, ...]) -> Listing:
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
    if not selection.text or _is_answered(selection):
        return selection
    index = narrowest_index(query_of_request(request, selection))
    if has_few_rows(index):
        return selection
    recent, _ = first_by_index(index, BY_AGE, columns=("idle_since",), bound=READ_BOUND)
    pk, idle_since = recent[-1]
    return replace(selection, since=Since(idle_since, pk))


def _is_answered(selection: Selection) -> bool:
    """Check whether the search index answers a search."""
    try:
        find(selection.indexed_words, limit=1)
    except CannotSearch:
        return False
    return True


def selected_matches(request: HttpRequest) -> Selection | None:
    """Return the filters and the search if the user selected all that match, also beyond the list.

    Returns: None if the user checked sessions, or selected a list without a filter.
    Raises: InvalidSelection: the URL has a value that its filter does not offer.
    """
    selection = bounded_selection(request) if selects_all(request) else None
    return None if selection is None or selection.is_empty else selection


def selected_ids(request: HttpRequest, queryset: QuerySet[BrowserSession]) -> list[int]:
    """Return the ids of the sessions that an action of the list is for.

    Raises:
        TooManySelected: more than ``SELECTION_LIMIT`` sessions are selected.
        InvalidSelection: the URL has a value that its filter does not offer.
    """
    if selection := selected_matches(request):
        as_of = request_time(request)
        matches = selection.matching(as_of, expiry_cutoff(as_of))
        queryset = visible(request.user, BrowserSession.objects.filter(matches))
    ids = list(queryset.order_by("pk").values_list("pk", flat=True)[: SELECTION_LIMIT + 1])
    if len(ids) > SELECTION_LIMIT:
        raise TooManySelected
    return ids


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
    # No index in order of age contains the name, the metadata or the endpoint of a browser's state, and only
    # some contain the namespace.
    is_in_index = column_of(order) not in ("namespace", "name")
    is_in_index &= not (query.selection.metadata or query.selection.browser)
    is_in_index &= index.has_namespace or SEEN not in query.conditions
    bound = index.bound if is_in_index or has_few_rows(index) else READ_BOUND
    found, has_more = first_by_index(
        index, by, *remaining(index, query), columns=_columns(order), bound=bound
    )
    listing = Listing(_sorted(found, order, by), is_partial=has_more)
    if has_more:
        listing.notes.append(f"Only the {_recent(index, bound, by)} were searched. Others may match too.")
    return listing


def _find(query: ListQuery, order: tuple[str, ...]) -> Listing:
    """Find the sessions by the search index.

    Raises: CannotSearch.
    """
    selection = query.selection
    # The order of the index is that of ids, so the filters are applied to all rows that are read.
    filters = {name for name in query.conditions if not name.startswith(METADATA)}
    limit = HITS if filters else READ_BOUND
    # Whether hits of hidden namespaces were read must not show.
    is_limited = SEEN in filters
    hits = find(selection.indexed_words, limit=limit)
    if filters and (hits.is_truncated or is_limited) and has_few_rows(narrowest_index(query)):
        return _scan(query, order)
    conditions = list(query.conditions.values())
    if not hits.is_exact:
        conditions.append(selection.search_condition())
    rows = BrowserSession.objects.filter(has_id(tuple(hits.ids)), *conditions)
    found = list(rows.order_by(*BY_AGE).values_list("pk", *_columns(order)))
    is_partial = is_limited or (hits.is_truncated and bool(filters))
    listing = Listing(
        _sorted(found, order), is_truncated=hits.is_truncated and not is_partial, is_partial=is_partial
    )
    if is_partial or hits.is_truncated:
        listing.notes.append(describe_truncation(limit, is_limited=is_limited))
    elif selection.text:
        among = "all sessions that match the filters" if filters else "all sessions"
        listing.notes.append(f"Searched: name, host, session id and metadata of {among}.")
    return listing


def _search(query: ListQuery, order: tuple[str, ...]) -> Listing:
    """Search all sessions by the start of the name, and the latest ones by parts of their texts."""
    text, columns = query.selection.text, _columns(order)
    index = narrowest_index(query)
    # Read all rows if there are few enough, although that takes longer.
    bound = index.bound if has_few_rows(index) else READ_BOUND
    found, has_more = first_by_index(
        index,
        BY_AGE,
        *remaining(index, query),
        query.selection.search_condition(),
        columns=columns,
        bound=bound,
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
