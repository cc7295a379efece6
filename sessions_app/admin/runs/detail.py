"""The page of a run: its state, its actions and its results."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.http import HttpRequest
from django.template.defaultfilters import filesizeformat
from django.utils import timezone
from django.utils.html import format_html

from sessions_app.access.permissions import may_clean_up
from sessions_app.access.visibility import hidden_from, is_visible, reaches_hidden, visible_names
from sessions_app.admin import badges, formatting
from sessions_app.admin.changelist import BOUND, READ_BOUND, first_rows
from sessions_app.admin.polling import Phase
from sessions_app.admin.runs.actions import may_run
from sessions_app.admin.runs.progress import progress_of
from sessions_app.cleanup import UnwrittenFiles, describe_access, sessions_missing_files_of, unwritten_files
from sessions_app.models import ArchivedSession, CleanupRun, PlannedSessions
from sessions_app.models.clock import database_now
from sessions_app.queue.worker import worker_state
from sessions_app.text import count_of

SKIPPED_ROWS = 100

_State = CleanupRun.State
_Facts = list[tuple[str, str]]


def run_context(request: HttpRequest, run: CleanupRun) -> dict[str, Any]:
    now = database_now()
    progress = progress_of(run, now)
    is_done = progress.phase is Phase.DONE
    context: dict[str, Any] = {
        "run": run,
        "state": badges.state_badge(run, is_queued=progress.phase in (Phase.WAITING, Phase.LATE)),
        "progress": progress,
        "worker": worker_state(now) if progress.phase is Phase.LATE else None,
        "last_seen": run.heartbeat_at and timezone.localtime(run.heartbeat_at).strftime("%H:%M:%S"),
        "facts": _facts(run),
        "reasons": formatting.reason_counts(run.removed_reasons or run.matched_reasons),
        "can_clean_up": may_clean_up(request.user) and not reaches_hidden(request.user, run.criteria),
        "reaches_hidden": reaches_hidden(request.user, run.criteria),
        "is_stopped": is_done and run.is_resumable and run.state != _State.PLANNED,
        "may_run": may_run(request, run),
        "is_undoable": is_done and run.is_undoable,
        "closed_at": formatting.moment(run.closed_at),
        "archive_days": settings.RAPTOR_ARCHIVE_DAYS,
        # While the run is running, the files of its last batch may not be written yet.
        "unwritten": _unwritten(request, run) if progress.phase in (Phase.DONE, Phase.STALLED) else [],
    }
    if request.user.has_perm("sessions_app.view_browsersession"):
        context |= _skipped(request, run)
    if request.user.has_perm("sessions_app.view_archivedsession"):
        context |= _archived(request, run)
    return context


def _unwritten(request: HttpRequest, run: CleanupRun) -> list[UnwrittenFiles]:
    if not run.restored_count:
        return []
    return unwritten_files(sessions_missing_files_of(run).filter(is_visible(request.user)))


def _archived(request: HttpRequest, run: CleanupRun) -> dict[str, Any]:
    archived = ArchivedSession.objects.filter(run=run)
    visible = [is_visible(request.user)] if hidden_from(request.user) else []
    found, has_more = first_rows(archived.order_by("pk"), *visible, bound=READ_BOUND if visible else BOUND)
    page, sessions = formatting.page_of(request, [pk for (pk,) in found], archived)
    return {
        "page": page,
        "has_more": has_more,
        "rows": formatting.session_rows(sessions, "reasons", run),
    }


def _skipped(request: HttpRequest, run: CleanupRun) -> dict[str, Any]:
    named = visible_names(request.user, run.skipped_sessions)
    note = ""
    if run.skipped_count > len(named) and not run.is_concealed:
        is_listed = run.matched_count <= PlannedSessions.LIMIT
        note = f"Listed by name: {len(named):,} of {run.skipped_count:,} skipped. "
        note += "" if is_listed else f"Runs over {PlannedSessions.LIMIT:,} sessions only count them."
    if len(named) > SKIPPED_ROWS:
        note = f"The first {SKIPPED_ROWS:,} are shown; the download has all of them. {note}"
    return {"skipped": named[:SKIPPED_ROWS], "skipped_note": note.strip()}


def _facts(run: CleanupRun) -> _Facts:
    return [
        ("Criteria", run.criteria.describe()),
        ("Started by", formatting.started_by(run)),
        *_origin(run),
        ("Evaluated at", formatting.moment(run.as_of)),
        ("Started", formatting.moment(run.started_at)),
        ("Ended", formatting.moment(run.finished_at)),
        ("Took", formatting.took(run)),
        *([] if run.is_concealed else _counts(run)),
        *_earlier_errors(run),
    ]


def _protected(run: CleanupRun) -> _Facts:
    protected = run.skipped_reasons.get("protected", 0)
    return [("Protected", count_of(protected, "session"))] if protected else []


def _counts(run: CleanupRun) -> _Facts:
    return [
        ("Matched", f"{count_of(run.matched_count, 'session')}, {filesizeformat(run.matched_bytes)}"),
        ("Removed", count_of(run.removed_count, "session")),
        ("Freed", formatting.documents_size(run.removed_bytes)),
        *_before_and_after(run),
        *_browsers(run),
        ("Skipped", count_of(run.skipped_count, "session")),
        *_protected(run),
        *_restored(run),
    ]


def _origin(run: CleanupRun) -> _Facts:
    facts = []
    if run.policy is not None:
        facts.append(("Policy", formatting.policy_link(run)))
    if run.due_at:
        facts.append(("Due", formatting.moment(run.due_at)))
    if run.held_because:
        facts.append(("Needed approval", run.held_because))
    if run.approved_by:
        approved = format_html("{}, {}", run.approved_by, formatting.moment(run.approved_at))
        facts.append(("Approved by", approved))
    if run.resumed_by:
        facts.append(("Resumed by", run.resumed_by))
    return facts


def _browsers(run: CleanupRun) -> _Facts:
    if not run.closes_browsers:
        return []
    closed = count_of(run.closed_count, "browser")
    freed = filesizeformat(run.closed_bytes)
    return [("Browsers closed", f"{closed}, {freed} of memory freed")]


def _before_and_after(run: CleanupRun) -> _Facts:
    if run.before_bytes is None:
        return []
    scope = count_of(run.before_count or 0, "session")
    size = f"Before {run.before_bytes:,} bytes"
    if run.after_bytes is not None:
        scope = f"{run.before_count:,} \N{RIGHTWARDS ARROW} {count_of(run.after_count or 0, 'session')}"
        freed = run.before_bytes - run.after_bytes
        size += f", after {run.after_bytes:,} bytes"
        # A scope that grew in the meantime has freed nothing.
        size += f", freed {freed:,} bytes" if freed >= 0 else ""
        if freed != run.removed_bytes:
            size += f". Removed {run.removed_bytes:,} bytes; other sessions changed in the meantime"
    return [("Sessions in scope", scope), ("Size of scope", size)]


def _restored(run: CleanupRun) -> _Facts:
    facts = []
    if run.restored_count or run.undo_started_at:
        by = f" by {run.undone_by}" if run.undone_by else ""
        facts.append(("Restored", f"{count_of(run.restored_count, 'session')}{by}"))
    if run.undone_at:
        facts.append(("Undone", formatting.moment(run.undone_at)))
    if changed := describe_access(run.changed_access):
        facts.append(("Not as before", formatting.sentences(changed)))
    if run.emptied_count:
        when = formatting.moment(run.emptied_at)
        facts.append(
            ("Deleted permanently", format_html("{}, {}", count_of(run.emptied_count, "session"), when))
        )
    return facts


def _earlier_errors(run: CleanupRun) -> _Facts:
    lines = run.earlier_errors.splitlines()
    return [("Earlier errors", formatting.sentences(lines))] if lines else []
