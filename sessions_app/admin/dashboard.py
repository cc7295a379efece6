"""The first page of the panel: figures, the next sweep, what needs approval, and the state of the worker.

It leaves out what the user may not see, including from its figures.
"""

from __future__ import annotations

import hashlib
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from django.db.models import F
from django.http import HttpRequest, JsonResponse
from django.template.defaultfilters import filesizeformat
from django.urls import reverse

from sessions_app.access.permissions import may_plan, may_run
from sessions_app.access.visibility import conceal, hidden_from, reaches_hidden, visible, visible_runs
from sessions_app.admin import badges, formatting
from sessions_app.admin.attention import attention_context
from sessions_app.admin.reports import charts
from sessions_app.admin.reports.admin import BROWSERS_COUNTED, DEFAULT_DAYS, as_of_context, current_figures
from sessions_app.admin.reports.tables import list_link
from sessions_app.admin.runs.progress import is_waiting
from sessions_app.liveness import first_in_state
from sessions_app.mirror.first_use import find_folder
from sessions_app.models import BrowserSession, CleanupPolicy, CleanupRun, SessionDirectory
from sessions_app.models.clock import database_now
from sessions_app.queue.worker import WorkerState, failed_jobs, worker_state
from sessions_app.reports import Figures, history
from sessions_app.session.browser_states import BrowserState

RUNS_SHOWN = 6
HELD_SHOWN = 5

_State = CleanupRun.State
_WORKER_BADGES = {
    WorkerState.RUNNING: ("good", "Running"),
    WorkerState.STARTING: ("quiet", "Starting"),
    WorkerState.BEHIND: ("stale", "Behind"),
    WorkerState.STOPPED: ("bad", "Not running"),
    WorkerState.NEVER: ("bad", "Not set up"),
}


class Tile(NamedTuple):
    """A figure with its label and a link to the list behind it."""

    label: str
    number: str
    note: str = ""
    link: str = ""


def dashboard_context(request: HttpRequest) -> dict[str, Any]:
    """Return what the page shows to a user. The number of queries does not depend on the number of rows."""
    context = _facts(request)
    context["digest"] = digest_of(context)
    # A page that waits for new counts already polls for them.
    context["refreshes"] = context["shows_dashboard"] and not context.get("wait")
    if _sees(request, "browsersession"):
        context |= _growth(request) | _first_use(request, context["figures"])
    return context


def dashboard_state(request: HttpRequest) -> JsonResponse:
    """Return a digest of the page's content; ``poll.js`` reloads the page when the digest changes."""
    return JsonResponse({"phase": digest_of(_facts(request))})


def _facts(request: HttpRequest) -> dict[str, Any]:
    """Return the part of the page's content that the digest covers."""
    now = formatting.request_time(request)
    models = ("browsersession", "sessiondirectory", "cleanuprun", "cleanuppolicy")
    context: dict[str, Any] = {"shows_dashboard": any(_sees(request, model) for model in models)}
    if context["shows_dashboard"]:
        database_time = database_now()
        worker = worker_state(database_time)
        context |= attention_context(request, database_time)
        context |= {"worker": worker, "failed_jobs": failed_jobs()}
        context["worker_badge"] = badges.badge(*_WORKER_BADGES[worker.state])
    if _sees(request, "browsersession"):
        context |= _sessions(request)
    if _sees(request, "cleanuppolicy"):
        context |= _next_sweep(request, now)
    if _sees(request, "cleanuprun"):
        context |= _runs(request)
    return context


def _sees(request: HttpRequest, model: str) -> bool:
    return request.user.has_perm(f"sessions_app.view_{model}")


def digest_of(context: dict[str, Any]) -> str:
    """Return a digest of the page's content without relative times, which change constantly."""
    worker, next_sweep = context.get("worker"), context.get("next_sweep")
    facts = (
        context.get("tiles"),
        [(line[0].pk, line[0].state) for line in context.get("held", ())],
        [str(line) for line in context.get("attention", ())],
        [(line["run"].pk, line["state"], line["removed"], line["freed"]) for line in context.get("runs", ())],
        worker and (worker.state, context["failed_jobs"], worker.is_queue_reachable),
        next_sweep and (next_sweep.pk, next_sweep.next_run_at),
    )
    return hashlib.sha256(repr(facts).encode()).hexdigest()[:16]


def _sessions(request: HttpRequest) -> dict[str, Any]:
    found = current_figures(request)
    context: dict[str, Any] = as_of_context(request, found)
    if found is not None:
        context["tiles"] = [*_tiles(request, found), _browser_tile(request)]
    return context


def _growth(request: HttpRequest) -> dict[str, Any]:
    since = formatting.request_time(request) - timedelta(days=DEFAULT_DAYS)
    return {"chart": charts.growth(history(since=since, hidden=hidden_from(request.user)), DEFAULT_DAYS)}


def _first_use(request: HttpRequest, found: Figures | None) -> dict[str, Any]:
    """Return what an empty panel offers."""
    is_empty = found is not None and found.report.live.sessions == found.report.archived.sessions == 0
    if not is_empty or SessionDirectory.objects.exists():
        return {}
    may_add = request.user.has_perm("sessions_app.add_sessiondirectory")
    return {"is_first_use": True, "found_folder": find_folder() if may_add else None}


def _tiles(request: HttpRequest, found: Figures) -> list[Tile]:
    report, storage = found.report, reverse("admin:sessions_app_storage")
    free = report.would_free["either"]
    archive_as_of = formatting.clock(found.archive_as_of, formatting.request_time(request))
    archive_note = f", as of {archive_as_of}" if archive_as_of and not found.live_as_of else ""
    may_see_archive = request.user.has_perm("sessions_app.view_archivedsession")
    archive = reverse("admin:sessions_app_archivedsession_changelist") if may_see_archive else ""
    return [
        Tile("Sessions", f"{report.live.sessions:,}", f"{report.pinned.sessions:,} pinned", list_link()),
        Tile("Live size", filesizeformat(report.live.bytes), f"{report.live.bytes:,} bytes", storage),
        Tile(
            "Expired",
            f"{report.expired.sessions:,}",
            f"last accessed over {report.max_age_days:g} days ago",
            list_link(expired="yes"),
        ),
        Tile("Invalid", f"{report.invalid.sessions:,}", "break a rule", list_link(problem="any")),
        Tile(
            "Reclaimable",
            filesizeformat(free.bytes),
            f"{free.sessions:,} expired or invalid, not pinned",
            f"{storage}#would-free",
        ),
        Tile(
            "Archive",
            filesizeformat(report.archived.bytes),
            f"{report.archived.sessions:,} removed{archive_note}",
            archive,
        ),
    ]


def _browser_tile(request: HttpRequest) -> Tile:
    """Return the number of live browsers, counted up to a bound through an index."""
    now = formatting.request_time(request)
    sessions = visible(request.user, BrowserSession.objects.all())
    shown = {}
    for state in (BrowserState.ALIVE, BrowserState.IN_USE, BrowserState.GONE):
        keys, has_more = first_in_state(sessions, state, as_of=now, bound=BROWSERS_COUNTED)
        shown[state] = f"{BROWSERS_COUNTED:,}+" if has_more else f"{len(keys):,}"
    note = f"{shown[BrowserState.IN_USE]} in use, {shown[BrowserState.GONE]} gone"
    return Tile("Browsers alive, not in use", shown[BrowserState.ALIVE], note, list_link(browser="alive"))


def _next_sweep(request: HttpRequest, now: datetime) -> dict[str, Any]:
    scheduled = visible(request.user, CleanupPolicy.objects.filter(is_enabled=True)).exclude(schedule="")
    policy = scheduled.order_by(F("next_run_at").asc(nulls_last=True), "name").first()
    return {
        "sees_policies": True,
        "next_sweep": policy,
        "next_sweep_when": _when(policy.next_run_at, now) if policy else "",
    }


def _when(due_at: datetime | None, now: datetime) -> str:
    if due_at is None:
        # The worker plans it within minutes, unless the schedule cannot be parsed.
        return "not planned yet"
    wait = formatting.duration(due_at - now)
    return formatting.moment(due_at, f"in {wait}" if due_at > now else f"due for {wait}")


def _runs(request: HttpRequest) -> dict[str, Any]:
    runs = visible_runs(request.user, CleanupRun.objects.defer("skipped_sessions").select_related("policy"))
    ledger = formatting.without_ids(runs)
    held = [
        conceal(request.user, run)
        for run in ledger.filter(state=_State.HELD).order_by("-pk")[: HELD_SHOWN + 1]
    ]
    # Leave out unconfirmed plans, and plans that need approval, which are listed above.
    last = ledger.exclude(state=_State.HELD).exclude(state=_State.PLANNED, queued_at=None).order_by("-pk")
    return {
        "sees_runs": True,
        "held": [_held(request, run) for run in held[:HELD_SHOWN]],
        "has_more_held": len(held) > HELD_SHOWN,
        "runs": [_line(conceal(request.user, run)) for run in last[:RUNS_SHOWN]],
    }


def _held(request: HttpRequest, run: CleanupRun) -> tuple[CleanupRun, str, str, bool]:
    """Return a plan that needs approval, its criteria, its URL, and whether the user may approve it."""
    criteria = formatting.criteria_of(run)
    may_plan_it = may_plan(request.user) and not reaches_hidden(request.user, criteria)
    address = reverse(f"admin:sessions_app_cleanuprun_{'plan' if may_plan_it else 'change'}", args=[run.pk])
    may_approve = may_plan_it and may_run(
        request.user, covers_all=criteria.all, closes_browsers=run.closes_browsers
    )
    return run, criteria.describe(), address, may_approve


def _line(run: CleanupRun) -> dict[str, Any]:
    return {
        "run": run,
        "state": badges.state_badge(run, is_queued=is_waiting(run)),
        "when": formatting.moment(run.planned_at),
        "what": formatting.describe_criteria(run),
        "started_by": formatting.started_by(run),
        "removed": formatting.removed_of_matched(run),
        "freed": formatting.freed(run),
    }
