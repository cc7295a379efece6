"""The page of a run: its state, what can be done about it, and what it did."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.http import HttpRequest
from django.template.defaultfilters import filesizeformat
from django.utils import timezone
from django.utils.html import format_html

from sessions_app.admin import presentation
from sessions_app.admin.base import may_clean_up
from sessions_app.admin.bounded import BOUND, READ_BOUND, first_of
from sessions_app.admin.progress import Phase, progress_of
from sessions_app.admin.sight import hidden_from, is_seen, reaches_hidden, seen_names
from sessions_app.cleanup import UnwrittenFiles, describe_access, sessions_owed_by, unwritten_files
from sessions_app.models import ArchivedSession, CleanupRun, PlannedSessions
from sessions_app.models.clock import database_now

SKIPPED_ROWS = 100

_State = CleanupRun.State
_Facts = list[tuple[str, str]]


def run_context(request: HttpRequest, run: CleanupRun) -> dict[str, Any]:
    progress = progress_of(run, database_now())
    is_still = progress.phase is Phase.STILL
    context: dict[str, Any] = {
        "run": run,
        "state": presentation.state_badge(run, is_queued=progress.phase in (Phase.QUEUED, Phase.LATE)),
        "phase": progress.phase,
        "progress": progress,
        "last_seen": run.heartbeat_at and timezone.localtime(run.heartbeat_at).strftime("%H:%M:%S"),
        "facts": _facts(run),
        "reasons": presentation.reason_counts(run.removed_reasons or run.matched_reasons),
        "can_clean_up": may_clean_up(request) and not reaches_hidden(request, run.criteria),
        "reaches_hidden": reaches_hidden(request, run.criteria),
        "is_stopped": is_still and run.is_resumable and run.state != _State.PLANNED,
        "is_undoable": is_still and run.is_undoable,
        "closed_at": presentation.moment(run.closed_at),
        "archive_days": settings.RAPTOR_ARCHIVE_DAYS,
        # While it is at work, the files of its last batch are owed for a moment.
        "unwritten": _unwritten(request, run) if progress.phase in (Phase.STILL, Phase.DEAD) else [],
    }
    if request.user.has_perm("sessions_app.view_browsersession"):
        context |= _skipped(request, run)
    if request.user.has_perm("sessions_app.view_archivedsession"):
        context |= _archived(request, run)
    return context


def _unwritten(request: HttpRequest, run: CleanupRun) -> list[UnwrittenFiles]:
    return unwritten_files(sessions_owed_by(run).filter(is_seen(request))) if run.restored_count else []


def _archived(request: HttpRequest, run: CleanupRun) -> dict[str, Any]:
    archived = ArchivedSession.objects.filter(run=run)
    left = [is_seen(request)] if hidden_from(request) else []
    found, has_more = first_of(archived.order_by("pk"), *left, bound=READ_BOUND if left else BOUND)
    page, sessions = presentation.page_of(
        request, [pk for (pk,) in found], archived.defer("document", "last_good_document")
    )
    return {
        "page": page,
        "has_more": has_more,
        "rows": presentation.session_rows(sessions, "reasons", run),
    }


def _skipped(request: HttpRequest, run: CleanupRun) -> dict[str, Any]:
    named = seen_names(request, run.skipped_sessions)
    note = ""
    if run.skipped_count > len(named):
        is_listed = run.matched_count <= PlannedSessions.LIMIT
        note = f"{len(named):,} of {run.skipped_count:,} skipped sessions are named. "
        note += "" if is_listed else f"Plans of over {PlannedSessions.LIMIT:,} sessions only count them."
    if len(named) > SKIPPED_ROWS:
        note = f"The first {SKIPPED_ROWS:,} are shown; the download has all that are named. {note}"
    return {"skipped": named[:SKIPPED_ROWS], "skipped_note": note.strip()}


def _facts(run: CleanupRun) -> _Facts:
    return [
        ("What", run.criteria.describe()),
        ("Started by", presentation.started_by(run)),
        *_origin(run),
        ("Judged as of", presentation.moment(run.as_of)),
        ("Started", presentation.moment(run.started_at)),
        ("Ended", presentation.moment(run.finished_at)),
        ("Took", presentation.took(run)),
        ("Matched", f"{run.matched_count:,} sessions, {filesizeformat(run.matched_bytes)}"),
        ("Removed", f"{run.removed_count:,} sessions"),
        ("Freed", presentation.documents_size(run.removed_bytes)),
        *_before_and_after(run),
        ("Skipped", f"{run.skipped_count:,} sessions"),
        *_way_back(run),
        *_earlier_errors(run),
    ]


def _origin(run: CleanupRun) -> _Facts:
    facts = []
    if run.policy is not None:
        facts.append(("Policy", presentation.policy_link(run)))
    if run.due_at:
        facts.append(("Was due", presentation.moment(run.due_at)))
    if run.held_because:
        facts.append(("Was held", run.held_because))
    if run.approved_by:
        approved = format_html("{}, {}", run.approved_by, presentation.moment(run.approved_at))
        facts.append(("Approved by", approved))
    if run.resumed_by:
        facts.append(("Resumed by", run.resumed_by))
    return facts


def _before_and_after(run: CleanupRun) -> _Facts:
    if run.before_bytes is None:
        return []
    scope = f"{run.before_count:,}"
    told = f"Before {run.before_bytes:,} bytes"
    if run.after_bytes is not None:
        scope += f" \N{RIGHTWARDS ARROW} {run.after_count:,}"
        freed = run.before_bytes - run.after_bytes
        told += f", after {run.after_bytes:,} bytes"
        # What grew has freed nothing.
        told += f", freed {freed:,} bytes" if freed >= 0 else ""
        if freed != run.removed_bytes:
            told += f". Removed {run.removed_bytes:,} bytes; other sessions came or went meanwhile"
    return [("All of the scope", f"{scope} sessions"), ("Size of the scope", told)]


def _way_back(run: CleanupRun) -> _Facts:
    facts = []
    if run.restored_count or run.undo_started_at:
        by = f" by {run.undone_by}" if run.undone_by else ""
        facts.append(("Brought back", f"{run.restored_count:,} sessions{by}"))
    if run.undone_at:
        facts.append(("Undone", presentation.moment(run.undone_at)))
    if changed := describe_access(run.changed_access):
        facts.append(("Not as before", presentation.sentences(changed)))
    if run.emptied_count:
        when = presentation.moment(run.emptied_at)
        facts.append(("Deleted for good", format_html("{} sessions, {}", f"{run.emptied_count:,}", when)))
    return facts


def _earlier_errors(run: CleanupRun) -> _Facts:
    lines = run.earlier_errors.splitlines()
    return [("Went wrong before", presentation.sentences(lines))] if lines else []
