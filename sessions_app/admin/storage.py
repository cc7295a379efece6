"""The storage report: a page, and the same numbers as CSV and JSON.

A large panel has them from its latest snapshot, marked with the instant; who may see the report may have
the worker take a new one.
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
from django_q.tasks import async_task

from sessions_app.admin import charts, presentation, storage_tables
from sessions_app.admin.base import RaptorAdmin
from sessions_app.admin.counting import counted_view, wait_of, waiting_page
from sessions_app.admin.downloads import harmless
from sessions_app.admin.sight import hidden_from, seen, seen_runs
from sessions_app.commits import retry_when_busy
from sessions_app.models import CleanupPolicy, CleanupRun
from sessions_app.models.clock import database_now
from sessions_app.storage import (
    SMALL_COUNT,
    Figures,
    StorageReport,
    figures,
    freed_by_runs,
    history,
)

RANGES = (7, 30, 90)
"""Days."""
RANGE = 30


def urls(screen: RaptorAdmin) -> list[URLPattern]:
    """The addresses of the report, beneath those of the screen of sessions."""
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
    """The numbers of a page: those of now, or of the latest snapshot; None where there are none yet."""
    return figures(
        as_of=presentation.request_time(request),
        max_age_days=settings.RAPTOR_MAX_AGE_DAYS,
        hidden=hidden_from(request),
    )


def as_of_context(request: HttpRequest, found: Figures | None) -> dict[str, object]:
    """What a page says of how old its numbers are."""
    now = presentation.request_time(request)
    return {
        "figures": found,
        "live_as_of": presentation.clock(found.live_as_of, now) if found else "",
        "archive_as_of": presentation.clock(found.archive_as_of, now) if found else "",
        "small_count": SMALL_COUNT,
        "wait": None if found and found.is_exact else wait_of(request),
    }


def report_page(screen: RaptorAdmin, request: HttpRequest) -> HttpResponse:
    found = current_figures(request)
    context = as_of_context(request, found) | _charts(request)
    if found is not None:
        context |= _numbers(request, found)
        if request.user.has_perm("sessions_app.view_cleanuppolicy"):
            policies = seen(request, CleanupPolicy.objects.all())
            # How much of the limit of all is used is not told by what is seen of it.
            policies = policies.exclude(namespace="") if hidden_from(request) else policies
            context["limits"] = storage_tables.limits(found.report, policies)
    return screen.page(request, "browsersession/storage.html", "Storage report", context)


def _charts(request: HttpRequest) -> dict[str, object]:
    """The charts over the days in the address, or over as many as are shown unasked."""
    asked = request.GET.get("days", "")
    days = int(asked) if asked in map(str, RANGES) else RANGE
    since = presentation.request_time(request) - timedelta(days=days)
    shown = [charts.growth(history(since=since, hidden=hidden_from(request)), days)]
    if request.user.has_perm("sessions_app.view_cleanuprun"):
        runs = seen_runs(request, CleanupRun.objects.all())
        shown.append(charts.freed(freed_by_runs(runs, since=since), days))
    return {"charts": shown, "ranges": RANGES, "days": days}


def _numbers(request: HttpRequest, found: Figures) -> dict[str, object]:
    report = found.report
    archived = presentation.clock(found.archive_as_of, presentation.request_time(request))
    return {
        "report": report,
        "summary": storage_tables.summary(
            found,
            archive_mark=f", as of {archived}" if archived and not found.live_as_of else "",
            may_see_archive=request.user.has_perm("sessions_app.view_archivedsession"),
        ),
        "disk": filesizeformat(report.disk_bytes),
        "sections": storage_tables.sections(report),
        "largest": [
            (
                session,
                filesizeformat(session.size_bytes),
                presentation.age(session.last_accessed, report.as_of),
            )
            for session in report.largest
        ],
        "would_free": storage_tables.would_free(report),
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
    for section, name, sessions, size_bytes in storage_tables.csv_rows(found):
        writer.writerow([section, harmless(name), sessions, size_bytes])
    return _as_file(response, found.report, "csv")


def count_view(screen: RaptorAdmin, request: HttpRequest) -> HttpResponse:
    """Have the worker take a snapshot, and go back to where that was asked for, to wait for it."""
    if request.method != "POST":
        return HttpResponseNotAllowed(["POST"])
    asked_at = database_now()
    retry_when_busy(lambda: async_task("sessions_app.tasks.take_snapshot", asked_at.isoformat()))
    back = "admin:index" if request.POST.get("back") == "index" else "admin:sessions_app_storage"
    return HttpResponseRedirect(waiting_page(back, asked_at))


def _to_report() -> HttpResponse:
    # It tells what to do where there are no numbers yet.
    return HttpResponseRedirect(reverse("admin:sessions_app_storage"))


def _as_file(response: HttpResponse, report: StorageReport, suffix: str) -> HttpResponse:
    day = timezone.localtime(report.as_of).strftime("%Y-%m-%d")
    response["Content-Disposition"] = f'attachment; filename="raptor-storage-{day}.{suffix}"'
    return response
