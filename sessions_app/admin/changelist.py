"""Lists that answer as fast over a million rows as over a thousand.

They read the keys of at most ``BOUND`` rows, through an index that has them in order, and the rows of one
page by their keys. So there is no count over everything and no offset, and each page costs the same. What
was not read is told.
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
"""So many entries of an index are read in a few milliseconds."""

READ_BOUND = 1_000
"""So many rows of a table are, where there are more than ``BOUND``, for they lie anywhere in it."""


@dataclass
class Listing:
    """The keys of the rows that a list has, in its order.

    Args:
        is_cut: More of them match than are listed.
        is_partial: Not all rows were looked at, so others may match.
        notes: What the page says about it.
    """

    ids: list[int]
    is_cut: bool = False
    is_partial: bool = False
    notes: list[str] = field(default_factory=list)

    @property
    def is_whole(self) -> bool:
        """Whether all that match are listed."""
        return not (self.is_cut or self.is_partial)

    @property
    def count_text(self) -> str:
        """How many match, or at least how many; whether none does is a matter of the notes."""
        return f"{len(self.ids):,}{'+' if self.ids and not self.is_whole else ''}"

    @property
    def listed_text(self) -> str:
        return f"{len(self.ids):,}"


def first_of(
    rows: QuerySet[Any],
    *rest: Q,
    columns: Sequence[str] = (),
    bound: int | None = None,
    ranges: Sequence[Q] = (),
) -> tuple[list[tuple[Any, ...]], bool]:
    """Give the keys of the first rows, and whether there are more.

    Args:
        rows: In an order, and by conditions, that an index has.
        ranges: Only rows that meet one of these; see ``merged``.
        rest: Other conditions: of the first rows, those that meet them are given.
        columns: What is given beside each key.
        bound: So many rows at most; ``BOUND`` where not given.
    """
    bound = bound or BOUND
    if ranges:
        keys = merged(rows, ranges, bound + 1)
        found = rows.filter(*rest, pk__in=keys[:bound]).order_by().values_list("pk", *columns)
        by_key = {row[0]: row for row in found}
        return [by_key[key] for key in keys if key in by_key], len(keys) > bound
    if not rest:
        read = list(rows.values_list("pk", *columns)[: bound + 1])
        return read[:bound], len(read) > bound
    # As a column, not as a condition: the database would read on until it had found enough.
    is_hit = Case(When(reduce(and_, rest), then=Value(1)), default=Value(0))
    hits = rows.annotate(is_hit=is_hit).values_list("is_hit", "pk", *columns)
    read = list(hits[: bound + 1])
    return [row[1:] for row in read[:bound] if row[0]], len(read) > bound


def merged(rows: QuerySet[Any], ranges: Sequence[Q], count: int) -> list[int]:
    """Give the keys of the first rows that meet one of some conditions, in the order of the rows.

    Each condition is a range of an index that has the rows in their order: the database reads so many of each
    at most, where it would sort all that meet an OR.
    """
    order = [str(column) for column in rows.query.order_by]
    # What several queries are sorted by together has to be read by each. As texts, for it is of no other use,
    # and Django takes 3 µs to make an instant of one of SQLite's.
    names = {column: f"by_{column.removeprefix('-')}" for column in order}
    read = {
        name: ExpressionWrapper(F(column.removeprefix("-")), output_field=TextField())
        for column, name in names.items()
    }
    parts = [rows.filter(range_).annotate(**read).values_list("pk", *read) for range_ in ranges]
    if connection.features.supports_slicing_ordering_in_compound:
        # PostgreSQL sorts all of the ranges else.
        parts = [part[:count] for part in parts]
    else:
        # SQLite merges them, each as far as it is needed.
        parts = [part.order_by() for part in parts]
    first, *others = parts
    in_order = [f"-{name}" if column.startswith("-") else name for column, name in names.items()]
    return [row[0] for row in first.union(*others, all=True).order_by(*in_order)[:count]]


def is_across(request: HttpRequest) -> bool:
    """Whether all that the list has is selected, on all of its pages."""
    return request.POST.get("select_across") == "1"


class BoundedChangeList(ChangeList):
    """A list in one order at a time, each of which has an index."""

    listing: Listing

    @property
    def keeps_conditions(self) -> bool:
        """Whether to select all is to select all that match, listed or not."""
        return False

    @property
    def has_other_matches(self) -> bool:
        """Whether there are more to be selected than this page shows."""
        is_all = not self.keeps_conditions or self.listing.is_whole
        return len(self.listing.ids) > len(self.result_list) or not is_all

    @property
    def all_in_words(self) -> str:
        """What is selected by selecting all."""
        if self.keeps_conditions:
            return f"{self.listing.count_text} that match"
        what = self.opts.verbose_name_plural if self.listing.is_whole else "that are listed"
        return f"{len(self.listing.ids):,} {what}"

    def get_ordering(self, request: HttpRequest, queryset: QuerySet[Any]) -> Sequence[str]:  # type: ignore[override]
        """The columns of the first order that is asked for, all in its direction, the key last."""
        sortable = {self.get_ordering_field(column) for column in self.sortable_by or ()}
        orders = (*map(str, super().get_ordering(request, queryset)), *map(str, self.opts.ordering or ()))
        first = next(order for order in orders if order.removeprefix("-") in sortable)
        sign = "-" if first.startswith("-") else ""
        return [sign + column for column in self.columns_of(first.removeprefix("-"))]

    def columns_of(self, name: str) -> Sequence[str]:
        """The columns by which a list is sorted that is to be sorted by one of them."""
        return (name, "pk")

    def get_ordering_field_columns(self) -> dict[int, Any]:
        return dict(list(super().get_ordering_field_columns().items())[:1])

    def get_queryset(self, request: HttpRequest, exclude_parameters: Any = None) -> QuerySet[Any]:
        """The rows of an action: of all that is selected, those that are listed, and no others."""
        rows: QuerySet[Any] = super().get_queryset(request, exclude_parameters)
        if is_across(request) and hasattr(self, "listing"):
            return self.root_queryset.filter(pk__in=self.listing.ids).order_by(*rows.query.order_by)
        return rows

    def look(self, request: HttpRequest) -> Listing:
        """Find out what is listed."""
        raise NotImplementedError

    def get_results(self, request: HttpRequest) -> None:
        self.listing = self.look(request)
        ids = self.listing.ids
        self.paginator = self.model_admin.get_paginator(request, ids, self.list_per_page)  # type: ignore[arg-type]
        page = self.paginator.get_page(self.page_num)
        self.page_num = page.number
        rows = {row.pk: row for row in self.root_queryset.filter(pk__in=page.object_list)}
        # One that went a moment ago is not there.
        self.result_list = [rows[pk] for pk in page.object_list if pk in rows]
        self.result_count = len(ids)
        self.full_result_count = None
        self.show_full_result_count = False
        self.show_admin_actions = True
        self.can_show_all = False
        self.multi_page = len(ids) > self.list_per_page
