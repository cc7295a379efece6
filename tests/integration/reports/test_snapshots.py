"""Snapshots of the report, and the pages that show them."""

from __future__ import annotations

import itertools
import re
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from sessions_app import reports, tasks
from sessions_app.models import BrowserSession, CleanupRun, StorageSnapshot
from sessions_app.models.clock import database_now
from sessions_app.reports import figures, freed_by_runs, history, snapshots, storage_report, take_snapshot
from sessions_app.reports.current import has_at_most
from tests.factories import AS_OF, SECRET, Queued, make_session, swept

pytestmark = pytest.mark.django_db
PAGE = "admin:sessions_app_storage"


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lower the limit, so that more than two sessions are many."""
    monkeypatch.setattr(snapshots, "SMALL_COUNT", 2)


def without_times(html: str) -> str:
    """Remove the tags of times, which contain the exact instant in an attribute."""
    return re.sub("</?time[^>]*>", "", html)


def snap(as_of: datetime = AS_OF) -> StorageSnapshot:
    return take_snapshot(as_of=as_of, max_age_days=7)


def test_a_snapshot_stores_the_report_of_its_instant() -> None:
    make_session("old", age=timedelta(days=8))
    make_session("kept", age=timedelta(days=40), is_pinned=True)
    make_session("bad", session_id="", namespace="shop", age=timedelta(days=-1))
    make_session("unreadable", last_accessed="never", browser_type="opera")
    report = storage_report(as_of=AS_OF, max_age_days=7)
    taken = snap()
    assert (taken.taken_at, taken.session_count, taken.size_bytes) == (AS_OF, 4, report.live.bytes)
    assert (taken.expired_count, taken.invalid_count, taken.pinned_count) == (3, 2, 1)
    assert taken.reclaimable_count == report.would_free["either"].sessions == 3
    assert taken.reclaimable_bytes == report.would_free["either"].bytes
    stored = StorageSnapshot.objects.get().report
    assert stored is not None
    kept = reports.StorageReport.from_stored(stored["whole"])
    assert kept == report
    # Databases do not keep the order of keys in JSON.
    assert kept.to_json() == report.to_json()
    assert SECRET not in str(stored)


def test_only_the_latest_snapshot_keeps_its_report() -> None:
    for hour in range(3):
        snap(AS_OF + timedelta(hours=hour))
    kept = StorageSnapshot.objects.order_by("pk").values_list("report", flat=True)
    assert [report is not None for report in kept] == [False, False, True]


def test_one_snapshot_a_day_is_kept_after_two_days() -> None:
    snap()
    latest = StorageSnapshot.objects.get()
    for quarters in range(1, 4 * 24 * 4):
        latest.pk, latest.taken_at = None, AS_OF - timedelta(minutes=15 * quarters)
        latest.save()
    latest.pk, latest.taken_at = None, AS_OF - timedelta(days=731)
    latest.save()
    snap(AS_OF + timedelta(minutes=15))
    left = list(StorageSnapshot.objects.order_by("taken_at").values_list("taken_at", flat=True))
    border = AS_OF + timedelta(minutes=15) - timedelta(days=2)
    daily = [instant for instant in left if instant < border]
    # Each full day keeps its last snapshot; the day that crosses the limit keeps the last one before it.
    assert [f"{instant:%d %H:%M}" for instant in daily] == ["18 23:45", "19 23:45", "20 12:00"]
    assert len(left) - len(daily) == 2 * 24 * 4 + 1


def test_the_table_stays_small_over_years() -> None:
    rows = [AS_OF - timedelta(hours=12 * n) for n in range(2 * 800)]
    snap()
    latest = StorageSnapshot.objects.get()
    fields = {f.name: getattr(latest, f.name) for f in StorageSnapshot._meta.fields if f.name != "id"}
    StorageSnapshot.objects.bulk_create(StorageSnapshot(**{**fields, "taken_at": at}) for at in rows)
    snap(AS_OF + timedelta(hours=1))
    assert StorageSnapshot.objects.count() <= 730 + 10


def test_a_small_panel_has_exact_numbers_and_needs_no_snapshot(django_assert_max_num_queries: Any) -> None:
    make_session("one")
    with django_assert_max_num_queries(6):
        found = figures(as_of=AS_OF, max_age_days=7)
    assert found is not None
    assert found.is_exact
    assert found.report == storage_report(as_of=AS_OF, max_age_days=7)


@pytest.mark.usefixtures("few")
def test_a_large_panel_shows_its_snapshot(django_assert_max_num_queries: Any) -> None:
    for _ in range(3):
        make_session()
    assert figures(as_of=AS_OF, max_age_days=7) is None
    snap()
    make_session()
    with django_assert_max_num_queries(3):
        found = figures(as_of=AS_OF + timedelta(hours=1), max_age_days=7)
    assert found is not None
    assert (found.report.live.sessions, found.live_as_of) == (3, AS_OF)


@pytest.mark.usefixtures("few")
def test_the_page_counts_up_to_the_limit() -> None:
    make_session()
    make_session()
    found = figures(as_of=AS_OF, max_age_days=7)
    assert found is not None
    assert (found.report.live.sessions, found.is_exact) == (2, True)


@pytest.mark.usefixtures("few", "at_noon")
def test_a_large_archive_leaves_the_live_numbers_exact(client: Client, see: Any) -> None:
    for _ in range(3):
        make_session(session_id="")
    swept(invalid=True)
    earlier = AS_OF - timedelta(minutes=10)
    snap(earlier)
    make_session("new")
    found = figures(as_of=AS_OF, max_age_days=7)
    assert found is not None
    assert (found.report.live.sessions, found.live_as_of) == (1, None)
    assert (found.report.archived.sessions, found.archive_as_of) == (3, earlier)
    assert "<strong>Archive figures are from 11:50</strong>" in without_times(see(reverse(PAGE)))
    assert "In the archive, as of 11:50" in see(reverse(PAGE))
    assert "3 removed, as of 11:50" in see(reverse("admin:index"))
    report = client.get(reverse(f"{PAGE}_json")).json()
    assert (report["as_of"], report["archived_as_of"]) == (AS_OF.isoformat(), earlier.isoformat())
    assert f"archived_as_of,{earlier.isoformat()},," in see(reverse(f"{PAGE}_csv")).splitlines()


def test_checking_for_a_large_table_reads_only_an_index() -> None:
    make_session()
    with CaptureQueriesContext(
        connection,
    ) as queries:
        assert has_at_most(20_000, BrowserSession)
    (query,) = queries
    assert "LIMIT 1 OFFSET 20000" in query["sql"]
    assert "ORDER BY" not in query["sql"]


@pytest.mark.usefixtures("few")
class TestOnTheLargePage:
    @pytest.fixture(autouse=True)
    def many(self) -> None:
        for _ in range(3):
            make_session(session_id="")

    def test_the_numbers_are_marked_with_their_instant(self, see: Any, at_noon: None) -> None:
        snap(AS_OF - timedelta(minutes=7))
        make_session("newest")
        page = without_times(see(reverse(PAGE)))
        assert "<strong>Figures are from 11:53</strong>" in page
        assert "newest" not in page
        rows = see(reverse("admin:sessions_app_storage_csv")).splitlines()
        assert "total,sessions,3," in rows[1]
        assert "as_of,2026-11-22T11:53:00+00:00,," in rows

    def test_a_snapshot_of_another_day_has_its_date(self, see: Any, at_noon: None) -> None:
        snap(AS_OF - timedelta(days=1))
        assert "Figures are from 2026-11-21 12:00" in without_times(see(reverse(PAGE)))

    def test_before_the_first_snapshot_the_page_explains_what_happens(self, client: Client, see: Any) -> None:
        assert "have not been counted yet" in see(reverse(PAGE))
        for name in ("csv", "json"):
            assert client.get(reverse(f"{PAGE}_{name}"))["Location"] == reverse(PAGE)

    def test_users_who_see_the_report_can_request_a_snapshot(
        self, client: Client, viewer: User, queued: Queued
    ) -> None:
        client.force_login(viewer)
        address = reverse("admin:sessions_app_storage_count")
        assert client.get(address).status_code == 405
        for back, page in (("", reverse(PAGE)), ("index", reverse("admin:index"))):
            location = client.post(address, {"back": back})["Location"]
            assert location.partition("?")[0] == page
        assert [task for task, _ in queued] == ["sessions_app.tasks.take_snapshot"] * 2
        # The first task counts for both requests.
        assert tasks.take_snapshot(queued[0][1]).startswith("3 sessions counted")
        assert tasks.take_snapshot(queued[1][1]) == "A newer snapshot already exists."
        assert StorageSnapshot.objects.count() == 1

    def test_other_users_cannot_request_a_snapshot(self, client: Client, outsider: User) -> None:
        User.objects.filter(pk=outsider.pk).update(is_staff=True)
        client.force_login(outsider)
        assert client.post(reverse("admin:sessions_app_storage_count")).status_code == 403


def test_the_schedule_takes_a_snapshot_each_time() -> None:
    make_session("one")
    tasks.take_snapshot()
    assert tasks.take_snapshot().startswith("1 session counted, ")
    assert StorageSnapshot.objects.count() == 2
    assert abs(StorageSnapshot.objects.latest("pk").taken_at - database_now()) < timedelta(minutes=1)


def test_the_history_starts_at_the_requested_instant_and_has_a_maximum_of_points() -> None:
    snap()
    latest = StorageSnapshot.objects.get()
    for minutes in range(1, 400):
        latest.pk, latest.taken_at = None, AS_OF - timedelta(minutes=minutes)
        latest.save()
    points = history(since=AS_OF - timedelta(minutes=50))
    assert [points[0].taken_at, points[-1].taken_at, len(points)] == [
        AS_OF - timedelta(minutes=50),
        AS_OF,
        51,
    ]
    points = history(since=datetime(2020, 1, 1, tzinfo=UTC))
    assert len(points) <= snapshots.POINTS + 1
    assert points[-1].taken_at == AS_OF
    gaps = {later.taken_at - earlier.taken_at for earlier, later in itertools.pairwise(points)}
    assert gaps == {timedelta(minutes=4)}
    assert history(since=AS_OF + timedelta(days=1)) == []


def test_what_each_run_freed_excludes_restored_sessions(monkeypatch: pytest.MonkeyPatch) -> None:
    make_session("bad", session_id="")
    run = swept(invalid=True)
    swept(invalid=True)
    since = database_now() - timedelta(hours=1)
    (freed,) = freed_by_runs(CleanupRun.objects.all(), since=since)
    assert (freed.run_id, freed.session_count, freed.size_bytes) == (run.pk, 1, run.removed_bytes)
    CleanupRun.objects.filter(pk=run.pk).update(restored_count=1, restored_bytes=run.removed_bytes)
    assert [
        (f.session_count, f.size_bytes) for f in freed_by_runs(CleanupRun.objects.all(), since=since)
    ] == [(0, 0)]
    make_session("worse", session_id="")
    swept(invalid=True)
    monkeypatch.setattr(snapshots, "BARS", 1)
    assert [f.run_id > run.pk for f in freed_by_runs(CleanupRun.objects.all(), since=since)] == [True]
    assert freed_by_runs(CleanupRun.objects.all(), since=since + timedelta(hours=2)) == []
