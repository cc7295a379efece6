"""Steps of the benchmark of the pages: ``python -m tests.benchmarks.screens STEP …``.

``fill COUNT`` creates sessions; ``serve`` reads addresses and prints the seconds that each page took.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import django

django.setup()

from django.conf import settings
from django.contrib import admin
from django.contrib.auth.models import Group, User
from django.db import connection
from django.test import Client
from django.urls import path

from raptor_admin.urls import urlpatterns as panel_urls
from sessions_app.cleanup import measure_scope, plan_cleanup
from sessions_app.models import BrowserSession, LimitedNamespace
from sessions_app.models.clock import database_now
from sessions_app.reports import take_snapshot
from sessions_app.search import index_sessions, prepare
from sessions_app.session.criteria import Criteria
from sessions_app.session.selection import Selection
from tests.benchmarks import cleanup
from tests.benchmarks.pages import LIMITED

LIST = "/admin/sessions_app/browsersession/"
SNAPSHOTS = 3
METRICS_TOKEN = "token-of-the-benchmark"  # only the benchmark's own server knows it

_VARY = """
UPDATE {table} SET
    session_id = CASE WHEN id * 7873 / 1000 % 100 < 20 THEN '' ELSE session_id END,
    last_accessed = CASE WHEN id * 7907 / 1000 % 100 < 1 THEN NULL ELSE last_accessed END,
    browser_type = CASE WHEN id * 7901 / 1000 % 100 < 20 THEN 'firefox' ELSE browser_type END,
    is_pinned = (id * 7883 / 1000 % 100 < 5),
    browser_state = CASE WHEN id * 7879 / 1000 % 100 < 15 THEN 2 WHEN id * 7879 / 1000 % 100 < 30 THEN 3
        WHEN id * 7879 / 1000 % 100 < 45 THEN 1 END,
    browser_since = updated_at,
"""


class StockAdmin(admin.ModelAdmin):  # type: ignore[type-arg]
    """The same columns, filters and search in a stock admin."""

    list_display = (
        "name",
        "namespace",
        "problems",
        "is_pinned",
        "size_bytes",
        "browser_type",
        "last_accessed",
    )
    list_filter = ("problems", "last_accessed", "browser_type", "namespace", "is_pinned")
    search_fields = ("name", "session_id")
    change_list_template = "admin/change_list.html"


stock = admin.AdminSite("stock")
stock.register(BrowserSession, StockAdmin)
urlpatterns = [*panel_urls, path("stock/", stock.urls)]


def fill(count: str) -> None:
    """Create sessions of all kinds, and snapshots for the charts and the pages of a large panel."""
    cleanup.fill(int(count), "scattered", 28)
    with connection.cursor() as cursor:
        cursor.execute(_VARY.format(table=BrowserSession._meta.db_table))
        cursor.execute("ANALYZE" if connection.vendor == "sqlite" else "VACUUM FULL ANALYZE")
        if connection.vendor == "postgresql":
            # Vacuum, so that index-only scans know which rewritten rows are visible to all.
            cursor.execute("VACUUM")
    prepare()
    index_sessions(from_start=True)
    for namespace in ("team-1", "team-2"):
        LimitedNamespace.objects.create(namespace=namespace)
    now = database_now()
    for days_ago in range(SNAPSHOTS):
        take_snapshot(as_of=now - timedelta(days=SNAPSHOTS - 1 - days_ago), max_age_days=7)
    User.objects.create_superuser("bench")
    User.objects.create_user("limited", is_staff=True).groups.add(Group.objects.get(name="Administrator"))


def serve() -> None:
    """Read the addresses of pages and print the seconds that each took."""
    settings.STORAGES["staticfiles"]["BACKEND"] = "django.contrib.staticfiles.storage.StaticFilesStorage"
    settings.ALLOWED_HOSTS = ["testserver"]
    settings.ROOT_URLCONF = "tests.benchmarks.screens"
    settings.RAPTOR_METRICS_TOKEN = METRICS_TOKEN
    client, limited = (_client_of(name) for name in ("bench", "limited"))
    known = _known(client)
    print(json.dumps({"ready": True}), flush=True)
    for line in sys.stdin:
        address = line.strip().format(**known)
        asking = limited if address.startswith(LIMITED) else client
        address = address.removeprefix(LIMITED)
        began = time.perf_counter()
        response = asking.get(address)
        seconds = time.perf_counter() - began
        assert response.status_code == 200, (address, response.status_code)
        print(json.dumps({"seconds": seconds, "bytes": len(response.content)}), flush=True)


def _client_of(username: str) -> Client:
    client = Client(headers={"authorization": f"Bearer {METRICS_TOKEN}"})
    client.force_login(User.objects.get(username=username))
    return client


def _known(client: Client) -> dict[str, str]:
    """Return the parts of addresses that differ between databases."""
    plans = (
        Criteria(expired=True),
        Criteria.from_selection(Selection(problem="any", pinned="no"), max_age_days=7),
    )
    runs = [plan_cleanup(criteria, trigger="admin") for criteria in plans]
    for run in runs:
        measure_scope(run)
    expired, selection = (f"/admin/sessions_app/cleanuprun/{run.pk}/plan/" for run in runs)
    lists: list[Any] = [client.get(address) for address in (LIST, "/stock/sessions_app/browsersession/")]
    last, stock_last = (str(page.context_data["cl"].paginator.num_pages) for page in lists)
    return {
        "plan": expired,
        "selection": selection,
        "last": last,
        "stock_last": stock_last,
        "number": str(BrowserSession.objects.count()),
        "name": BrowserSession.objects.values_list("name", flat=True).get(pk=500),
    }


if __name__ == "__main__":
    steps: dict[str, Callable[..., None]] = {"fill": fill, "serve": serve}
    step, *arguments = sys.argv[1:]
    steps[step](*arguments)
