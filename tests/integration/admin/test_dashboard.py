"""The first page of the panel."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import Permission, User
from django.template.defaultfilters import filesizeformat
from django.test import Client
from django.urls import reverse

from sessions_app import cleanup, reports
from sessions_app.models import CleanupPolicy, Machine, SessionDirectory
from sessions_app.policies import plan_next_runs
from sessions_app.reports import snapshots
from sessions_app.session.criteria import Criteria
from tests.clients import LIST
from tests.factories import AS_OF, SECRET, make_policy, make_session, run_sweep, swept

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("at_noon")]
INDEX = "/admin/"


def tiles(page: str) -> dict[str, tuple[str, str]]:
    """Return the figure of each tile and its link."""
    found = re.findall(
        r'<dt>([^<]+)</dt><dd class="raptor-big">(?:<a href="([^"]+)">)?([^<]+)(?:</a>)?</dd>', page
    )
    return {label: (number.replace("\xa0", " "), link) for label, link, number in found}


def limit_to(user: User, *permissions: str) -> None:
    user.user_permissions.set(Permission.objects.filter(codename__in=permissions))


def test_each_number_leads_to_the_list_behind_it(see: Callable[..., str]) -> None:
    make_session("fresh")
    make_session("old", age=timedelta(days=8))
    make_session("pinned", age=timedelta(days=8), is_pinned=True)
    make_session("bad", session_id="")
    report = reports.storage_report(as_of=AS_OF, max_age_days=7)

    def size(size_bytes: int) -> str:
        return filesizeformat(size_bytes).replace("\xa0", " ")

    shown = tiles(see(INDEX))
    assert {label: number for label, (number, _) in shown.items()} == {
        "Sessions": "4",
        "Live size": f"{report.live.bytes / 1024:.1f} KB"
        if report.live.bytes > 1023
        else f"{report.live.bytes} bytes",
        "Expired": "2",
        "Invalid": "1",
        "Reclaimable": size(report.would_free["either"].bytes),
        "Archive": "0 bytes",
        "Browsers alive, not in use": "0",
    }
    for label, names in (
        ("Sessions", {"fresh", "old", "pinned", "bad"}),
        ("Expired", {"old", "pinned"}),
        ("Invalid", {"bad"}),
    ):
        page = see(shown[label][1])
        assert set(re.findall(r'change/[^"]*">([a-z]+)</a>', page)) == names
    assert 'id="would-free"' in see(shown["Reclaimable"][1].partition("#")[0])
    assert see(shown["Archive"][1])
    assert see(shown["Live size"][1])


def test_it_shows_runs_and_the_next_sweep_without_endpoints(
    see: Callable[..., str], nightly: CleanupPolicy
) -> None:
    plan_next_runs(AS_OF)
    make_session("bad", session_id="")
    make_session("good")
    run = swept(invalid=True)
    cleanup.plan_cleanup(Criteria(all=True), trigger="admin")
    page = see(INDEX)
    assert f'href="{reverse("admin:sessions_app_cleanuprun_change", args=[run.pk])}">Run {run.pk}</a>' in page
    assert "1 of 1" in page
    assert page.count(">Run ") == 1
    assert f'change/">{nightly}</a>, <time datetime="2026-11-23T02:00:00+00:00"' in page
    assert ">in 14 hours</time>" in page
    assert SECRET not in page


def test_an_overdue_sweep_is_shown_as_due(see: Callable[..., str], nightly: CleanupPolicy) -> None:
    CleanupPolicy.objects.filter(pk=nightly.pk).update(next_run_at=AS_OF - timedelta(hours=3))
    assert ">due for 3 hours</time>" in see(INDEX)
    CleanupPolicy.objects.update(next_run_at=None)
    assert f"{nightly}</a>, not planned yet" in see(INDEX)
    CleanupPolicy.objects.update(is_enabled=False)
    assert "None: <a" in see(INDEX)


def test_plans_that_need_approval_come_first_with_a_link(
    client: Client, see: Callable[..., str], operator: User
) -> None:
    make_session("bad", session_id="")
    run = run_sweep(make_policy("Careful", "invalid", brake_count=0)).held
    assert run is not None
    page = see(INDEX)
    assert page.index("needs approval") < page.index("raptor-tiles")
    assert run.held_because in page.replace("&#x27;", "'")
    # The viewer may not approve it, so the link leads to the run.
    assert reverse("admin:sessions_app_cleanuprun_change", args=[run.pk]) in page
    client.force_login(operator)
    page = client.get(INDEX).content.decode()
    assert (
        f'href="{reverse("admin:sessions_app_cleanuprun_plan", args=[run.pk])}">Run {run.pk} of Careful'
        in page
    )


def test_many_held_plans_do_not_fill_the_page(see: Callable[..., str]) -> None:
    make_session("bad", session_id="")
    for n in range(7):
        run_sweep(make_policy(f"Careful {n}", "invalid", brake_count=0))
    page = see(INDEX)
    assert page.count(" of Careful ") == 5
    assert "?outcome=waits" in page


class TestFirstUse:
    def test_it_explains_what_to_do(self, see: Callable[..., str], client: Client, operator: User) -> None:
        assert "Ask an administrator to add the folder" in see(INDEX)
        client.force_login(operator)
        page = client.get(INDEX).content.decode()
        assert reverse("admin:sessions_app_sessiondirectory_add") in page.split("No sessions yet")[1]

    def test_a_directory_or_a_session_ends_it(self, see: Callable[..., str]) -> None:
        directory = SessionDirectory.objects.create(path="/x", namespace="x")
        assert "No sessions yet" not in see(INDEX)
        directory.delete()
        make_session()
        assert "No sessions yet" not in see(INDEX)

    def test_archived_sessions_end_it_too(self, see: Callable[..., str]) -> None:
        make_session("bad", session_id="")
        swept(invalid=True)
        assert "No sessions yet" not in see(INDEX)


class TestPermissions:
    @pytest.fixture(autouse=True)
    def rows_of_each_kind(self, nightly: CleanupPolicy) -> None:
        make_session("bad", session_id="")
        swept(invalid=True)
        make_session("bad", session_id="")
        run_sweep(make_policy("Careful", "invalid", brake_count=0))

    @pytest.mark.parametrize(
        ("permission", "shown"),
        [
            ("view_browsersession", {"tiles", "worker"}),
            ("view_cleanuprun", {"runs", "held", "worker"}),
            ("view_cleanuppolicy", {"sweep", "worker"}),
            ("view_sessiondirectory", {"worker"}),
            ("view_archivedsession", set()),
        ],
    )
    def test_nothing_is_shown_that_the_user_may_not_see(
        self, client: Client, viewer: User, permission: str, shown: set[str]
    ) -> None:
        limit_to(viewer, permission)
        client.force_login(viewer)
        page = client.get(INDEX).content.decode()
        marks = {
            "tiles": "raptor-tiles",
            "runs": "Last cleanups",
            "held": "needs approval",
            "sweep": "Next sweep",
            "worker": "<dt>Worker</dt>",
        }
        assert {name for name, mark in marks.items() if mark in page} == shown
        # The user may see every linked page.
        for address in set(re.findall(r'href="(/admin/[a-z][^"#]*)', page.split('id="content"')[1])):
            assert client.get(address).status_code == 200, address

    def test_without_any_there_is_no_dashboard(self, client: Client, viewer: User) -> None:
        viewer.user_permissions.clear()
        client.force_login(viewer)
        page = client.get(INDEX).content.decode()
        assert "raptor-dashboard" not in page
        assert "permission to view or edit anything" in page


class TestQueries:
    LIMIT = 38

    @pytest.fixture(autouse=True)
    def rows(self, nightly: CleanupPolicy) -> None:
        Machine.objects.create(name="runner", heartbeat_at=AS_OF)

    def test_the_number_of_queries_does_not_depend_on_the_number_of_rows(
        self, see: Callable[..., str], django_assert_max_num_queries: Any
    ) -> None:
        with django_assert_max_num_queries(self.LIMIT):
            see(INDEX)
        for n in range(10):
            make_session(namespace=f"n{n}", session_id="")
            swept(invalid=True)
            make_session(namespace=f"n{n}")
            run = run_sweep(make_policy(f"Careful {n}", "all", brake_count=0)).held
            assert run is not None
        with django_assert_max_num_queries(self.LIMIT):
            see(INDEX)

    def test_a_large_panel_needs_fewer_queries(
        self, see: Callable[..., str], django_assert_max_num_queries: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(snapshots, "SMALL_COUNT", 2)
        for _ in range(3):
            make_session()
        reports.take_snapshot(as_of=AS_OF - timedelta(minutes=10), max_age_days=7)
        make_session()
        with django_assert_max_num_queries(self.LIMIT - 2):
            page = see(INDEX)
        assert tiles(page)["Sessions"] == ("3", LIST)
        assert ">11:50</time></strong> and refresh every 15 minutes" in page

    def test_missing_figures_before_the_first_snapshot_are_explained(
        self, see: Callable[..., str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(snapshots, "SMALL_COUNT", 0)
        make_session()
        page = see(INDEX)
        assert "have not been counted yet" in page
        assert "raptor-tiles" not in page
