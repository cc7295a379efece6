"""The rows of the archive for filters, search and order, and the notes about limits."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.db.models import Q, QuerySet
from django.http import HttpRequest

from sessions_app.access.visibility import hidden_from, is_visible, visible_runs
from sessions_app.admin.archive.filters import ArchiveFilter, RemovedFilter
from sessions_app.admin.base import is_id
from sessions_app.admin.changelist import (
    BOUND,
    READ_BOUND,
    BoundedChangeList,
    Listing,
    describe_truncation,
    first_rows,
)
from sessions_app.models import ArchivedSession, CleanupRun
from sessions_app.search import CannotSearch, find
from sessions_app.session.criteria import has_id
from sessions_app.session.lookups import LONGEST_TEXT, begins_with, mentions_all


class ArchiveList(BoundedChangeList):
    """The list, in order of removal: by run, and within a run by id."""

    def columns_of(self, name: str) -> Sequence[str]:
        return ("pk",) if "run" in self.params else ("removed_at", "pk")

    def get_listing(self, request: HttpRequest) -> Listing:
        rows = ArchivedSession.objects.order_by(*self.get_ordering(request, self.root_queryset))
        if (run := self.params.get("run")) is not None:
            runs = visible_runs(request.user, CleanupRun.objects.filter(pk=int(run) if is_id(run) else 0))
            rows = rows.filter(run__in=list(runs.values_list("pk", flat=True)))
        conditions = [Q(namespace=self.params["namespace"])] if "namespace" in self.params else []
        for chosen in self.filter_specs:
            condition = chosen.condition(request) if isinstance(chosen, ArchiveFilter) else None
            if condition is None:
                continue
            # The list is ordered by the time of removal, so a date is a range of its index.
            if isinstance(chosen, RemovedFilter) and run is None:
                rows = rows.filter(condition)
            else:
                conditions.append(condition)
        has_few = rows.order_by()[: BOUND + 1].count() <= BOUND
        bound = BOUND if has_few else READ_BOUND
        return find_archived(request.user, rows, conditions, self.query, bound=bound)


def find_archived(
    user: Any, rows: QuerySet[ArchivedSession], conditions: Sequence[Q], text: str, *, bound: int
) -> Listing:
    """Return the first matching archived sessions, and all sessions whose names begin with the text.

    Args:
        rows: Queryset whose order and conditions an index covers.
        conditions: Conditions that the index does not cover.
        bound: Maximum rows to read if there are conditions.
    """
    text = text.strip()[:LONGEST_TEXT]
    rest = [*conditions, *([is_visible(user)] if hidden_from(user) else [])]
    words = text.split()
    searched = [*rest, mentions_all(words)] if text else rest
    if text and (listing := _find(rows, searched, words, bound, is_limited=bool(hidden_from(user)))):
        return listing
    found, has_more = first_rows(rows, *searched, bound=bound if searched else BOUND)
    ids = [pk for (pk,) in found]
    if not (searched and has_more):
        return Listing(ids, is_truncated=has_more, notes=_searched(_everything(rest), text))
    column = str(rows.query.order_by[0]) if rows.query.order_by else ""
    where = f"the {bound:,} sessions that were removed {'last' if column.startswith('-') else 'first'}"
    if not text:
        return Listing(ids, is_partial=True, notes=[f"Only {where} were searched. Others may match too."])
    named = _named(text)
    if named is None:
        notes = _searched(where, text)
        notes.append(f"Too many names begin with “{text}”. Type more of the name to search all of them.")
        return Listing(ids, is_partial=True, notes=notes)
    begin = rows.filter(*rest, pk__in=named).exclude(pk__in=ids)
    if others := list(begin.values_list("pk", flat=True)):
        ids = list(rows.filter(pk__in=[*ids, *others]).values_list("pk", flat=True))
    note = f"Searched: names that begin with “{text}” in the whole archive; other matches among {where}."
    return Listing(ids, is_partial=True, notes=[note])


def _find(
    rows: QuerySet[ArchivedSession],
    searched: Sequence[Q],
    words: Sequence[str],
    bound: int,
    *,
    is_limited: bool,
) -> Listing | None:
    """Find archived sessions by the search index; return None if it cannot answer.

    Args:
        is_limited: Some namespaces are hidden from the user.
    """
    try:
        hits = find(words, limit=READ_BOUND, reads_new=False)
    except CannotSearch:
        return None
    if hits.is_truncated and bound > READ_BOUND and not is_limited:
        # There are few archived sessions: read all.
        return None
    ids = list(rows.filter(*searched, has_id(tuple(hits.ids))).values_list("pk", flat=True))
    if hits.is_truncated or is_limited:
        return Listing(ids, is_partial=True, notes=[describe_truncation(READ_BOUND, is_limited=is_limited)])
    return Listing(ids, notes=_searched(_everything(searched[:-1]), "searched"))


def _everything(conditions: Sequence[Q]) -> str:
    return "all sessions that match the filters" if conditions else "all archived sessions"


def _searched(where: str, text: str) -> list[str]:
    return [f"Searched: name, host, session id and metadata of {where}."] if text else []


def _named(text: str) -> list[int] | None:
    """Return the ids of the sessions whose names begin with a text, or None if there are too many."""
    named = ArchivedSession.objects.filter(begins_with(text)).order_by()
    keys = list(named.values_list("pk", flat=True)[: READ_BOUND + 1])
    return keys if len(keys) <= READ_BOUND else None
