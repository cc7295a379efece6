"""The storage report: a page, and the same numbers as CSV and JSON."""

from __future__ import annotations

import csv
from functools import partial
from typing import NamedTuple

from django.conf import settings
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.template.defaultfilters import filesizeformat
from django.urls import URLPattern, path, reverse
from django.utils import timezone
from django.utils.http import urlencode

from sessions_app.admin.base import RaptorAdmin
from sessions_app.admin.downloads import harmless
from sessions_app.admin.presentation import age, request_time
from sessions_app.criteria import REASONS
from sessions_app.storage import AGES, StorageReport, Total, storage_report

WOULD_FREE = {"expired": "Expired", "invalid": "Invalid", "either": "Expired or invalid"}


class Line(NamedTuple):
    """A line of a table of the report."""

    label: str
    total: Total
    link: str


def urls(screen: RaptorAdmin) -> list[URLPattern]:
    """The addresses of the report, beneath those of the screen of sessions."""
    views = {
        "storage/": ("sessions_app_storage", report_page),
        "storage/report.csv": ("sessions_app_storage_csv", report_csv),
        "storage/report.json": ("sessions_app_storage_json", report_json),
    }
    return [
        path(route, screen.admin_site.admin_view(partial(view, screen)), name=name)
        for route, (name, view) in views.items()
    ]


def report_page(screen: RaptorAdmin, request: HttpRequest) -> HttpResponse:
    report = _report(screen, request)
    context = {
        "report": report,
        "summary": _summary(report),
        "disk": filesizeformat(report.disk_bytes),
        "sections": _sections(report),
        "largest": [
            (session, filesizeformat(session.size_bytes), age(session.last_accessed, report.as_of))
            for session in report.largest
        ],
        "would_free": [Line(label, report.would_free[name], "") for name, label in WOULD_FREE.items()],
    }
    return screen.page(request, "browsersession/storage.html", "Storage report", context)


def report_json(screen: RaptorAdmin, request: HttpRequest) -> HttpResponse:
    report = _report(screen, request)
    response = JsonResponse(report.to_json(), json_dumps_params={"indent": 2})
    return _as_file(response, report, "json")


def report_csv(screen: RaptorAdmin, request: HttpRequest) -> HttpResponse:
    report = _report(screen, request)
    response = HttpResponse(content_type="text/csv; charset=utf-8")
    writer = csv.writer(response)
    writer.writerow(["section", "name", "sessions", "bytes"])
    for section, name, total in _csv_rows(report):
        writer.writerow([section, harmless(name), total.sessions, total.bytes])
    writer.writerow(["total", "on_disk", "", report.disk_bytes])
    return _as_file(response, report, "csv")


def _report(screen: RaptorAdmin, request: HttpRequest) -> StorageReport:
    if not screen.has_view_permission(request):
        raise PermissionDenied
    return storage_report(as_of=request_time(request), max_age_days=settings.RAPTOR_MAX_AGE_DAYS)


def _as_file(response: HttpResponse, report: StorageReport, suffix: str) -> HttpResponse:
    day = timezone.localtime(report.as_of).strftime("%Y-%m-%d")
    response["Content-Disposition"] = f'attachment; filename="raptor-storage-{day}.{suffix}"'
    return response


def _list_link(**query: str) -> str:
    address = reverse("admin:sessions_app_browsersession_changelist")
    return f"{address}?{urlencode(query)}" if query else address


def _summary(report: StorageReport) -> list[Line]:
    return [
        Line("Live sessions", report.live, _list_link()),
        Line(f"Expired, over {report.max_age_days:g} days", report.expired, _list_link(expired="yes")),
        Line("Invalid", report.invalid, _list_link(problem="any")),
        Line("Pinned", report.pinned, _list_link(pinned="yes")),
        Line("In the archive", report.archived, reverse("admin:sessions_app_archivedsession_changelist")),
    ]


def _sections(report: StorageReport) -> list[tuple[str, str, list[Line]]]:
    """The tables: a caption, the head of the first column, and lines."""
    return [
        (
            "By namespace",
            "Namespace",
            [Line(name, total, _list_link(namespace=name)) for name, total in report.by_namespace.items()],
        ),
        (
            "By browser type",
            "Browser type",
            [Line(n, total, _list_link(browser_type=n)) for n, total in report.by_browser_type.items()],
        ),
        ("By age", "Last accessed", [Line(AGES[name], total, "") for name, total in report.by_age.items()]),
        (
            "By problem",
            "Problem",
            [
                Line(REASONS[code].sentence, total, _list_link(problem=code))
                for code, total in report.by_problem.items()
            ],
        ),
    ]


def _csv_rows(report: StorageReport) -> list[tuple[str, str, Total]]:
    named: dict[str, dict[str, Total]] = {
        "total": {
            "sessions": report.live,
            "expired": report.expired,
            "invalid": report.invalid,
            "pinned": report.pinned,
            "archived": report.archived,
        },
        "namespace": report.by_namespace,
        "browser_type": report.by_browser_type,
        "age": report.by_age,
        "problem": report.by_problem,
        "would_free": report.would_free,
        "largest": {f"{s.namespace}/{s.name}": Total(1, s.size_bytes) for s in report.largest},
    }
    return [(section, name, total) for section, totals in named.items() for name, total in totals.items()]
