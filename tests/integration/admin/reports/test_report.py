"""The page of the storage report: its charts, its conditions and its cost."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from django.contrib.auth.models import Permission, User
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from sessions_app.admin.reports import charts
from sessions_app.models import CleanupPolicy, CleanupRun, StorageSnapshot
from sessions_app.reports import Point, snapshots, take_snapshot
from tests.factories import AS_OF, make_policy, make_session, swept

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("at_noon")]
PAGE = "/admin/sessions_app/browsersession/storage/"
CHARTS = ("chartkick/Chart.bundle.js", "sessions_app/charts.js")


def snap(days_ago: float) -> None:
    take_snapshot(as_of=AS_OF - timedelta(days=days_ago), max_age_days=7)


def chart_in(page: str, name: str) -> Any:
    found = re.search(rf'<script id="{name}" type="application/json">(.+?)</script>', page)
    assert found, f"no chart {name}"
    return json.loads(found[1])


class TestGrowth:
    @pytest.fixture(autouse=True)
    def past(self) -> None:
        for days_ago in (80, 20, 5, 1):
            make_session()
            snap(days_ago)

    @pytest.mark.parametrize(
        ("query", "sessions"),
        [("?days=7", [3, 4]), ("", [2, 3, 4]), ("?days=90", [1, 2, 3, 4]), ("?days=8", [2, 3, 4])],
    )
    def test_it_shows_the_requested_days(
        self, see: Callable[..., str], query: str, sessions: list[int]
    ) -> None:
        page = see(f"{PAGE}{query}")
        data = chart_in(page, "growth")
        assert data["series"][0]["values"] == sessions
        assert [series["unit"] for series in data["series"]] == ["sessions", "bytes", "bytes"]
        assert len(data["at"]) == len(data["labels"]) == len(sessions)
        days = query.removeprefix("?days=") or "30"
        assert f'aria-current="page">{days if days != "8" else "30"} days' in page

    def test_its_numbers_are_a_table_too(self, see: Callable[..., str]) -> None:
        page = see(f"{PAGE}?days=7")
        table = page.split("<summary>As a table</summary>")[1].split("</table>")[0]
        assert table.count('<th scope="row"><time') == 2
        assert "2026-11-21 12:00" in table
        last = chart_in(page, "growth")["series"][1]["values"][-1]
        assert f"{last / 1024:.1f}\xa0KB" in table

    def test_the_dashboard_has_it_with_its_scripts(self, see: Callable[..., str]) -> None:
        page = see("/admin/")
        assert chart_in(page, "growth")["series"][0]["values"] == [2, 3, 4]
        assert all(script in page for script in CHARTS)

    def test_other_pages_load_no_chart_library(self, see: Callable[..., str]) -> None:
        assert not any(script in see() for script in CHARTS)


def test_without_snapshots_the_page_says_when_they_come(see: Callable[..., str]) -> None:
    snap(1)
    for page in (see(PAGE), see("/admin/")):
        assert "The chart appears with the second one" in page
        assert "<canvas" not in page
    assert not any(script in page for script in CHARTS)


def test_the_chart_of_cleanups_requires_permission_to_view_runs(
    client: Client, see: Callable[..., str], viewer: User
) -> None:
    make_session("bad", session_id="")
    run = swept(invalid=True)
    CleanupRun.objects.filter(pk=run.pk).update(planned_at=AS_OF - timedelta(days=10))
    data = chart_in(see(PAGE), "freed")
    assert (data["at"], data["series"][0]["values"]) == ([f"Run {run.pk}"], [run.removed_bytes])
    address = reverse("admin:sessions_app_cleanuprun_change", args=[run.pk])
    assert f'<a href="{address}">Run {run.pk}</a>' in see(PAGE)
    assert "No cleanup removed sessions in this period" in see(f"{PAGE}?days=7")
    viewer.user_permissions.set(Permission.objects.filter(codename="view_browsersession"))
    page = see(PAGE)
    assert "Freed by each cleanup" not in page
    assert "/cleanuprun/" not in page.split('id="content"')[1]
    assert "/archivedsession/" not in page.split('id="content"')[1]


class TestLimits:
    @pytest.fixture(autouse=True)
    def no_presets(self) -> None:
        CleanupPolicy.objects.all().delete()

    def bars(self, page: str) -> list[tuple[str, str]]:
        return re.findall(r'<meter class="([^"]*)".*?</meter> ([^<]+)</td>', page)

    def test_each_condition_of_a_policy_is_a_bar(self, see: Callable[..., str]) -> None:
        for n in range(4):
            make_session(namespace="shop" if n else "other")
        make_policy("Half", over_count=8)
        make_policy("Over", over_count=2, namespace="shop", is_enabled=True)
        make_policy("Over, but disabled", over_count=2, namespace="shop")
        make_policy("Nothing", over_count=0, over_bytes=10 * 1024 * 1024, namespace="empty")
        make_policy("No limit")
        bars = [(kind, text.replace("\xa0", " ")) for kind, text in self.bars(see(PAGE))]
        assert bars == [
            ("", "4 of 8 sessions, 50 percent"),
            ("", "0 of 0 sessions, 0 percent"),
            ("", "0 bytes of 10.0 MB, 0 percent"),
            ("raptor-over", "3 of 2 sessions, over the limit"),
            ("", "3 of 2 sessions, over the limit"),
        ]
        assert "No limit" not in see(PAGE)

    def test_they_require_permission_to_view_policies(self, see: Callable[..., str], viewer: User) -> None:
        make_policy("Half", over_count=8)
        viewer.user_permissions.set(Permission.objects.filter(codename="view_browsersession"))
        assert "<meter" not in see(PAGE)


def test_many_namespaces_do_not_fill_the_page(see: Callable[..., str], client: Client) -> None:
    for n in range(30):
        make_session(namespace=f"n{n}", metadata={"padding": "x" * (30 - n)})
    page = see(PAGE)
    assert page.count("?namespace=") == 25
    assert "5 other namespaces" in page
    assert len(client.get(f"{PAGE}report.json").json()["by_namespace"]) == 30


class TestCost:
    LIMIT = 15

    def fill(self) -> None:
        fields = {
            field.name: 0 for field in StorageSnapshot._meta.fields if field.name not in ("id", "report")
        }
        for minutes in range(0, 2 * 24 * 60, 15):
            at = AS_OF - timedelta(days=1, minutes=minutes)
            StorageSnapshot.objects.create(**{**fields, "taken_at": at})
        for n in range(60):
            make_session(f"bad-{n}", namespace=f"n{n}", session_id="")
            CleanupRun.objects.filter(pk=swept(invalid=True).pk).update(planned_at=AS_OF)
            make_session(f"good-{n}", namespace=f"n{n}")

    def test_the_queries_and_the_size_are_bounded(
        self, see: Callable[..., str], django_assert_max_num_queries: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with django_assert_max_num_queries(self.LIMIT):
            see(PAGE)
        self.fill()
        snap(0)
        for small_count in (snapshots.SMALL_COUNT, 1):
            monkeypatch.setattr(snapshots, "SMALL_COUNT", small_count)
            with django_assert_max_num_queries(self.LIMIT):
                page = see(PAGE)
            assert len(page.encode()) < 150_000
            assert len(chart_in(page, "freed")["at"]) == 50
            assert len(chart_in(page, "growth")["at"]) <= 101


class TestTicks:
    @pytest.fixture(autouse=True)
    def berlin(self) -> Any:
        with timezone.override(ZoneInfo("Europe/Berlin")):
            yield

    def ticks(self, first: datetime, last: datetime) -> list[str]:
        points = [Point(at, 1, 1, 1, 1) for at in (first, last)]
        return [tick["label"] for tick in charts.growth(points, 7).data["ticks"]]

    def test_they_are_round_in_the_time_zone_of_the_panel(self) -> None:
        noon = datetime(2026, 11, 22, 11, 20, tzinfo=UTC)
        assert self.ticks(noon, noon + timedelta(hours=3)) == ["13:00", "14:00", "15:00"]
        week = self.ticks(noon - timedelta(days=7), noon)
        assert week == [f"{day} Nov" for day in range(16, 23)]

    def test_midnight_stays_midnight_when_the_clocks_change(self) -> None:
        first = datetime(2026, 10, 23, 10, tzinfo=UTC)
        points = [Point(at, 1, 1, 1, 1) for at in (first, first + timedelta(days=4))]
        instants = [
            datetime.fromtimestamp(tick["value"] / 1000, tz=ZoneInfo("Europe/Berlin"))
            for tick in charts.growth(points, 7).data["ticks"]
        ]
        assert {instant.hour for instant in instants} <= {0, 12}

    def test_there_are_few_for_any_period(self) -> None:
        now = datetime(2026, 11, 22, 11, tzinfo=UTC)
        assert len(self.ticks(now, now + timedelta(seconds=1))) <= 9
        assert 1 <= len(self.ticks(now - timedelta(days=3650), now)) <= 9
