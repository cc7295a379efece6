"""Downloads streamed in chunks, so that memory does not grow with the number of rows."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, TypeVar

from django.contrib.admin.options import IncorrectLookupParameters
from django.core.exceptions import BadRequest, PermissionDenied
from django.db.models import Model, QuerySet
from django.http import HttpRequest, StreamingHttpResponse

from sessions_app.admin.base import RaptorAdmin
from sessions_app.admin.filters import ConditionFilter
from sessions_app.session.lookalikes import is_invisible

CHUNK_ROWS = 1_000
# The full-width forms are formulas in some spreadsheets too.
_FORMULA = frozenset("=+-@\uff1d\uff0b\uff0d\uff20")
# A spreadsheet may split a line at any of these, also within quotes.
_SEPARATORS = frozenset(';,|\t\r\n"')
_WHITE = frozenset("\t\r\n")
_RISKY = _FORMULA | _WHITE
_ModelT = TypeVar("_ModelT", bound=Model)


class _Echo:
    """A file for ``csv.writer`` that returns each line."""

    def write(self, line: str) -> str:
        return line


def escape_formula(text: str) -> str:
    """Write a quote before each part of a text that a spreadsheet would run as a formula.

    A part begins at the beginning of the text or after a separator, behind any invisible characters.
    """
    if _RISKY.isdisjoint(text):
        return text
    start = next((place for place, character in enumerate(text) if not is_invisible(character)), len(text))
    is_risky = text[start : start + 1] in _FORMULA or text.lstrip(" ")[:1] in _WHITE
    kept, part = ["'"] if is_risky else [], 0
    is_beginning = False
    for position, character in enumerate(text[start:], start):
        if character in _SEPARATORS:
            kept.append(text[part : position + 1])
            part, is_beginning = position + 1, True
        elif is_beginning and not is_invisible(character):
            kept.append("'" if character in _FORMULA else "")
            is_beginning = False
    return "".join([*kept, text[part:]])


def checked_list(screen: RaptorAdmin, request: HttpRequest) -> Any:
    """Return the change list for the URL.

    Raises:
        PermissionDenied.
        BadRequest: the URL has an unknown filter or filter value. The list shows that it ignores such a
            filter; an unfiltered file would be mistaken for a filtered one.
    """
    if not screen.has_view_permission(request):
        raise PermissionDenied
    try:
        changes: Any = screen.get_changelist_instance(request)
    except IncorrectLookupParameters as error:
        raise BadRequest("The URL has an unknown filter.") from error
    if any(_is_unknown(chosen, request) for chosen in changes.filter_specs):
        raise BadRequest("The URL has an unknown filter value.")
    return changes


def filtered_rows(screen: RaptorAdmin, request: HttpRequest) -> QuerySet[Any]:
    """Return the rows of a list with the filters of the URL. See ``checked_list``."""
    rows: QuerySet[Any] = checked_list(screen, request).get_queryset(request)
    return rows


def _is_unknown(chosen: Any, request: HttpRequest) -> bool:
    """Check whether a filter was given a value that it does not offer."""
    if not isinstance(chosen, ConditionFilter):
        return False
    return chosen.value() is not None and chosen.value() not in chosen.conditions(request)


def iterate_by_id(rows: QuerySet[_ModelT], *, is_newest_first: bool = False) -> Iterator[_ModelT]:
    """Yield rows ordered by id, with one query per chunk.

    A slow client holds no cursor and no database snapshot between two chunks.
    """
    order, beyond = ("-pk", "pk__lt") if is_newest_first else ("pk", "pk__gt")
    chunk = list(rows.order_by(order)[:CHUNK_ROWS])
    while chunk:
        yield from chunk
        chunk = list(rows.order_by(order).filter(**{beyond: chunk[-1].pk})[:CHUNK_ROWS])


def csv_file(name: str, columns: Sequence[str], records: Iterable[dict[str, Any]]) -> StreamingHttpResponse:
    """Stream records as CSV; lists inside a record are joined by spaces."""
    writer = csv.writer(_Echo(), quoting=csv.QUOTE_ALL)

    def lines() -> Iterator[str]:
        yield writer.writerow(columns)
        for record in records:
            yield writer.writerow([_cell(record[column]) for column in columns])

    return _as_file(lines(), f"{name}.csv", "text/csv; charset=utf-8")


def json_file(
    name: str, head: dict[str, Any], key: str, records: Iterable[dict[str, Any]]
) -> StreamingHttpResponse:
    """Stream one JSON object: the items of ``head``, then the records as a list under ``key``."""

    def parts() -> Iterator[str]:
        yield "{\n"
        for item, value in head.items():
            yield f"{json.dumps(item)}: {json.dumps(value)},\n"
        yield f"{json.dumps(key)}: ["
        for number, record in enumerate(records):
            yield f"{',' if number else ''}\n{json.dumps(record)}"
        yield "\n]\n}\n"

    return _as_file(parts(), f"{name}.json", "application/json")


def _cell(value: Any) -> Any:
    if isinstance(value, list):
        value = " ".join(value)
    return escape_formula(value) if isinstance(value, str) else value


def _as_file(parts: Iterator[str], name: str, content_type: str) -> StreamingHttpResponse:
    response = StreamingHttpResponse(parts, content_type=content_type)
    response["Content-Disposition"] = f'attachment; filename="{name}"'
    return response
