"""Lists that are as fast for a million rows as for a thousand.

They read the ids of at most ``BOUND`` rows in the order of an index, then the rows of one page by their ids.
Without a count over the whole table and without an offset, each page costs the same. The page shows what was
not read.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import reduce
from operator import and_
from typing import Any

from django.contrib.admin.views.main import ChangeList
from django.db import connection
from django.db.models import Case, ExpressionWrapper, F, Q, QuerySet, TextField, Value, When
from django.http import HttpRequest

BOUND = 10_000
"""Maximum entries read from an index, which takes a few milliseconds."""

READ_BOUND = 1_000
"""Maximum rows read from a table with more than ``BOUND``, because they are scattered in it."""

SEARCH_HELP = (
    "Search for parts of the name, host, session id or metadata; for several words; or for key:value, as in "
    "user:u42"
)


@dataclass
class Listing:
    """The ids of the rows in a list, in order.

    Args:
        is_truncated: More rows match than are listed.
        is_partial: Not all rows were searched, so others may match.
        notes: Sentences for the page.
    """

    ids: list[int]
    is_truncated: bool = False
    is_partial: bool = False
    notes: list[str] = field(default_factory=list)

    @property
    def is_whole(self) -> bool:
        """Whether the list has all matching rows."""
        return not (self.is_truncated or self.is_partial)

    @property
    def count_text(self) -> str:
        """The number of matches, with a plus if there may be more; the notes explain an empty list."""
        return f"{len(self.ids):,}{'+' if self.ids and not self.is_whole else ''}"

    @property
    def listed_text(self) -> str:
        return f"{len(self.ids):,}"


def describe_truncation(limit: int, *, is_limited: bool) -> str:
    """Describe which hits of a search were read. Hidden sessions may be among them."""
    if is_limited:
        return f"At most the {limit:,} most recently added sessions that match the search were read."
    return f"Over {limit:,} sessions match the search. Only the most recently added {limit:,} were read."


def first_rows(
    rows: QuerySet[Any],
    *rest: Q,
    columns: Sequence[str] = (),
    bound: int | None = None,
    ranges: Sequence[Q] = (),
) -> tuple[list[tuple[Any, ...]], bool]:
    """Return the ids of the first rows, and whether there are more rows.

    Args:
        rows: Their order and conditions must be covered by an index.
        rest: Conditions that the index does not cover; they filter the first rows.
        columns: Returned with each id.
        bound: Maximum rows to read; ``BOUND`` by default.
        ranges: Only rows that match one of these; see ``merge_ranges``.
    """
    bound = bound or BOUND
    if ranges:
        keys = merge_ranges(rows, ranges, bound + 1)
        found = rows.filter(*rest, pk__in=keys[:bound]).order_by().values_list("pk", *columns)
        by_key = {row[0]: row for row in found}
        return [by_key[key] for key in keys if key in by_key], len(keys) > bound
    if not rest:
        read = list(rows.values_list("pk", *columns)[: bound + 1])
        return read[:bound], len(read) > bound
    # A column, because with a condition the database would read on until it found enough rows.
    is_hit = Case(When(reduce(and_, rest), then=Value(1)), default=Value(0))
    hits = rows.annotate(is_hit=is_hit).values_list("is_hit", "pk", *columns)
    read = list(hits[: bound + 1])
    return [row[1:] for row in read[:bound] if row[0]], len(read) > bound


def merge_ranges(rows: QuerySet[Any], ranges: Sequence[Q], count: int) -> list[int]:
    """Return the ids of the first rows that match one of several conditions, in the order of the rows.

    Each condition is a range of an index in that order, so the database reads at most ``count`` rows of each.
    With OR it would sort all matching rows.
    """
    order = [str(column) for column in rows.query.order_by]
    # A union can only be sorted by columns that each part selects. Read them as texts: only the database uses
    # them, and Django takes 3 µs to parse each datetime of SQLite.
    names = {column: f"by_{column.removeprefix('-')}" for column in order}
    read = {
        name: ExpressionWrapper(F(column.removeprefix("-")), output_field=TextField())
        for column, name in names.items()
    }
    parts = [rows.filter(range_).annotate(**read).values_list("pk", *read) for range_ in ranges]
    if connection.features.supports_slicing_ordering_in_compound:
        # Otherwise PostgreSQL sorts all rows of the ranges.
        parts = [part[:count] for part in parts]
    else:
        # SQLite merges the ranges and reads each only as far as needed.
        parts = [part.order_by() for part in parts]
    first, *others = parts
    in_order = [f"-{name}" if column.startswith("-") else name for column, name in names.items()]
    return [row[0] for row in first.union(*others, all=True).order_by(*in_order)[:count]]


def selects_all(request: HttpRequest) -> bool:
    """Check whether the user selected the rows of all pages."""
    return request.POST.get("select_across") == "1"


class BoundedChangeList(ChangeList):
    """A list sorted by one column at a time, each with an index."""

    listing: Listing

    @property
    def selects_all_matches(self) -> bool:
        """Whether “Select all” includes matching rows beyond the list."""
        return False

    @property
    def has_other_matches(self) -> bool:
        """Whether “Select all” selects more than this page shows."""
        is_all = not self.selects_all_matches or self.listing.is_whole
        return len(self.listing.ids) > len(self.result_list) or not is_all

    @property
    def select_all_text(self) -> str:
        """The object of “Select all”."""
        if self.selects_all_matches:
            return f"{self.listing.count_text} that match"
        what = self.opts.verbose_name_plural if self.listing.is_whole else "that are listed"
        return f"{len(self.listing.ids):,} {what}"

    def get_ordering(self, request: HttpRequest, queryset: QuerySet[Any]) -> Sequence[str]:  # type: ignore[override]
        """Return the columns of the first requested order, all in its direction, with the id last."""
        sortable = {self.get_ordering_field(column) for column in self.sortable_by or ()}
        orders = (*map(str, super().get_ordering(request, queryset)), *map(str, self.opts.ordering or ()))
        first = next(order for order in orders if order.removeprefix("-") in sortable)
        sign = "-" if first.startswith("-") else ""
        return [sign + column for column in self.columns_of(first.removeprefix("-"))]

    def columns_of(self, name: str) -> Sequence[str]:
        """Return the columns of the index to use when the user sorts by one column."""
        return (name, "pk")

    def get_ordering_field_columns(self) -> dict[int, Any]:
        return dict(list(super().get_ordering_field_columns().items())[:1])

    def get_queryset(self, request: HttpRequest, exclude_parameters: Any = None) -> QuerySet[Any]:
        """Return the rows for an action; with all pages selected, only the listed rows."""
        rows: QuerySet[Any] = super().get_queryset(request, exclude_parameters)
        if selects_all(request) and hasattr(self, "listing"):
            return self.root_queryset.filter(pk__in=self.listing.ids).order_by(*rows.query.order_by)
        return rows

    def get_listing(self, request: HttpRequest) -> Listing:
        """Return the rows of the list."""
        raise NotImplementedError

    def get_results(self, request: HttpRequest) -> None:
        self.listing = self.get_listing(request)
        ids = self.listing.ids
        self.paginator = self.model_admin.get_paginator(request, ids, self.list_per_page)  # type: ignore[arg-type]
        page = self.paginator.get_page(self.page_num)
        self.page_num = page.number
        rows = {row.pk: row for row in self.root_queryset.filter(pk__in=page.object_list)}
        # A row that was just deleted is missing.
        self.result_list = [rows[pk] for pk in page.object_list if pk in rows]
        self.result_count = len(ids)
        self.full_result_count = None
        self.show_full_result_count = False
        self.show_admin_actions = True
        self.can_show_all = False
        self.multi_page = len(ids) > self.list_per_page
