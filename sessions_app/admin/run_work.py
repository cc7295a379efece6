"""What a click does to a run: carry it out, undo it, give it up, plan it again.

What is small is done within the request. The worker does the rest, and the page of the run tells how
far it is.
"""

from __future__ import annotations

import logging
import traceback
from typing import Any

from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.db import transaction
from django.db.models import Q
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse
from django_q.tasks import async_task

from sessions_app.admin.base import RaptorAdmin, may_clean_up, may_clean_up_all
from sessions_app.admin.progress import QUEUE_LIMIT, last_worked_at
from sessions_app.admin.sight import get_seen_run, refuse_hidden, within_sight
from sessions_app.cleanup import (
    CannotUndo,
    CleanupRefused,
    PlanOutdated,
    close_cleanup,
    interrupt_if_dead,
    make_again,
    plan_cleanup,
    run_cleanup,
    sessions_owed_by,
    summary,
    undo_cleanup,
    weigh,
)
from sessions_app.commits import retry_when_busy
from sessions_app.criteria import Criteria
from sessions_app.deadline import Deadline
from sessions_app.disk import disk_full_message
from sessions_app.endpoints import mask_endpoints
from sessions_app.models import CleanupRun
from sessions_app.models.clock import database_now
from sessions_app.room import retry_with_room

logger = logging.getLogger(__name__)

REQUEST_SECONDS = 20
"""A cleanup that takes longer goes on in the worker: nobody waits longer for a page."""

REQUEST_SESSIONS = 1_000
"""A cleanup of more begins in the worker."""

_State = CleanupRun.State


def get_run(request: HttpRequest, run_id: int) -> CleanupRun:
    """The run that somebody is about to act on.

    Raises: PermissionDenied, Http404.
    """
    if not (may_clean_up(request) and request.user.has_perm("sessions_app.view_browsersession")):
        raise PermissionDenied
    run = get_seen_run(request, run_id)
    refuse_hidden(request, run)
    return run


def make_plan(request: HttpRequest, criteria: Criteria) -> CleanupRun:
    """Plan what somebody asks for, of what they see, and count its scope with it: the page of the plan does
    not go through all.

    Raises: CleanupRefused, InvalidCriteria.
    """
    run = plan_cleanup(
        within_sight(request, criteria), trigger=CleanupRun.Trigger.ADMIN, actor=request.user.get_username()
    )
    weigh(run)
    return run


def may_take(request: HttpRequest, run: CleanupRun) -> bool:
    """Whether the user may let a run take what its criteria name: all of a scope is for few."""
    return may_clean_up_all(request) if run.criteria.all else may_clean_up(request)


def refuse_untakable(request: HttpRequest, run: CleanupRun) -> None:
    """Raises: PermissionDenied: the user may not let the run take what its criteria name."""
    if not may_take(request, run):
        raise PermissionDenied


def to_run(run: CleanupRun) -> HttpResponse:
    return HttpResponseRedirect(reverse("admin:sessions_app_cleanuprun_change", args=[run.pk]))


def to_plan(run: CleanupRun) -> HttpResponse:
    return HttpResponseRedirect(reverse("admin:sessions_app_cleanuprun_plan", args=[run.pk]))


def confirm(request: HttpRequest, run: CleanupRun) -> HttpResponse:
    """Carry out a plan that a person has looked at, or the rest of it: by the worker where it is much."""
    refuse_untakable(request, run)
    left_count = run.matched_count - run.removed_count
    if left_count <= REQUEST_SESSIONS or not run.is_resumable:
        return _carry_out(request, run)
    trigger = CleanupRun.Trigger.ADMIN.value
    if enqueue(run, "sessions_app.tasks.run_planned", trigger, request.user.get_username()):
        messages.success(request, f"The worker will clean up {left_count:,} sessions.")
    return to_run(run)


@retry_with_room
def enqueue(run: CleanupRun, task: str, *args: Any) -> bool:
    """Ask the worker for a run, once: the second of two clicks finds that it was asked already.

    A run for which no worker came in time may be asked for again.
    """
    now = database_now()
    asked_before = max(filter(None, (last_worked_at(run), now - QUEUE_LIMIT)))
    free = Q(queued_at=None) | Q(queued_at__lt=asked_before)
    ours = CleanupRun.objects.filter(free, pk=run.pk, state=run.state, attempt=run.attempt)

    def queue() -> bool:
        # Where the database carries the tasks, mark and task are one: neither is there without the other.
        with transaction.atomic():
            is_ours = ours.update(queued_at=now) == 1
            if is_ours:
                async_task(task, run.pk, *args)
        return is_ours

    return retry_when_busy(queue)


def resume_view(screen: RaptorAdmin, request: HttpRequest, run_id: int) -> HttpResponse:
    """Go on with a run that was interrupted, has failed, or died."""
    run = interrupt_if_dead(get_run(request, run_id))
    if run.state in (_State.PLANNED, _State.HELD):
        # What nobody has confirmed is looked at first.
        return to_plan(run)
    return _undo(request, run) if run.undo_started_at else confirm(request, run)


def undo_view(screen: RaptorAdmin, request: HttpRequest, run_id: int) -> HttpResponse:
    """Bring back what a run removed; by the worker, where that is much."""
    return _undo(request, interrupt_if_dead(get_run(request, run_id)))


def close_view(screen: RaptorAdmin, request: HttpRequest, run_id: int) -> HttpResponse:
    """Dismiss a plan, or give up the rest of a run that stopped."""
    run = interrupt_if_dead(get_run(request, run_id))
    try:
        close_cleanup(run, actor=request.user.get_username())
    except CleanupRefused as reason:
        messages.warning(request, str(reason))
    else:
        messages.success(request, f"Run {run.pk} is closed.")
    return to_run(run)


def again_view(screen: RaptorAdmin, request: HttpRequest, run_id: int) -> HttpResponse:
    """Plan anew what an outdated plan was for."""
    run = get_run(request, run_id)
    if not run.is_outdated(database_now()):
        messages.warning(request, f"Run {run.pk} is no plan that has to be made again.")
        return to_run(run)
    refuse_untakable(request, run)
    try:
        plan = make_again(run, trigger=CleanupRun.Trigger.ADMIN, actor=request.user.get_username())
        weigh(plan)
    except CleanupRefused as reason:
        messages.error(request, str(reason))
        return to_plan(run)
    messages.success(request, f"Planned again, as of now. This is run {plan.pk}.")
    return to_plan(plan)


def protect_view(screen: RaptorAdmin, request: HttpRequest, run_id: int) -> HttpResponse:
    """Keep the sessions of a run when the archive is emptied, or no longer."""
    run = get_run(request, run_id)
    is_protected = request.POST.get("protect") == "1"
    retry_when_busy(lambda: CleanupRun.objects.filter(pk=run.pk).update(is_protected=is_protected))
    screen.log_change(request, run, "Protected." if is_protected else "No longer protected.")
    return to_run(run)


def _carry_out(request: HttpRequest, run: CleanupRun) -> HttpResponse:
    """Run a plan, or go on with it; what does not end in time goes on in the worker."""
    try:
        run = run_cleanup(
            run,
            trigger=CleanupRun.Trigger.ADMIN,
            actor=request.user.get_username(),
            deadline=Deadline.after(REQUEST_SECONDS),
        )
    except PlanOutdated as reason:
        messages.warning(request, str(reason))
        return to_plan(run)
    except CleanupRefused as reason:
        messages.warning(request, str(reason))
        return to_run(run)
    except Exception as error:
        return _failed(request, run, f"Run {run.pk}", error)
    if run.state == _State.INTERRUPTED:
        enqueue(run, "sessions_app.tasks.continue_cleanup")
        messages.warning(request, f"{summary(run)}. The worker goes on with it.")
    else:
        messages.success(request, f"{summary(run)}.")
        if run.policy_id is not None and run.due_at is not None:
            # The task passes over what has ended, and takes the steps of the policy that come after it.
            retry_when_busy(lambda: async_task("sessions_app.tasks.continue_cleanup", run.pk))
    return to_run(run)


def _undo(request: HttpRequest, run: CleanupRun) -> HttpResponse:
    actor = request.user.get_username()
    is_large = run.removed_count > REQUEST_SESSIONS and run.is_undoable
    if is_large and run.archived_sessions.exists():
        if enqueue(run, "sessions_app.tasks.undo_run", actor):
            messages.success(request, f"The worker will bring back the sessions of run {run.pk}.")
        return to_run(run)
    try:
        run = undo_cleanup(run, actor=actor, deadline=Deadline.after(REQUEST_SECONDS))
    except (CannotUndo, CleanupRefused) as reason:
        messages.warning(request, str(reason))
        return to_run(run)
    except Exception as error:
        return _failed(request, run, f"The undo of run {run.pk}", error)
    told = f"{run.restored_count:,} of {run.removed_count:,} sessions are back."
    # The page of the run names the folders and the reasons.
    has_unwritten = sessions_owed_by(run).exists()
    if run.state == _State.INTERRUPTED:
        enqueue(run, "sessions_app.tasks.continue_undo")
        messages.warning(request, f"{told} The worker goes on with it.")
    elif left := run.archived_sessions.count():
        told += f" {left:,} stay in the archive: their names or files are taken."
        messages.warning(request, told)
    elif has_unwritten:
        messages.warning(request, f"{told} Some of their files could not be written.")
    else:
        messages.success(request, told)
    return to_run(run)


def _failed(request: HttpRequest, run: CleanupRun, what: str, error: Exception) -> HttpResponse:
    """Report an exception; the run holds it too, and its page offers to go on."""
    disk_full = disk_full_message(error)
    logger.error("%s failed.\n%s", what, disk_full or mask_endpoints(traceback.format_exc()))
    messages.error(request, f"{what} failed; what it did is kept. {disk_full}".strip())
    return to_run(run)
