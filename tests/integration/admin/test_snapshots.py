"""The wording of the screens of sessions, cleanup runs and the archive, one snapshot per page."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
from django.contrib.auth.models import Permission, User
from django.test import Client

from sessions_app.admin.polling import LATE_AFTER
from sessions_app.cleanup import hold, run_cleanup
from sessions_app.models import BrowserSession, CleanupPolicy, CleanupRun
from sessions_app.models.clock import database_now
from tests.clients import ARCHIVE, LIST, RUNS, page_of
from tests.factories import make_session, plan
from tests.snapshots import assert_snapshot

pytestmark = pytest.mark.usefixtures("at_noon")

SNAPSHOTS = Path(__file__).parent / "snapshots"
Check = Callable[..., None]


@pytest.fixture
def check(as_operator: Client) -> Check:
    """Compare the page at a URL with its snapshot."""

    def compare(name: str, address: str, client: Client = as_operator) -> None:
        assert_snapshot(SNAPSHOTS / f"{name}.txt", client.get(address).content.decode())

    return compare


@pytest.fixture
def sessions(db: None) -> list[BrowserSession]:
    """A valid, an expired, an invalid and a pinned session."""
    return [
        make_session("valid"),
        make_session("expired", age=timedelta(days=9)),
        make_session("invalid", session_id="", browser_type="firefox", cdp_url="ws://10.1.2.3:1/x"),
        make_session("pinned", namespace="shop", is_pinned=True, age=timedelta(days=9)),
    ]


def set_run(run: CleanupRun, **values: object) -> None:
    CleanupRun.objects.filter(pk=run.pk).update(**values)


def test_the_list_of_sessions(check: Check, sessions: list[BrowserSession]) -> None:
    check("session_list", f"{LIST}?_facets=True&q=i")
    check("session_list_without_a_match", f"{LIST}?q=zebra")


def test_the_empty_list_of_sessions(check: Check) -> None:
    check("session_list_empty", LIST)


def test_validation(as_operator: Client, sessions: list[BrowserSession]) -> None:
    data = {"action": "validate", "_selected_action": [session.pk for session in sessions]}
    assert_snapshot(SNAPSHOTS / "validate.txt", as_operator.post(LIST, data).content.decode())


def test_the_page_of_a_session(check: Check, as_root: Client, sessions: list[BrowserSession]) -> None:
    check("session", page_of(sessions[2]), as_root)
    page = as_root.post(page_of(sessions[0]).replace("change", "endpoint")).content.decode()
    assert_snapshot(SNAPSHOTS / "session_with_endpoint.txt", page)


def test_the_form_of_a_cleanup(check: Check, as_root: Client) -> None:
    check("cleanup_form", f"{RUNS}new/", as_root)


def test_the_page_of_a_plan(check: Check, as_root: Client, sessions: list[BrowserSession]) -> None:
    run = plan(expired=True, invalid=True)
    check("plan", f"{RUNS}{run.pk}/plan/", as_root)
    check("plan_of_all", f"{RUNS}{plan(all=True).pk}/plan/", as_root)
    policy = CleanupPolicy.objects.create(name="Nightly sweep of the shop")
    set_run(run, policy=policy, step_position=1, trigger="schedule")
    run.refresh_from_db()
    check("plan_that_needs_approval", f"{RUNS}{hold(run, 'The plan is too large.').pk}/plan/", as_root)
    set_run(run, planned_at=database_now() - timedelta(hours=25))
    check("plan_outdated", f"{RUNS}{run.pk}/plan/", as_root)


def test_a_plan_that_the_user_cannot_run(check: Check, as_operator: Client) -> None:
    make_session("valid")
    check("plan_without_permission", f"{RUNS}{plan(all=True).pk}/plan/")


def test_the_page_of_a_run(check: Check, sessions: list[BrowserSession]) -> None:
    run = plan(expired=True, invalid=True)
    BrowserSession.objects.filter(name="expired").update(is_pinned=True)
    check("run_planned", f"{RUNS}{run.pk}/change/")
    run_cleanup(run)
    check("run", f"{RUNS}{run.pk}/change/")
    check("run_list", RUNS)


def test_the_page_of_a_run_in_the_worker(check: Check, sessions: list[BrowserSession]) -> None:
    run, now = plan(invalid=True), database_now()
    page = f"{RUNS}{run.pk}/change/"
    set_run(run, queued_at=now)
    check("run_waiting", page)
    set_run(run, queued_at=now - LATE_AFTER * 2)
    check("run_late", page)
    set_run(run, state="running", attempt=2, started_at=now, heartbeat_at=now)
    check("run_working", page)
    set_run(run, started_at=now - timedelta(hours=1), heartbeat_at=now - timedelta(hours=1))
    check("run_stalled", page)
    set_run(run, state="interrupted")
    check("run_stopped", page)


def test_the_archive(check: Check, operator: User, sessions: list[BrowserSession]) -> None:
    run_cleanup(plan(expired=True, invalid=True))
    check("archive", ARCHIVE)
    check("archived_session", f"{ARCHIVE}{sessions[1].pk}/change/")


def test_the_error_pages(check: Check, client: Client, viewer: User) -> None:
    check("error_404", "/nowhere/")
    check("error_400", f"{RUNS}export.csv?outcome=never")
    viewer.user_permissions.set(Permission.objects.none())
    client.force_login(viewer)
    check("error_403", LIST, client)
