"""The buttons of a plan: approve it, discard it, leave out sessions, and include them again."""

from __future__ import annotations

from django.contrib import messages
from django.core.exceptions import BadRequest
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse

from sessions_app.admin.base import RaptorAdmin, get_run, is_id
from sessions_app.admin.runs import actions
from sessions_app.cleanup import (
    CleanupRefused,
    approve_cleanup,
    discard_plan,
    include_again,
    leave_out,
    requires_confirmation,
)
from sessions_app.models import CleanupRun
from sessions_app.models.clock import database_now
from sessions_app.policies import has_policy_changed
from sessions_app.text import count_of

_State = CleanupRun.State


def approve_view(screen: RaptorAdmin, request: HttpRequest, run_id: int) -> HttpResponse:
    """Approve a plan and run it, or show the plan if the user must check or confirm something first."""
    run = get_run(screen, request, run_id, to_act=True)
    actions.check_may_run(request, run)
    if run.state != _State.HELD:
        messages.warning(request, f"Run {run.pk} no longer needs approval.")
        return actions.redirect_to_run(run)
    # The page with this button shows only the number of sessions.
    is_as_shown = request.POST.get("matched", str(run.matched_count)) == str(run.matched_count)
    if (
        not is_as_shown
        or run.is_outdated(database_now())
        or has_policy_changed(run)
        or requires_confirmation(run)
    ):
        messages.warning(request, f"Check the plan of run {run.pk} first. Nothing has been removed yet.")
        return actions.redirect_to_plan(run)
    return approve_and_run(request, run)


def approve_and_run(request: HttpRequest, run: CleanupRun) -> HttpResponse:
    try:
        run = approve_cleanup(run, actor=request.user.get_username())
    except CleanupRefused as reason:
        messages.warning(request, str(reason))
        return actions.redirect_to_run(run)
    return actions.run_or_queue(request, run)


def discard_view(screen: RaptorAdmin, request: HttpRequest, run_id: int) -> HttpResponse:
    """Discard a preview. It does not stay in the history."""
    run = get_run(screen, request, run_id, to_act=True)
    try:
        closed = discard_plan(run, actor=request.user.get_username())
    except CleanupRefused as reason:
        messages.warning(request, str(reason))
        return actions.redirect_to_run(run)
    messages.success(request, f"The plan of run {run_id} was discarded. Nothing was removed.")
    if closed is not None:
        return actions.redirect_to_run(closed)
    return HttpResponseRedirect(reverse("admin:sessions_app_cleanuprun_changelist"))


def leave_out_view(screen: RaptorAdmin, request: HttpRequest, run_id: int) -> HttpResponse:
    """Leave the selected sessions out of a plan."""
    run = get_run(screen, request, run_id, to_act=True)
    actions.check_may_run(request, run)
    checked = request.POST.getlist("session")
    if not all(map(is_id, checked)):
        raise BadRequest("The selection must be a list of numbers.")
    if not checked:
        messages.warning(request, "Select the sessions to leave out first.")
        return actions.redirect_to_plan(run)
    try:
        number = leave_out(run, [int(pk) for pk in checked])
    except CleanupRefused as reason:
        messages.warning(request, str(reason))
    else:
        text = "was left out and is kept" if number == 1 else "were left out and are kept"
        messages.success(request, f"{count_of(number, 'session')} {text}.")
    return actions.redirect_to_plan(run)


def include_again_view(screen: RaptorAdmin, request: HttpRequest, run_id: int) -> HttpResponse:
    """Include all left-out sessions in a plan again."""
    run = get_run(screen, request, run_id, to_act=True)
    actions.check_may_run(request, run)
    try:
        number = include_again(run)
    except CleanupRefused as reason:
        messages.warning(request, str(reason))
    else:
        messages.success(request, f"The plan includes {count_of(number, 'session')} again.")
    return actions.redirect_to_plan(run)
