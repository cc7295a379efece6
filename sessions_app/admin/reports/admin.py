"""The storage report: its page, and downloads as CSV and JSON.

A large panel shows the numbers of its latest snapshot, with the time. Users who can see the report can
request a new snapshot from the worker.
"""

from __future__ import annotations

import csv
from collections.abc import Callable
from datetime import timedelta
from functools import partial

from django.conf import settings
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed, HttpResponseRedirect, JsonResponse
from django.template.defaultfilters import filesizeformat
from django.urls import URLPattern, path, reverse
from django.utils import timezone

from sessions_app.access.visibility import fully_visible_runs, hidden_from, visible
from sessions_app.admin import formatting
from sessions_app.admin.base import RaptorAdmin, warn_if_queue_is_unreachable
from sessions_app.admin.polling import counted_view, wait_of, waiting_page
from sessions_app.admin.reports import charts, tables
from sessions_app.admin.streaming import escape_formula
from sessions_app.liveness import living_browsers
from sessions_app.models import BrowserSession, CleanupPolicy, CleanupRun
from sessions_app.models.clock import database_now
from sessions_app.queue.enqueue import Task
from sessions_app.queue.outbox import enqueue
from sessions_app.reports import (
    SMALL_COUNT,
    Figures,
    StorageReport,
    figures,
    freed_by_runs,
    history,
)

RANGES_DAYS = (7, 30, 90)
DEFAULT_DAYS = 30
BROWSERS_COUNTED = 1_000
"""Maximum browsers of a state that the report and the dashboard count."""


def urls(screen: RaptorAdmin) -> list[URLPattern]:
    """Return the URLs of the report, below those of the session list."""
    views: dict[str, tuple[str, Callable[..., HttpResponse]]] = {
        "storage/": ("sessions_app_storage", report_page),
        "storage/report.csv": ("sessions_app_storage_csv", report_csv),
        "storage/report.json": ("sessions_app_storage_json", report_json),
        "storage/count/": ("sessions_app_storage_count", count_view),
        "storage/counted/": ("sessions_app_storage_counted", counted_view),
    }
    return [
        path(route, screen.admin_site.admin_view(partial(_view, screen, view)), name=name)
        for route, (name, view) in views.items()
    ]


def _view(screen: RaptorAdmin, view: Callable[..., HttpResponse], request: HttpRequest) -> HttpResponse:
    if not screen.has_view_permission(request):
        raise PermissionDenied
    return view(screen, request)


def current_figures(request: HttpRequest) -> Figures | None:
    """Return the current numbers or those of the latest snapshot; None before the first snapshot."""
    return figures(
        as_of=formatting.request_time(request),
        max_age_days=settings.RAPTOR_MAX_AGE_DAYS,
        hidden=hidden_from(request.user),
    )


def as_of_context(request: HttpRequest, found: Figures | None) -> dict[str, object]:
    """Return the context that describes the age of a page's numbers."""
    now = formatting.request_time(request)
    return {
        "figures": found,
        "live_as_of": formatting.clock_time(found.live_as_of, now) if found else "",
        "archive_as_of": formatting.clock_time(found.archive_as_of, now) if found else "",
        "small_count": SMALL_COUNT,
        "wait": None if found and found.is_exact else wait_of(request),
    }


def report_page(screen: RaptorAdmin, request: HttpRequest) -> HttpResponse:
    found = current_figures(request)
    context = as_of_context(request, found) | _charts(request)
    if found is not None:
        context |= _numbers(request, found)
        if request.user.has_perm("sessions_app.view_cleanuppolicy"):
            policies = visible(request.user, CleanupPolicy.objects.all())
            # The condition of a policy over all namespaces counts sessions that this user cannot see.
            policies = policies.exclude(namespace="") if hidden_from(request.user) else policies
            context["limits"] = tables.limits(found.report, policies)
    return screen.page(request, "browsersession/storage.html", "Storage report", context)


def _charts(request: HttpRequest) -> dict[str, object]:
    """Return the charts over the days in the URL, or over the default range."""
    days_given = request.GET.get("days", "")
    days = int(days_given) if days_given in map(str, RANGES_DAYS) else DEFAULT_DAYS
    since = formatting.request_time(request) - timedelta(days=days)
    shown = [charts.growth(history(since=since, hidden=hidden_from(request.user)), days)]
    if request.user.has_perm("sessions_app.view_cleanuprun"):
        runs = fully_visible_runs(request.user, CleanupRun.objects.all())
        shown.append(charts.freed(freed_by_runs(runs, since=since), days))
    return {"charts": shown, "ranges": RANGES_DAYS, "days": days}


def _numbers(request: HttpRequest, found: Figures) -> dict[str, object]:
    report = found.report
    visible_sessions = visible(request.user, BrowserSession.objects.all())
    now = formatting.request_time(request)
    alive, memory_bytes = living_browsers(visible_sessions, as_of=now, bound=BROWSERS_COUNTED)
    archived = formatting.clock(found.archive_as_of, formatting.request_time(request))
    return {
        "report": report,
        "alive_count": min(alive, BROWSERS_COUNTED),
        "has_more_alive": alive > BROWSERS_COUNTED,
        "browser_memory": filesizeformat(memory_bytes),
        "summary": tables.summary(
            found,
            archive_mark=f", as of {archived}" if archived and not found.live_as_of else "",
            may_see_archive=request.user.has_perm("sessions_app.view_archivedsession"),
        ),
        "disk": None if report.disk_bytes is None else filesizeformat(report.disk_bytes),
        "sections": tables.sections(report),
        "largest": [
            (
                session,
                filesizeformat(session.size_bytes),
                formatting.age(session.last_accessed, report.as_of),
            )
            for session in report.largest
        ],
        "would_free": tables.would_free(report),
    }


def report_json(screen: RaptorAdmin, request: HttpRequest) -> HttpResponse:
    found = current_figures(request)
    if found is None:
        return _to_report()
    archived_as_of = (found.archive_as_of or found.report.as_of).isoformat()
    report = found.report.to_json() | {"archived_as_of": archived_as_of}
    response = JsonResponse(report, json_dumps_params={"indent": 2})
    return _as_file(response, found.report, "json")


def report_csv(screen: RaptorAdmin, request: HttpRequest) -> HttpResponse:
    found = current_figures(request)
    if found is None:
        return _to_report()
    response = HttpResponse(content_type="text/csv; charset=utf-8")
    writer = csv.writer(response)
    writer.writerow(["section", "name", "sessions", "bytes"])
    for section, name, sessions, size_bytes in tables.csv_rows(found):
        writer.writerow([section, escape_formula(name), sessions, size_bytes])
    return _as_file(response, found.report, "csv")


def count_view(screen: RaptorAdmin, request: HttpRequest) -> HttpResponse:
    """Request a snapshot from the worker, and redirect to the page that waits for it."""
    if request.method != "POST":
        return HttpResponseNotAllowed(["POST"])
    requested_at = database_now()
    enqueue(Task.TAKE_SNAPSHOT, requested_at.isoformat())
    warn_if_queue_is_unreachable(request)
    back = "admin:index" if request.POST.get("back") == "index" else "admin:sessions_app_storage"
    return HttpResponseRedirect(waiting_page(back, requested_at))


def _to_report() -> HttpResponse:
    # Without a snapshot, the page explains what to do.
    return HttpResponseRedirect(reverse("admin:sessions_app_storage"))


def _as_file(response: HttpResponse, report: StorageReport, suffix: str) -> HttpResponse:
    day = timezone.localtime(report.as_of).strftime("%Y-%m-%d")
    response["Content-Disposition"] = f'attachment; filename="raptor-storage-{day}.{suffix}"'
    return response
