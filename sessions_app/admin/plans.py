"""The page of a plan: what it takes and why, the brakes by hand, and the way on."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.template.defaultfilters import filesizeformat

from sessions_app.admin import presentation, run_work
from sessions_app.admin.base import RaptorAdmin, is_id
from sessions_app.admin.planned import taken_now
from sessions_app.admin.progress import Phase, phase_of
from sessions_app.cleanup import CleanupRefused, approve_cleanup, matching, needs_number, weigh
from sessions_app.models import BrowserSession, CleanupRun
from sessions_app.models.clock import database_now
from sessions_app.policies import has_policy_changed

_State = CleanupRun.State


def plan_view(screen: RaptorAdmin, request: HttpRequest, run_id: int) -> HttpResponse:
    """Show what a plan would take; on POST, take it. To run a held plan is to approve it."""
    run = run_work.get_run(request, run_id)
    now = database_now()
    if run.state not in (_State.PLANNED, _State.HELD) or phase_of(run, now) is Phase.QUEUED:
        return run_work.to_run(run)
    is_outdated = run.is_outdated(now)
    error = ""
    if request.method == "POST":
        if is_outdated:
            messages.warning(request, f"The plan of run {run.pk} is over a day old: nothing was done.")
            return run_work.to_plan(run)
        error = _number_error(run, request.POST.get("number", ""))
        if not error:
            return _confirm(request, run)
    context = {**_plan_context(request, run), "is_outdated": is_outdated, "number_error": error}
    titles = {_State.HELD: "Approve this cleanup?", _State.PLANNED: "Clean up sessions?"}
    title = "Plan it again?" if is_outdated else titles[_State(run.state)]
    return screen.page(request, "cleanuprun/plan.html", title, context)


def _confirm(request: HttpRequest, run: CleanupRun) -> HttpResponse:
    run_work.refuse_untakable(request, run)
    if run.state == _State.HELD:
        if request.POST.get("approve") != "1":
            messages.warning(request, f"Run {run.pk} is held by now: look at why.")
            return run_work.to_plan(run)
        try:
            run = approve_cleanup(run, actor=request.user.get_username())
        except CleanupRefused as reason:
            messages.warning(request, str(reason))
            return run_work.to_run(run)
    return run_work.confirm(request, run)


def _number_error(run: CleanupRun, typed: str) -> str:
    """Say what is wrong with the number that was typed; blank where it is right, or none is asked for."""
    if not needs_number(run):
        return ""
    digits = typed.strip().replace(",", "")
    if digits == str(run.matched_count):
        return ""
    current = matching(run).count()
    if not digits:
        return f"Nothing was removed. Type {current:,} to confirm."
    # A plan only ever shrinks: any number between was on the page when that was loaded.
    if is_id(digits) and current <= int(digits) <= run.matched_count:
        return ""
    return f"Nothing was removed: the plan takes {current:,} sessions, and another number was typed."


def _plan_context(request: HttpRequest, run: CleanupRun) -> dict[str, Any]:
    taken = taken_now(run)
    judged = (
        matching(run)
        .defer("document", "last_good_document")
        .annotate(reason_bits=run.criteria.reasons(run.as_of))
    )
    page, sessions = presentation.page_of(request, taken.listed, judged)
    asks_number = needs_number(run)
    return {
        "run": run,
        "policy": presentation.policy_link(run),
        "has_policy_changed": has_policy_changed(run),
        "count": taken.session_count,
        "size": filesizeformat(taken.size_bytes),
        "is_as_planned": not taken.is_counted_now,
        "has_more": taken.session_count > len(taken.listed),
        "as_of": presentation.moment(run.as_of),
        "planned_at": presentation.moment(run.planned_at),
        "reasons": presentation.reason_counts(run.matched_reasons),
        "changed_count": run.matched_count - taken.session_count,
        "page": page,
        "rows": presentation.session_rows(sessions, "reason_bits", run),
        "archive_days": settings.RAPTOR_ARCHIVE_DAYS,
        "asks_number": asks_number,
        "may_confirm": run_work.may_take(request, run),
        "typed": request.POST.get("number", ""),
        "is_large": run.matched_count > run_work.REQUEST_SESSIONS,
        **_scope(run, taken.session_count),
        **_staying(run),
    }


def _scope(run: CleanupRun, count: int) -> dict[str, Any]:
    if run.before_count is None:
        weigh(run)
    if not run.before_count:
        return {}
    return {
        "before_count": run.before_count,
        "before_size": presentation.size(run.before_bytes or 0),
        "percent": presentation.percent(count, run.before_count),
    }


def _staying(run: CleanupRun) -> dict[str, int]:
    """Count those of a selection that the plan left out."""
    selected = run.criteria.session_ids
    if selected is None or run.criteria.has_vanished:
        return {}
    # As they were when the plan was made: those pinned since are told as changed.
    chosen = BrowserSession.objects.filter(pk__in=selected, updated_at__lt=run.sealed_at)
    pinned = chosen.filter(is_pinned=True).count()
    return {
        "selected_count": len(selected),
        "pinned_count": pinned,
        "gone_count": max(0, len(selected) - run.matched_count - pinned),
    }
