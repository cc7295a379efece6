"""The wait for numbers that the worker was asked for: what a page says of it, and what its script asks."""

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

PATIENCE = timedelta(minutes=2)
"""A worker that runs has counted a million sessions in less."""

FORGOTTEN = timedelta(minutes=10)
"""After that an address that was kept is like any other."""

_ASKED_AT = "asked_at"


class Phase(StrEnum):
    WAITING = "waiting"
    LATE = "late"
    OVER = "over"


class Wait(NamedTuple):
    """What a page is to say of numbers that were asked for, and where its script asks for them."""

    phase: Phase
    address: str
    milliseconds_left: int


def waiting_page(name: str, asked_at: datetime) -> str:
    """The address of a page that waits for numbers later than an instant."""
    return f"{reverse(name)}?{_query(asked_at)}"


def wait_of(request: HttpRequest) -> Wait | None:
    """The wait that the address of a page tells of; None where nobody has asked, or long ago."""
    if _ASKED_AT not in request.GET:
        return None
    now = database_now()
    asked_at = _read(request, now)
    if asked_at is None:
        return None
    left = asked_at + PATIENCE - now
    if has_snapshot_since(asked_at):
        phase = Phase.OVER
    else:
        phase = Phase.WAITING if left > timedelta(0) else Phase.LATE
    address = f"{reverse('admin:sessions_app_storage_counted')}?{_query(asked_at)}"
    return Wait(phase, address, int(left.total_seconds() * 1000))


def counted_view(screen: RaptorAdmin, request: HttpRequest) -> JsonResponse:
    """Tell whether there are numbers later than the instant in the address."""
    asked_at = _read(request, database_now())
    if asked_at is None:
        raise BadRequest("The address holds no instant of the last minutes.")
    return JsonResponse({"is_counted": has_snapshot_since(asked_at)})


def _query(asked_at: datetime) -> str:
    return urlencode({_ASKED_AT: asked_at.isoformat()})


def _read(request: HttpRequest, now: datetime) -> datetime | None:
    """The instant in an address, which anybody can write: only one of the last minutes counts."""
    try:
        asked_at = datetime.fromisoformat(request.GET.get(_ASKED_AT, ""))
    except ValueError:
        return None
    if asked_at.tzinfo is None or not now - FORGOTTEN <= asked_at <= now:
        return None
    return asked_at
