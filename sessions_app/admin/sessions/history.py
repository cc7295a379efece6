"""The history of a session, newest first, from its columns, its events and the admin log."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from django.contrib.admin.models import LogEntry
from django.contrib.contenttypes.models import ContentType
from django.http import HttpRequest
from django.template.defaultfilters import filesizeformat
from django.urls import reverse
from django.utils.html import format_html

from sessions_app.access.permissions import may_see_endpoints
from sessions_app.access.visibility import conceal
from sessions_app.admin import formatting
from sessions_app.models import BrowserSession, CleanupRun, SessionEvent

MAX_EVENTS = 20
"""Maximum restorations shown, and maximum log entries shown; the latest of each."""
ENDPOINT_SHOWN = "Endpoint shown."
PINNED, UNPINNED = "Pinned.", "Unpinned."
UNKNOWN_TIME = "It happened before this time; the exact time is unknown."
# PostgreSQL sets two columns of one statement microseconds apart.
_AT_ONCE = timedelta(seconds=1)


class Event(NamedTuple):
    """An event in the history of a session."""

    at: datetime
    what: str
    by: str = ""
    details: Iterable[str] = ()

    @property
    def when(self) -> str:
        return formatting.moment(self.at)


def history_context(request: HttpRequest, session: BrowserSession) -> dict[str, Any]:
    """Build the history of a live or archived session, with a few queries regardless of its length."""
    has_endpoints = may_see_endpoints(request.user)
    log = _log(session, has_endpoints=has_endpoints)
    restorations = _restorations(session)
    may_see_runs = request.user.has_perm("sessions_app.view_cleanuprun")
    events = [
        *map(_logged, log[:MAX_EVENTS]),
        *map(_recorded, _events(session, has_endpoints=has_endpoints)),
        *_moves(request.user, session, restorations[:MAX_EVENTS], may_see_runs=may_see_runs),
        *_dates(session, restorations),
    ]
    is_truncated = len(log) > MAX_EVENTS or len(restorations) > MAX_EVENTS
    return {
        "history": sorted(events, key=lambda event: event.at, reverse=True),
        "history_limit": MAX_EVENTS if is_truncated else None,
    }


def removal_reasons(session: Any) -> list[str]:
    """Explain why a session was removed, by the criteria of its run."""
    return formatting.explain(
        session.reasons,
        session.last_accessed,
        as_of=session.run.as_of,
        max_age_days=session.run.criteria.max_age_days,
    )


def _dates(session: BrowserSession, restorations: list[SessionEvent]) -> Iterator[Event]:
    # A pin or an undo also sets updated_at.
    restored_at = [event.at for event in restorations]
    if all(abs(session.updated_at - instant) > _AT_ONCE for instant in (session.added_at, *restored_at)):
        yield Event(session.updated_at, "Last changed here")
    yield Event(session.added_at, "Added to the panel")
    if session.last_accessed:
        yield Event(session.last_accessed, "Last accessed, according to its document")
    if session.created_at:
        yield Event(session.created_at, "Created, according to its document")


def _restorations(session: BrowserSession) -> list[SessionEvent]:
    """Return the restorations, the latest first, one more than shown."""
    own = SessionEvent.objects.filter(session_key=session.pk, code=SessionEvent.Code.RESTORED)
    return list(own[: MAX_EVENTS + 1])


def _moves(
    user: Any, session: BrowserSession, restorations: list[SessionEvent], *, may_see_runs: bool
) -> Iterator[Event]:
    """Yield each removal and each restoration."""
    if session.run is not None and session.removed_at is not None:
        what = format_html("Removed by {}", _name(session.run.pk, has_link=may_see_runs))
        by = formatting.started_by(session.run)
        yield Event(session.removed_at, what, by, removal_reasons(session))
    runs = _runs(user, {event.run_key for event in restorations if event.run_key is not None})
    for event in restorations:
        run = runs.get(event.run_key or 0)
        name = _name(event.run_key or 0, has_link=may_see_runs)
        by = run.undone_by if run and event.actor else ""
        yield Event(event.at, format_html("Restored from {}", name), by, filter(None, [event.details]))
        details = [] if event.removed_at else [UNKNOWN_TIME]
        if run and may_see_runs:
            details.append(f"Criteria: {formatting.describe_criteria(run)}")
        by = formatting.started_by(run) if run else ""
        yield Event(event.removed_at or event.at, format_html("Removed by {}", name), by, details)


def _runs(user: Any, numbers: set[int]) -> dict[int, CleanupRun]:
    if not numbers:
        return {}
    light = formatting.without_ids(CleanupRun.objects.defer("skipped_sessions"))
    return {run.pk: conceal(user, run) for run in light.filter(pk__in=numbers).select_related("policy")}


def _name(number: int, *, has_link: bool) -> str:
    if not has_link:
        return f"run {number}"
    address = reverse("admin:sessions_app_cleanuprun_change", args=[number])
    return format_html('<a href="{}">run {}</a>', address, number)


def _log(session: BrowserSession, *, has_endpoints: bool) -> list[LogEntry]:
    """Return the log entries of a session, one more than shown; its id is the same live and archived."""
    own = LogEntry.objects.filter(
        content_type=ContentType.objects.get_for_model(BrowserSession), object_id=str(session.pk)
    )
    if not has_endpoints:
        own = own.exclude(change_message=ENDPOINT_SHOWN)
    return list(own.select_related("user").order_by("-action_time", "-pk")[: MAX_EVENTS + 1])


def _logged(entry: LogEntry) -> Event:
    return Event(entry.action_time, entry.get_change_message().rstrip("."), entry.user.get_username())


def _events(session: BrowserSession, *, has_endpoints: bool) -> list[SessionEvent]:
    own = SessionEvent.objects.filter(session_key=session.pk).exclude(code=SessionEvent.Code.RESTORED)
    if not has_endpoints:
        own = own.exclude(code=SessionEvent.Code.SEEN)
    return list(own[:MAX_EVENTS])


def _recorded(event: SessionEvent) -> Event:
    details = [event.details] if event.details else []
    if event.freed_bytes:
        details.append(f"{filesizeformat(event.freed_bytes)} of memory freed")
    return Event(event.at, event.get_code_display(), event.actor, details)
