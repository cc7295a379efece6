"""The first page of the panel: figures, the next sweep, what needs approval, and the state of the worker.

It leaves out what the user may not see, including from its figures.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any, NamedTuple

from django.db.models import F
from django.http import HttpRequest
from django.template.defaultfilters import filesizeformat
from django.urls import reverse

from sessions_app.access.permissions import may_clean_up
from sessions_app.access.visibility import conceal, hidden_from, reaches_hidden, visible, visible_runs
from sessions_app.admin import badges, formatting
from sessions_app.admin.queue import worker_context
from sessions_app.admin.reports import charts
from sessions_app.admin.reports.admin import DEFAULT_DAYS, as_of_context, current_figures
from sessions_app.admin.reports.tables import list_link
from sessions_app.admin.runs.progress import is_waiting
from sessions_app.models import CleanupPolicy, CleanupRun, SessionDirectory
from sessions_app.models.clock import database_now
from sessions_app.queue.worker import WorkerState
from sessions_app.reports import Figures, history

RUNS_SHOWN = 6
HELD_SHOWN = 5
FAILING_SHOWN = 5

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
    sees = {
        name: request.user.has_perm(f"sessions_app.view_{name}")
        for name in ("browsersession", "sessiondirectory", "cleanuprun", "cleanuppolicy")
    }
    now = formatting.request_time(request)
    context: dict[str, Any] = {"shows_dashboard": any(sees.values())}
    if any(sees.values()):
        context |= worker_context(database_now())
        context["worker_badge"] = badges.badge(*_WORKER_BADGES[context["worker"].state])
    if sees["browsersession"]:
        context |= _sessions(request)
    if sees["cleanuppolicy"]:
        context |= _next_sweep(request, now)
    if sees["cleanuprun"]:
        context |= _runs(request)
    if sees["sessiondirectory"]:
        context |= _directories(request)
    return context


def _sessions(request: HttpRequest) -> dict[str, Any]:
    found = current_figures(request)
    context: dict[str, Any] = as_of_context(request, found)
    since = formatting.request_time(request) - timedelta(days=DEFAULT_DAYS)
    context["chart"] = charts.growth(history(since=since, hidden=hidden_from(request.user)), DEFAULT_DAYS)
    if found is not None:
        context["tiles"] = _tiles(request, found)
        is_empty = found.report.live.sessions == found.report.archived.sessions == 0
        context["is_first_use"] = is_empty and not SessionDirectory.objects.exists()
    return context


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


def _directories(request: HttpRequest) -> dict[str, Any]:
    failing = visible(request.user, SessionDirectory.objects.exclude(error="").order_by("path"))
    found = list(failing[: FAILING_SHOWN + 1])
    return {"failing_directories": found[:FAILING_SHOWN], "has_more_failing": len(found) > FAILING_SHOWN}


def _runs(request: HttpRequest) -> dict[str, Any]:
    runs = visible_runs(request.user, CleanupRun.objects.defer("skipped_sessions").select_related("policy"))
    ledger = formatting.without_ids(runs)
    held = [
        conceal(request.user, run)
        for run in ledger.filter(state=_State.HELD).order_by("-pk")[: HELD_SHOWN + 1]
    ]
    # Leave out unconfirmed plans, and plans that need approval, which are listed above.
    last = ledger.exclude(state=_State.HELD).exclude(state=_State.PLANNED, queued_at=None).order_by("-pk")
    may_act = may_clean_up(request.user) and request.user.has_perm("sessions_app.view_browsersession")
    return {
        "sees_runs": True,
        "held": [
            (run, formatting.describe_criteria(run), _page_of(request, run, may_act=may_act))
            for run in held[:HELD_SHOWN]
        ],
        "has_more_held": len(held) > HELD_SHOWN,
        "runs": [_line(conceal(request.user, run)) for run in last[:RUNS_SHOWN]],
    }


def _page_of(request: HttpRequest, run: CleanupRun, *, may_act: bool) -> str:
    """Return the URL of a plan for users who may approve it, and of the run for all others."""
    may_act = may_act and not reaches_hidden(request.user, formatting.criteria_of(run))
    return reverse(f"admin:sessions_app_cleanuprun_{'plan' if may_act else 'change'}", args=[run.pk])


def _line(run: CleanupRun) -> dict[str, Any]:
    return {
        "run": run,
        "state": badges.state_badge(run, is_queued=is_waiting(run)),
        "when": formatting.to_the_minute(run.planned_at),
        "what": formatting.describe_criteria(run),
        "started_by": formatting.started_by(run),
        "removed": formatting.removed_of_matched(run),
        "freed": formatting.freed(run),
    }
