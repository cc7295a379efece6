"""The buttons of a run: start, resume, undo, close, replan and protect it.

Small runs finish within the request. The worker does the others, and the page of the run shows the progress.
"""

from __future__ import annotations

import logging
import traceback
from functools import partial
from typing import Any

from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.db import transaction
from django.db.models import Q
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse

from sessions_app.access import permissions
from sessions_app.access.visibility import limit_to_visible
from sessions_app.admin.base import RaptorAdmin, get_run, show_queued, warn_if_queue_is_unreachable
from sessions_app.admin.polling import LATE_AFTER
from sessions_app.admin.runs.progress import last_worked_at
from sessions_app.cleanup import (
    CannotUndo,
    CleanupRefused,
    PlanOutdated,
    close_cleanup,
    interrupt_if_stalled,
    measure_scope,
    plan_cleanup,
    replan,
    run_cleanup,
    sessions_missing_files_of,
    summary,
    undo_cleanup,
)
from sessions_app.deadline import Deadline
from sessions_app.liveness import close_for_run
from sessions_app.models import CleanupRun
from sessions_app.models.clock import database_now
from sessions_app.queue.enqueue import Task
from sessions_app.queue.outbox import enqueue
from sessions_app.session.criteria import Criteria
from sessions_app.session.endpoint import mask_endpoints
from sessions_app.text import part_of, were
from sessions_app.transactions import retry_when_busy
from sessions_app.transactions.disk import disk_full_message
from sessions_app.transactions.reserve import retry_with_room

logger = logging.getLogger(__name__)

REQUEST_SECONDS = 20
"""The worker continues a cleanup that takes longer, so that the page answers in time."""

REQUEST_SESSIONS = 1_000
"""The worker starts a cleanup of more sessions than this."""

REQUEST_CLOSINGS = 20
"""A cleanup that closes browsers runs in the worker if it has more sessions than this."""

_State = CleanupRun.State


def make_plan(request: HttpRequest, criteria: Criteria, *, closes_browsers: bool = False) -> CleanupRun:
    """Plan a cleanup of the sessions that the user sees, and count its scope once for all pages of the plan.

    Raises: CleanupRefused, InvalidCriteria.
    """
    run = plan_cleanup(
        limit_to_visible(request.user, criteria),
        trigger=CleanupRun.Trigger.ADMIN,
        actor=request.user.get_username(),
        closes_browsers=closes_browsers,
    )
    measure_scope(run)
    return run


def may_run(request: HttpRequest, run: CleanupRun) -> bool:
    """Check whether the user may start the run."""
    return permissions.may_run(request.user, covers_all=run.criteria.all, closes_browsers=run.closes_browsers)


def check_may_run(request: HttpRequest, run: CleanupRun) -> None:
    """Raise PermissionDenied unless the user may start the run."""
    if not may_run(request, run):
        raise PermissionDenied


def redirect_to_run(run: CleanupRun) -> HttpResponse:
    return HttpResponseRedirect(reverse("admin:sessions_app_cleanuprun_change", args=[run.pk]))


def redirect_to_plan(run: CleanupRun) -> HttpResponse:
    return HttpResponseRedirect(reverse("admin:sessions_app_cleanuprun_plan", args=[run.pk]))


def run_or_queue(request: HttpRequest, run: CleanupRun) -> HttpResponse:
    """Start or resume a confirmed plan, in the worker if it is large."""
    check_may_run(request, run)
    left_count = run.matched_count - run.removed_count
    # Closing many browsers takes too long for a request.
    limit = REQUEST_CLOSINGS if run.closes_browsers else REQUEST_SESSIONS
    if left_count <= limit or not run.is_resumable:
        return _run_now(request, run)
    trigger = CleanupRun.Trigger.ADMIN.value
    if queue_run(run, Task.RUN_PLANNED, trigger, request.user.get_username()):
        show_queued(request, f"The worker will clean up {left_count:,} sessions.")
    return redirect_to_run(run)


@retry_with_room
def queue_run(run: CleanupRun, task: Task, *args: Any) -> bool:
    """Queue a task for a run unless one is queued already, as after a double click.

    A run that no worker has started in time can be queued again.

    Returns: Whether the task was queued.
    """
    now = database_now()
    queued_before = max(filter(None, (last_worked_at(run), now - LATE_AFTER)))
    free = Q(queued_at=None) | Q(queued_at__lt=queued_before)
    unclaimed = CleanupRun.objects.filter(free, pk=run.pk, state=run.state, attempt=run.attempt)

    def queue() -> bool:
        with transaction.atomic():
            is_queued = unclaimed.update(queued_at=now) == 1
            if is_queued:
                enqueue(task, run.pk, *args)
        return is_queued

    return retry_when_busy(queue)


def resume_view(screen: RaptorAdmin, request: HttpRequest, run_id: int) -> HttpResponse:
    """Resume a run that was interrupted, failed or stalled."""
    run = interrupt_if_stalled(get_run(screen, request, run_id, to_act=True))
    if run.state in (_State.PLANNED, _State.HELD):
        # An unconfirmed plan must be previewed first.
        return redirect_to_plan(run)
    return _undo(request, run) if run.undo_started_at else run_or_queue(request, run)


def undo_view(screen: RaptorAdmin, request: HttpRequest, run_id: int) -> HttpResponse:
    """Restore the sessions that a run removed, in the worker if there are many."""
    return _undo(request, interrupt_if_stalled(get_run(screen, request, run_id, to_act=True)))


def close_view(screen: RaptorAdmin, request: HttpRequest, run_id: int) -> HttpResponse:
    """Dismiss a plan, or abandon the rest of a stopped run."""
    run = interrupt_if_stalled(get_run(screen, request, run_id, to_act=True))
    try:
        close_cleanup(run, actor=request.user.get_username())
    except CleanupRefused as reason:
        messages.warning(request, str(reason))
    else:
        messages.success(request, f"Run {run.pk} is closed.")
    return redirect_to_run(run)


def replan_view(screen: RaptorAdmin, request: HttpRequest, run_id: int) -> HttpResponse:
    """Replace an outdated plan with a new one of the same criteria."""
    run = get_run(screen, request, run_id, to_act=True)
    if not run.is_outdated(database_now()):
        messages.warning(request, f"Run {run.pk} is not an outdated plan.")
        return redirect_to_run(run)
    check_may_run(request, run)
    try:
        plan = replan(run, trigger=CleanupRun.Trigger.ADMIN, actor=request.user.get_username())
        measure_scope(plan)
    except CleanupRefused as reason:
        messages.error(request, str(reason))
        return redirect_to_plan(run)
    messages.success(request, f"A new plan was made: run {plan.pk}.")
    return redirect_to_plan(plan)


def protect_view(screen: RaptorAdmin, request: HttpRequest, run_id: int) -> HttpResponse:
    """Protect the sessions of a run from emptying the archive, or stop protecting them."""
    run = get_run(screen, request, run_id, to_act=True)
    is_protected = request.POST.get("protect") == "1"
    retry_when_busy(lambda: CleanupRun.objects.filter(pk=run.pk).update(is_protected=is_protected))
    screen.log_change(request, run, "Protected." if is_protected else "No longer protected.")
    return redirect_to_run(run)


def _run_now(request: HttpRequest, run: CleanupRun) -> HttpResponse:
    """Start or resume a run; the worker continues it after the deadline of the request."""
    deadline = Deadline.after(REQUEST_SECONDS)
    try:
        run = run_cleanup(
            run,
            trigger=CleanupRun.Trigger.ADMIN,
            actor=request.user.get_username(),
            deadline=deadline,
            before_removal=partial(close_for_run, run),
        )
    except PlanOutdated as reason:
        messages.warning(request, str(reason))
        return redirect_to_plan(run)
    except CleanupRefused as reason:
        messages.warning(request, str(reason))
        return redirect_to_run(run)
    except Exception as error:
        return _failed(request, run, f"Run {run.pk}", error)
    if run.state == _State.INTERRUPTED:
        queue_run(run, Task.CONTINUE_CLEANUP)
        warn_if_queue_is_unreachable(request)
        messages.warning(request, f"{summary(run)}. The worker continues the run.")
    else:
        messages.success(request, f"{summary(run)}.")
        if run.policy_id is not None and run.due_at is not None:
            # The task skips finished steps and runs the remaining steps of the policy.
            enqueue(Task.CONTINUE_CLEANUP, run.pk)
            warn_if_queue_is_unreachable(request)
    return redirect_to_run(run)


def _undo(request: HttpRequest, run: CleanupRun) -> HttpResponse:
    actor = request.user.get_username()
    is_large = run.removed_count > REQUEST_SESSIONS and run.is_undoable
    if is_large and run.archived_sessions.exists():
        if queue_run(run, Task.UNDO_RUN, actor):
            show_queued(request, f"The worker will restore the sessions of run {run.pk}.")
        return redirect_to_run(run)
    try:
        run = undo_cleanup(run, actor=actor, deadline=Deadline.after(REQUEST_SECONDS))
    except (CannotUndo, CleanupRefused) as reason:
        messages.warning(request, str(reason))
        return redirect_to_run(run)
    except Exception as error:
        return _failed(request, run, f"The undo of run {run.pk}", error)
    total = run.removed_count
    message = f"{part_of(run.restored_count, total, 'session')} {were(total)} restored."
    # The page of the run names the folders and the reasons.
    has_unwritten = sessions_missing_files_of(run).exists()
    if run.state == _State.INTERRUPTED:
        queue_run(run, Task.CONTINUE_UNDO)
        warn_if_queue_is_unreachable(request)
        messages.warning(request, f"{message} The worker continues the undo.")
    elif left := run.archived_sessions.count():
        message += f" Still in the archive, because names or files are taken: {left:,}."
        messages.warning(request, message)
    elif has_unwritten:
        messages.warning(request, f"{message} Some of their files could not be written.")
    else:
        messages.success(request, message)
    return redirect_to_run(run)


def _failed(request: HttpRequest, run: CleanupRun, what: str, error: Exception) -> HttpResponse:
    """Log and show an exception; the run stores it too, and its page offers to resume."""
    disk_full = disk_full_message(error)
    logger.error("%s failed.\n%s", what, disk_full or mask_endpoints(traceback.format_exc()))
    messages.error(request, f"{what} failed. Its work so far is kept. {disk_full}".strip())
    return redirect_to_run(run)
