"""The history of a session, newest first, from its columns, the cleanup runs and the admin log."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from django.contrib.admin.models import LogEntry
from django.contrib.contenttypes.models import ContentType
from django.http import HttpRequest
from django.urls import reverse
from django.utils.html import format_html

from sessions_app.access.permissions import may_see_endpoints
from sessions_app.access.visibility import conceal
from sessions_app.admin import formatting
from sessions_app.models import ArchivedSession, BrowserSession, CleanupRun, StoredSession

MAX_EVENTS = 20
"""Maximum undone removals shown, and maximum log entries shown; the latest of each."""
ENDPOINT_SHOWN = "Endpoint shown."
# PostgreSQL sets two columns of one statement microseconds apart.
_AT_ONCE = timedelta(seconds=1)


class Event(NamedTuple):
    """An event in the history of a session.

    If its time is unknown, ``at`` is None and ``before`` is the time of the next event.
    """

    at: datetime | None
    what: str
    by: str = ""
    details: Iterable[str] = ()
    before: datetime | None = None

    @property
    def when(self) -> str:
        return formatting.to_the_minute(self.at) if self.at else formatting.unknown()


def history_context(request: HttpRequest, session: StoredSession) -> dict[str, Any]:
    """Build the history of a session, live or archived, with two queries for any length."""
    log = _log(session, has_endpoints=may_see_endpoints(request.user))
    may_see_runs = request.user.has_perm("sessions_app.view_cleanuprun")
    events = [
        *map(_logged, log[:MAX_EVENTS]),
        *_moves(request.user, session, may_see_runs=may_see_runs),
        *_dates(session),
    ]
    return {
        "history": sorted(
            events, key=lambda event: event.at or event.before or session.added_at, reverse=True
        ),
        "history_limit": MAX_EVENTS if max(len(log), len(session.past_runs or ())) > MAX_EVENTS else None,
    }


def removal_reasons(session: ArchivedSession) -> list[str]:
    """Explain why a session was removed, by the criteria of its run."""
    return formatting.explain(
        session.reasons,
        session.last_accessed,
        as_of=session.run.as_of,
        max_age_days=session.run.criteria.max_age_days,
    )


def _dates(session: StoredSession) -> Iterator[Event]:
    # A pin or an undo also sets updated_at.
    known = filter(None, (session.added_at, session.restored_at))
    if all(abs(session.updated_at - instant) > _AT_ONCE for instant in known):
        yield Event(session.updated_at, "Last changed here")
    yield Event(session.added_at, "Added to the panel")
    if session.last_accessed:
        yield Event(session.last_accessed, "Last accessed, according to its document")
    if session.created_at:
        yield Event(session.created_at, "Created, according to its document")


def _moves(user: Any, session: StoredSession, *, may_see_runs: bool) -> Iterator[Event]:
    """Yield each removal and each restoration, the latest first."""
    if isinstance(session, ArchivedSession):
        what = format_html("Removed by {}", _name(session.run_id, has_link=may_see_runs))
        by = formatting.started_by(session.run)
        yield Event(session.removed_at, what, by, removal_reasons(session))
    numbers = (session.past_runs or [])[-MAX_EVENTS:]
    runs = _runs(user, numbers)
    # The row has the time of the last restoration only; earlier ones are derived from the runs.
    restored_at = until = session.restored_at
    for number in reversed(numbers):
        name = _name(number, has_link=may_see_runs)
        run = runs.get(number)
        undo_at = _undo_at(run, until)
        restored_at = restored_at or undo_at
        by = run.undone_by if run and undo_at else ""
        yield Event(restored_at, format_html("Restored from {}", name), by, before=until)
        removed_at = _removed_at(run, restored_at or until)
        criteria = [f"Criteria: {formatting.describe_criteria(run)}"] if run and may_see_runs else []
        by = formatting.started_by(run) if run else ""
        yield Event(removed_at, format_html("Removed by {}", name), by, criteria, before=until)
        restored_at, until = None, removed_at or until


def _runs(user: Any, numbers: list[int]) -> dict[int, CleanupRun]:
    if not numbers:
        return {}
    light = formatting.without_ids(CleanupRun.objects.defer("skipped_sessions"))
    return {run.pk: conceal(user, run) for run in light.filter(pk__in=numbers).select_related("policy")}


def _undo_at(run: CleanupRun | None, until: datetime | None) -> datetime | None:
    """Return when an undo restored the session; None if it had been restored separately before."""
    if run is None or run.undo_started_at is None or until is None or run.undo_started_at > until:
        return None
    return min(run.undone_at or run.undo_started_at, until)


def _removed_at(run: CleanupRun | None, until: datetime | None) -> datetime | None:
    """Return when the run ended, or when it started if the session was restored before the end."""
    if run is None:
        return None
    has_ended = run.finished_at is not None and (until is None or run.finished_at <= until)
    return run.finished_at if has_ended else run.started_at


def _name(number: int, *, has_link: bool) -> str:
    if not has_link:
        return f"run {number}"
    address = reverse("admin:sessions_app_cleanuprun_change", args=[number])
    return format_html('<a href="{}">run {}</a>', address, number)


def _log(session: StoredSession, *, has_endpoints: bool) -> list[LogEntry]:
    """Return the log entries of a session, one more than shown; its id is the same live and archived."""
    own = LogEntry.objects.filter(
        content_type=ContentType.objects.get_for_model(BrowserSession), object_id=str(session.pk)
    )
    if not has_endpoints:
        own = own.exclude(change_message=ENDPOINT_SHOWN)
    return list(own.select_related("user").order_by("-action_time", "-pk")[: MAX_EVENTS + 1])


def _logged(entry: LogEntry) -> Event:
    return Event(entry.action_time, entry.get_change_message().rstrip("."), entry.user.get_username())
