"""The preview of a plan: its sessions, their reasons, and the form that confirms it."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.template.defaultfilters import filesizeformat

from sessions_app.admin import formatting
from sessions_app.admin.base import RaptorAdmin, get_run, is_id
from sessions_app.admin.polling import Phase
from sessions_app.admin.runs import actions
from sessions_app.admin.runs.plan_actions import approve_and_run
from sessions_app.admin.runs.plan_totals import current_totals
from sessions_app.admin.runs.progress import phase_of
from sessions_app.cleanup import left_out_digest, matching, measure_scope, requires_confirmation
from sessions_app.models import BrowserSession, CleanupRun
from sessions_app.models.clock import database_now
from sessions_app.policies import has_policy_changed
from sessions_app.text import count_of

_State = CleanupRun.State


def plan_view(screen: RaptorAdmin, request: HttpRequest, run_id: int) -> HttpResponse:
    """Preview a plan; on POST, run it. Running a plan that needs approval approves it."""
    run = get_run(screen, request, run_id, to_act=True)
    now = database_now()
    if run.state not in (_State.PLANNED, _State.HELD) or phase_of(run, now) is Phase.WAITING:
        return actions.redirect_to_run(run)
    is_outdated = run.is_outdated(now)
    error = ""
    if request.method == "POST":
        if is_outdated:
            messages.warning(request, f"The plan of run {run.pk} is over a day old. Nothing was removed.")
            return actions.redirect_to_plan(run)
        mark = left_out_digest(run)
        if request.POST.get("left_out", mark) != mark:
            messages.warning(request, "The sessions in the plan have changed. Check the plan again.")
            return actions.redirect_to_plan(run)
        error = _number_error(run, request.POST.get("number", ""))
        if not error:
            return _confirm(request, run)
    context = {**_plan_context(request, run), "is_outdated": is_outdated, "number_error": error}
    titles = {_State.HELD: "Approve this cleanup?", _State.PLANNED: "Clean up sessions?"}
    title = "Make a new plan?" if is_outdated else titles[_State(run.state)]
    return screen.page(request, "cleanuprun/plan.html", title, context)


def _confirm(request: HttpRequest, run: CleanupRun) -> HttpResponse:
    actions.check_may_run(request, run)
    if run.state == _State.HELD:
        if request.POST.get("approve") != "1":
            messages.warning(request, f"Run {run.pk} needs approval now. Check the reason.")
            return actions.redirect_to_plan(run)
        return approve_and_run(request, run)
    return actions.run_or_queue(request, run)


def _number_error(run: CleanupRun, typed: str) -> str:
    """Describe the fault of the typed number; blank if it is correct or not required."""
    if not requires_confirmation(run):
        return ""
    digits = typed.strip().replace(",", "")
    if digits == str(run.matched_count):
        return ""
    current = matching(run).count()
    if not digits:
        return f"Nothing was removed. Type {current:,} to confirm."
    # Sessions change or disappear, so the page may have shown another number.
    if is_id(digits) and current <= int(digits) <= run.matched_count:
        return ""
    return f"Nothing was removed. The plan has {count_of(current, 'session')}, but you typed another number."


def _plan_context(request: HttpRequest, run: CleanupRun) -> dict[str, Any]:
    totals = current_totals(run)
    rows = matching(run).annotate(reason_bits=run.criteria.reasons(run.as_of))
    page, sessions = formatting.page_of(request, totals.listed, rows)
    return {
        "run": run,
        "policy": formatting.policy_link(run),
        "has_policy_changed": has_policy_changed(run),
        "count": totals.session_count,
        "size": filesizeformat(totals.size_bytes),
        "is_as_planned": not totals.is_counted_now,
        "has_more": totals.session_count > len(totals.listed),
        "as_of": formatting.moment(run.as_of),
        "planned_at": formatting.moment(run.planned_at),
        "reasons": formatting.reason_counts(run.matched_reasons),
        "changed_count": run.matched_count - totals.session_count,
        "page": page,
        "rows": formatting.session_rows(sessions, "reason_bits", run),
        "archive_days": settings.RAPTOR_ARCHIVE_DAYS,
        "requires_confirmation": requires_confirmation(run),
        "may_confirm": actions.may_run(request, run),
        "typed": request.POST.get("number", ""),
        "left_out_count": len(run.criteria.not_session_ids),
        "left_out_digest": left_out_digest(run),
        "has_files": _has_files(run, totals.listed),
        "is_large": run.matched_count > actions.REQUEST_SESSIONS,
        "alive_count": run.matched_browsers.get("alive", 0),
        "in_use_count": run.matched_browsers.get("in_use", 0),
        **_scope(run, totals.session_count),
        **_staying(run),
    }


def _has_files(run: CleanupRun, ids: list[int]) -> bool:
    """Check whether the run removes files, which is the case if any of the sessions has a file."""
    listed = BrowserSession.objects.filter(pk__in=ids, directory__isnull=False)
    return not run.criteria.has_vanished and listed.exists()


def _scope(run: CleanupRun, count: int) -> dict[str, Any]:
    if run.before_count is None:
        measure_scope(run)
    if not run.before_count:
        return {}
    return {
        "before_count": run.before_count,
        "before_size": formatting.size(run.before_bytes or 0),
        "percent": formatting.percent(count, run.before_count),
    }


def _staying(run: CleanupRun) -> dict[str, int]:
    """Count the selected sessions that the plan leaves out."""
    selected = run.criteria.session_ids
    if selected is None or run.criteria.has_vanished:
        return {}
    # As of the time of the plan; sessions pinned later count as changed.
    chosen = BrowserSession.objects.filter(pk__in=selected, updated_at__lt=run.sealed_at)
    pinned = chosen.filter(is_pinned=True).count()
    return {
        "selected_count": len(selected),
        "pinned_count": pinned,
        "gone_count": max(0, len(selected) - run.matched_count - pinned),
    }
