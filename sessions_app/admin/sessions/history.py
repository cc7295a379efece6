"""What became of a session, the newest first: from its columns, the ledger of runs, and the admin's log."""

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
from sessions_app.admin import formatting
from sessions_app.models import ArchivedSession, BrowserSession, CleanupRun, StoredSession

SHOWN = 20
"""So many removals of which it came back are told, and so many entries of the log: the latest of each."""
ENDPOINT_SHOWN = "Endpoint shown."
# PostgreSQL dates two columns of one statement microseconds apart.
_AT_ONCE = timedelta(seconds=1)


class Event(NamedTuple):
    """Something that happened to a session.

    Where nothing has kept when it happened, ``at`` is None, and ``before`` the event that came next.
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
    """What is told of the past of a session, live or archived: two queries, however long that is."""
    log = _log(session, has_endpoints=may_see_endpoints(request.user))
    may_see_runs = request.user.has_perm("sessions_app.view_cleanuprun")
    events = [*map(_logged, log[:SHOWN]), *_moves(session, may_see_runs=may_see_runs), *_dates(session)]
    return {
        "history": sorted(
            events, key=lambda event: event.at or event.before or session.added_at, reverse=True
        ),
        "history_limit": SHOWN if max(len(log), len(session.past_runs or ())) > SHOWN else None,
    }


def removal_reasons(session: ArchivedSession) -> list[str]:
    """Say why a session was removed, by the limit of its run."""
    return formatting.explain(
        session.reasons,
        session.last_accessed,
        as_of=session.run.as_of,
        max_age_days=session.run.criteria.max_age_days,
    )


def _dates(session: StoredSession) -> Iterator[Event]:
    # A pin or an undo dates the row as well.
    known = filter(None, (session.added_at, session.restored_at))
    if all(abs(session.updated_at - instant) > _AT_ONCE for instant in known):
        yield Event(session.updated_at, "Last changed here")
    yield Event(session.added_at, "Added to the panel")
    if session.last_accessed:
        yield Event(session.last_accessed, "Last accessed, as its document says")
    if session.created_at:
        yield Event(session.created_at, "Created, as its document says")


def _moves(session: StoredSession, *, may_see_runs: bool) -> Iterator[Event]:
    """Each removal and each return, from the last to the first."""
    if isinstance(session, ArchivedSession):
        what = format_html("Removed by {}", _name(session.run_id, has_link=may_see_runs))
        by = formatting.started_by(session.run)
        yield Event(session.removed_at, what, by, removal_reasons(session))
    numbers = (session.past_runs or [])[-SHOWN:]
    runs = _runs(numbers)
    # The row keeps when it last came back; of the times before, the ledger tells as much as it can.
    back_at = until = session.restored_at
    for number in reversed(numbers):
        name = _name(number, has_link=may_see_runs)
        run = runs.get(number)
        undo_at = _undo_at(run, until)
        back_at = back_at or undo_at
        by = run.undone_by if run and undo_at else ""
        yield Event(back_at, format_html("Brought back from {}", name), by, before=until)
        removed_at = _removed_at(run, back_at or until)
        asked = [f"Criteria: {formatting.describe_criteria(run)}"] if run and may_see_runs else []
        by = formatting.started_by(run) if run else ""
        yield Event(removed_at, format_html("Removed by {}", name), by, asked, before=until)
        back_at, until = None, removed_at or until


def _runs(numbers: list[int]) -> dict[int, CleanupRun]:
    if not numbers:
        return {}
    light = formatting.without_ids(CleanupRun.objects.defer("skipped_sessions"))
    return {run.pk: run for run in light.filter(pk__in=numbers)}


def _undo_at(run: CleanupRun | None, until: datetime | None) -> datetime | None:
    """When an undo of the run brought the session back; None where it had come back alone before."""
    if run is None or run.undo_started_at is None or until is None or run.undo_started_at > until:
        return None
    return min(run.undone_at or run.undo_started_at, until)


def _removed_at(run: CleanupRun | None, until: datetime | None) -> datetime | None:
    """When the run ended, or began, where the session was back before the end of it."""
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
    """What people did to it on its page, and one entry more than is shown; live or not, it has one id."""
    own = LogEntry.objects.filter(
        content_type=ContentType.objects.get_for_model(BrowserSession), object_id=str(session.pk)
    )
    if not has_endpoints:
        own = own.exclude(change_message=ENDPOINT_SHOWN)
    return list(own.select_related("user").order_by("-action_time", "-pk")[: SHOWN + 1])


def _logged(entry: LogEntry) -> Event:
    return Event(entry.action_time, entry.get_change_message().rstrip("."), entry.user.get_username())
