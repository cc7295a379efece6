"""Downloads of the filtered list of sessions. They contain hosts but never endpoints."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import Any

from django.http import HttpRequest, StreamingHttpResponse
from django.utils import timezone

from sessions_app.access.visibility import visible
from sessions_app.admin.base import RaptorAdmin
from sessions_app.admin.formatting import annotate_status, expiry_cutoff, request_time
from sessions_app.admin.sessions.changelist import SessionList, bounded_selection
from sessions_app.admin.sessions.metadata import chosen_columns
from sessions_app.admin.streaming import CHUNK_ROWS, checked_list, csv_file, iterate_by_id, json_file
from sessions_app.models import BrowserSession
from sessions_app.search import labels_by_session
from sessions_app.session.criteria import Reason
from sessions_app.session.endpoint import Endpoint
from sessions_app.session.lookups import Indexed
from sessions_app.session.search_text import labels_of
from sessions_app.session.selection import METADATA

COLUMNS = (
    "namespace",
    "name",
    "browser_type",
    "host",
    "created_at",
    "last_accessed",
    "size_bytes",
    "pinned",
    "expired",
    "problems",
)
_READ_COLUMNS = (
    "namespace",
    "name",
    "browser_type",
    "shown_endpoint",
    "created_at",
    "last_accessed",
    "size_bytes",
    "is_pinned",
    "problems",
)


def sessions_csv(screen: RaptorAdmin, request: HttpRequest) -> StreamingHttpResponse:
    keys = chosen_columns(request)
    rows = _records(_rows(screen, request), keys)
    return csv_file(_name(request), (*COLUMNS, *(f"{METADATA}{key}" for key in keys)), rows)


def sessions_json(screen: RaptorAdmin, request: HttpRequest) -> StreamingHttpResponse:
    rows = _rows(screen, request)
    head = {"as_of": request_time(request).isoformat()}
    return json_file(_name(request), head, "sessions", _records(rows, chosen_columns(request)))


def _name(request: HttpRequest) -> str:
    return f"raptor-sessions-{timezone.localtime(request_time(request)):%Y-%m-%d}"


def _rows(screen: RaptorAdmin, request: HttpRequest) -> Iterable[Any]:
    """Return the sessions in the order of the list, or all matches by id if the list is truncated."""
    changes: SessionList = checked_list(screen, request)
    as_of = request_time(request)
    rows = BrowserSession.objects.only(*_READ_COLUMNS).annotate(labels=Indexed("labels"))
    sessions = annotate_status(visible(request.user, rows), as_of)
    if changes.listing.is_whole:
        return _in_order(sessions, changes.listing.ids)
    matches = bounded_selection(request).matching(as_of, expiry_cutoff(as_of))
    return iterate_by_id(sessions.filter(matches))


def _in_order(sessions: Any, ids: list[int]) -> Iterator[Any]:
    for start in range(0, len(ids), CHUNK_ROWS):
        chunk = ids[start : start + CHUNK_ROWS]
        found = {row.pk: row for row in sessions.filter(pk__in=chunk).order_by()}
        yield from (found[pk] for pk in chunk if pk in found)


def _records(rows: Iterable[Any], keys: list[str]) -> Iterator[dict[str, Any]]:
    for row in rows:
        labels = _labels(row) if keys else {}
        yield {
            "namespace": row.namespace,
            "name": row.name,
            "browser_type": row.shown_browser_type,
            "host": str(Endpoint.parse(row.shown_endpoint)),
            "created_at": _iso(row.created_at),
            "last_accessed": _iso(row.last_accessed),
            "size_bytes": row.size_bytes,
            "pinned": row.is_pinned,
            "expired": bool(row.reason_bits & Reason.EXPIRED),
            "problems": row.problem_set.codes,
            **{f"{METADATA}{key}": labels.get(key, "") for key in keys},
        }


def _labels(row: Any) -> dict[str, str]:
    # A session that was just added may not be indexed yet.
    return labels_by_session([row.pk])[row.pk] if row.labels is None else labels_of(row.labels)


def _iso(instant: datetime | None) -> str | None:
    return None if instant is None else instant.isoformat()
