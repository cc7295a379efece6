"""Views of the list of sessions: downloads, and the choice of columns."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.http.response import HttpResponseBase
from django.urls import URLPattern, path, reverse
from django.views.decorators.http import require_POST

from sessions_app.admin.base import RaptorAdmin
from sessions_app.admin.sessions.exports import sessions_csv, sessions_json
from sessions_app.admin.sessions.metadata import choose_columns


def list_urls(screen: RaptorAdmin) -> list[URLPattern]:
    views: dict[str, tuple[str, Callable[..., HttpResponseBase]]] = {
        "export.csv": ("export_csv", partial(sessions_csv, screen)),
        "export.json": ("export_json", partial(sessions_json, screen)),
        "columns/": ("columns", require_POST(partial(columns_view, screen))),
    }
    return [
        path(route, screen.admin_site.admin_view(view), name=f"sessions_app_browsersession_{name}")
        for route, (name, view) in views.items()
    ]


def columns_view(screen: RaptorAdmin, request: HttpRequest) -> HttpResponse:
    """Store the chosen columns, and redirect to the list with its filters."""
    if not screen.has_view_permission(request):
        raise PermissionDenied
    choose_columns(request, request.POST.getlist("column"))
    # The user controls only the query string, so the redirect stays on this site.
    query = request.GET.urlencode()
    address = reverse("admin:sessions_app_browsersession_changelist")
    return HttpResponseRedirect(f"{address}?{query}" if query else address)
