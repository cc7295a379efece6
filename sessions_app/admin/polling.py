"""Pages that wait for the worker: the state that ``poll.js`` requests, and the wait for new counts."""

from __future__ import annotations

from datetime import datetime, timedelta
from enum import StrEnum
from typing import NamedTuple
from urllib.parse import urlencode

from django.core.exceptions import BadRequest
from django.http import HttpRequest, JsonResponse
from django.urls import reverse

from sessions_app.admin.base import RaptorAdmin
from sessions_app.models.clock import database_now
from sessions_app.reports import has_snapshot_since

LATE_AFTER = timedelta(minutes=2)
"""A running worker starts a task within seconds, and counts a million sessions in less than this."""

EXPIRES_AFTER = timedelta(minutes=10)
"""A bookmarked URL that is older than this no longer waits for counts."""

_ASKED_AT = "asked_at"


class Phase(StrEnum):
    """The state that a page shows; ``poll.js`` reloads the page when the state changes."""

    WAITING = "waiting"
    LATE = "late"
    WORKING = "working"
    STALLED = "stalled"
    DONE = "done"


class PollState(NamedTuple):
    """The JSON object that ``poll.js`` reads.

    Args:
        done: Sessions done of ``total``.
        is_paused: The worker may resume at once, so the page is not reloaded yet.
    """

    phase: Phase
    text: str = ""
    done: int = 0
    total: int = 0
    is_paused: bool = False

    def to_response(self) -> JsonResponse:
        return JsonResponse(self._asdict())


def waiting_page(name: str, asked_at: datetime) -> str:
    """Return the URL of a page that waits for counts newer than an instant."""
    return f"{reverse(name)}?{urlencode({_ASKED_AT: asked_at.isoformat()})}"


def wait_of(request: HttpRequest) -> PollState | None:
    """Return the state of the wait in the URL of a page, or None if the URL has none or it has expired."""
    if _ASKED_AT not in request.GET:
        return None
    now = database_now()
    asked_at = _read_asked_at(request, now)
    if asked_at is None:
        return None
    if has_snapshot_since(asked_at):
        return PollState(Phase.DONE)
    return PollState(Phase.LATE if now - asked_at >= LATE_AFTER else Phase.WAITING)


def counted_view(screen: RaptorAdmin, request: HttpRequest) -> JsonResponse:
    """Report whether there are counts newer than the instant in the URL."""
    wait = wait_of(request)
    if wait is None:
        raise BadRequest("The URL must have an instant of the last minutes.")
    return wait.to_response()


def _read_asked_at(request: HttpRequest, now: datetime) -> datetime | None:
    """Parse the instant in the URL; users can edit it, so only one of the last minutes is accepted."""
    try:
        asked_at = datetime.fromisoformat(request.GET.get(_ASKED_AT, ""))
    except ValueError:
        return None
    if asked_at.tzinfo is None or not now - EXPIRES_AFTER <= asked_at <= now:
        return None
    return asked_at
