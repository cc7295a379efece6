"""The preview of a plan: the number to confirm, approval, and outdated plans."""

from __future__ import annotations

import json
import re
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import Permission, User
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from sessions_app.admin.runs import plan_totals
from sessions_app.cleanup import hold, measure_scope, plan_cleanup
from sessions_app.models import BrowserSession, CleanupPolicy, CleanupRun, CleanupStep
from sessions_app.models.clock import database_now
from sessions_app.session.criteria import Criteria
from sessions_app.session.selection import Selection
from tests.clients import Page, page_at
from tests.factories import Queued, make_many, make_session

RUNS = "/admin/sessions_app/cleanuprun/"


def page_of(run: CleanupRun) -> str:
    return f"{RUNS}{run.pk}/plan/"


def plan(**criteria: Any) -> CleanupRun:
    return plan_cleanup(Criteria(**(criteria or {"invalid": True})), trigger="admin", actor="operator")


def make_bad_ones(count: int, *, among: int) -> None:
    make_many(count, session_id="")
    make_many(among - count)


def outdate(run: CleanupRun) -> None:
    CleanupRun.objects.filter(pk=run.pk).update(planned_at=database_now() - timedelta(hours=25))


@pytest.fixture
def held(db: None) -> CleanupRun:
    """A plan of two of ten sessions that needs approval."""
    make_bad_ones(2, among=10)
    run = plan()
    policy = CleanupPolicy.objects.create(name="Nightly sweep of the shop")
    CleanupRun.objects.filter(pk=run.pk).update(policy=policy, step_position=1, trigger="schedule")
    run.refresh_from_db()
    return hold(run, "This would remove 2 sessions; the safety limit is 1.")


def test_the_plan_shows_its_share_of_the_scope(as_operator: Client) -> None:
    make_bad_ones(3, among=12)
    context = as_operator.get(page_of(plan())).context
    assert [context[name] for name in ("before_count", "count", "percent")] == [12, 3, "25 percent"]
    assert not context["requires_confirmation"]


@pytest.mark.parametrize("criteria", [{"invalid": True}, {"all": True}])
def test_the_scope_is_counted_once_for_all_pages_of_a_plan(
    as_operator: Client, criteria: dict[str, Any]
) -> None:
    make_bad_ones(150, among=320)
    run = plan(**criteria)

    def passes(page: int) -> int:
        with CaptureQueriesContext(connection) as queries:
            assert as_operator.get(f"{page_of(run)}?page={page}").status_code == 200
        sessions = [query["sql"] for query in queries if "browsersession" in query["sql"]]
        return len([sql for sql in sessions if "COUNT(" in sql or "SUM(" in sql])

    assert [passes(1), passes(1), passes(2)] == [1, 0, 0]
    run.refresh_from_db()
    assert run.before_count == 320


@pytest.mark.parametrize(
    "criteria",
    [
        {"invalid": True},
        {"all": True},
        {"expired": True, "invalid": True, "namespace": "shop"},
        {"expired": True, "invalid": True, "browser_type": "chromium"},
        {"selection": Selection(problem="any", pinned="no")},
    ],
)
def test_the_page_of_a_large_plan_does_not_scan_it(
    as_root: Client, criteria: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plan_totals, "READ_SESSIONS", 40)
    make_bad_ones(150, among=150)
    run = plan(**criteria)
    measure_scope(run)
    BrowserSession.objects.filter(pk=run.planned_sessions.ids_json[0]).update(is_pinned=True)
    with CaptureQueriesContext(connection) as queries:
        html = as_root.get(page_of(run)).content.decode()
    for sql in (query["sql"] for query in queries if "browsersession" in query["sql"]):
        assert "LIMIT" in sql or '"id" IN (' in sql, sql
    assert "<strong>150 sessions</strong>" in html
    assert "The figures are from" in html
    assert re.search("(39|40) of them are listed; the downloads have all of them.", html)
    download = as_root.get(f"{RUNS}{run.pk}/sessions.json").getvalue()
    assert len(json.loads(download)["sessions"]) == 149
    # Both the number on the page and the current number are accepted.
    assert "another number" in as_root.post(page_of(run), {"number": "151"}).content.decode()
    assert as_root.post(page_of(run), {"number": "150"}).status_code == 302


@pytest.mark.parametrize("typed", ["", "1,19", "x", "1e2", "²", "9" * 30, "-7", "6", "8"])
def test_more_than_half_of_the_scope_requires_confirmation(as_operator: Client, typed: str) -> None:
    make_bad_ones(7, among=12)
    run = plan()
    html = as_operator.get(page_of(run)).content.decode()
    assert '<label for="id_number">Type the number of sessions to confirm</label>' in html
    assert "number-error" not in html
    html = as_operator.post(page_of(run), {"number": typed}).content.decode()
    assert 'aria-describedby="number-error number-help"' in html
    assert 'id="number-error">Nothing was removed' in html
    run.refresh_from_db()
    assert (run.state, BrowserSession.objects.count()) == ("planned", 12)
    as_operator.post(page_of(run), {"number": " 7 "})
    assert BrowserSession.objects.count() == 5


def test_a_number_may_be_typed_with_commas(as_operator: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sessions_app.admin.runs.actions.REQUEST_SESSIONS", 2_000)
    make_bad_ones(1_234, among=1_300)
    as_operator.post(page_of(plan()), {"number": "1,234"})
    assert BrowserSession.objects.count() == 66


def test_all_always_requires_confirmation(as_operator: Client, operator: User) -> None:
    operator.user_permissions.add(Permission.objects.get(codename="clean_up_all_sessions"))
    make_bad_ones(0, among=3)
    make_session("kept", is_pinned=True)
    run = plan(all=True)
    assert "This removes all sessions in scope" in as_operator.get(page_of(run)).content.decode()
    as_operator.post(page_of(run))
    assert BrowserSession.objects.count() == 4
    as_operator.post(page_of(run), {"number": "4"})
    assert BrowserSession.objects.count() == 0


def test_the_number_on_the_page_stays_valid_while_sessions_change(as_operator: Client) -> None:
    make_bad_ones(5, among=5)
    run = plan()
    as_operator.get(page_of(run))
    BrowserSession.objects.filter(pk=BrowserSession.objects.first().pk).update(is_pinned=True)  # type: ignore[union-attr]
    assert "plan has 4 sessions" in as_operator.post(page_of(run), {"number": "3"}).content.decode()
    as_operator.post(page_of(run), {"number": "5"})
    assert BrowserSession.objects.count() == 1


def test_a_held_plan_shows_its_reason_and_policy(as_operator: Client, held: CleanupRun) -> None:
    html = as_operator.get(page_of(held)).content.decode()
    assert "This would remove 2 sessions; the safety limit is 1." in html
    assert "Nightly sweep of the shop" in html
    assert {"Approve and run: clean up 2 sessions", "Dismiss"} <= {*Page(html).buttons}
    html = as_operator.get(f"{RUNS}{held.pk}/change/").content.decode()
    assert page_of(held) in Page(html).links.values()


def test_a_held_plan_shows_that_its_policy_has_changed(as_operator: Client, held: CleanupRun) -> None:

    def has_changed() -> bool:
        return bool(as_operator.get(page_of(held)).context["has_policy_changed"])

    policy = CleanupPolicy.objects.get(name="Nightly sweep of the shop")
    step = CleanupStep.objects.create(policy=policy, position=1, criterion="invalid")
    assert not has_changed()
    CleanupStep.objects.filter(pk=step.pk).update(criterion="expired")
    assert has_changed()
    step.delete()
    assert has_changed()


def test_approval_runs_the_plan(as_operator: Client, held: CleanupRun) -> None:
    as_operator.post(page_of(held), {"approve": "1"})
    held.refresh_from_db()
    assert (held.state, held.approved_by, held.removed_count) == ("succeeded", "operator", 2)
    facts = page_at(as_operator, f"{RUNS}{held.pk}/change/").facts
    assert facts["Approved by"].startswith("operator, ")
    assert facts["Policy"] == "Nightly sweep of the shop, step 1"


def test_a_held_plan_runs_only_after_approval(as_operator: Client, held: CleanupRun) -> None:
    for data in ({}, {"number": "2"}):
        assert as_operator.post(page_of(held), data)["Location"] == page_of(held)
    assert as_operator.post(f"{RUNS}{held.pk}/resume/")["Location"] == page_of(held)
    held.refresh_from_db()
    assert (held.state, BrowserSession.objects.count()) == ("held", 10)


def test_approval_of_more_than_half_requires_confirmation(as_operator: Client, held: CleanupRun) -> None:
    CleanupRun.objects.filter(pk=held.pk).update(before_count=3)
    assert "number-error" in as_operator.post(page_of(held), {"approve": "1"}).content.decode()
    held.refresh_from_db()
    assert (held.state, held.approved_by) == ("held", "")
    as_operator.post(page_of(held), {"approve": "1", "number": "2"})
    assert BrowserSession.objects.count() == 8


def test_a_held_plan_can_be_dismissed(as_operator: Client, held: CleanupRun) -> None:
    html = as_operator.post(f"{RUNS}{held.pk}/close/", follow=True).content.decode()
    held.refresh_from_db()
    assert (held.state, held.closed_by) == ("closed", "operator")
    assert "Closed by operator" in html
    assert BrowserSession.objects.count() == 10
    html = as_operator.post(page_of(held), {"approve": "1"}, follow=True).content.decode()
    assert "Closed by operator" in html
    assert BrowserSession.objects.count() == 10


@pytest.mark.parametrize("is_held", [False, True])
def test_an_outdated_plan_is_replaced_and_does_not_run(
    as_operator: Client, held: CleanupRun, is_held: bool
) -> None:
    run = held if is_held else plan()
    outdate(run)
    html = as_operator.get(page_of(run)).content.decode()
    assert "Make a new plan" in Page(html).buttons
    assert not re.search("Clean up|Approve and run", " ".join(Page(html).buttons))
    as_operator.post(page_of(run), {"approve": "1", "number": "2"})
    assert BrowserSession.objects.count() == 10
    answer = as_operator.post(f"{RUNS}{run.pk}/again/")
    new = CleanupRun.objects.latest("pk")
    assert answer["Location"] == page_of(new)
    assert (new.state, new.matched_count, new.trigger, new.actor) == ("planned", 2, "admin", "operator")
    assert "Clean up 2 sessions" in page_at(as_operator, page_of(new)).buttons
    assert CleanupRun.objects.filter(pk=run.pk, state="closed").exists() is is_held


def test_a_current_plan_is_not_replaced(as_operator: Client, held: CleanupRun) -> None:
    as_operator.post(f"{RUNS}{held.pk}/again/")
    assert CleanupRun.objects.count() == 1


@pytest.mark.parametrize("act", ["plan", "close", "again", "resume", "undo", "protect"])
def test_every_action_requires_a_permission(
    client: Client, viewer: User, outsider: User, held: CleanupRun, act: str
) -> None:
    address = f"{RUNS}{held.pk}/{act}/"
    client.force_login(viewer)
    assert client.post(address, {"approve": "1"}).status_code == 403
    client.force_login(outsider)
    assert client.post(address, {"approve": "1"})["Location"].startswith("/admin/login/")
    client.logout()
    assert client.post(address, {"approve": "1"})["Location"].startswith("/admin/login/")
    held.refresh_from_db()
    assert (held.state, BrowserSession.objects.count()) == ("held", 10)


@pytest.mark.parametrize("act", ["close", "again", "resume", "undo", "protect"])
def test_every_action_requires_post(as_operator: Client, held: CleanupRun, act: str) -> None:
    assert as_operator.get(f"{RUNS}{held.pk}/{act}/").status_code == 405


def test_every_action_requires_a_csrf_token(operator: User, held: CleanupRun) -> None:
    client = Client(enforce_csrf_checks=True)
    client.force_login(operator)
    for act in ("plan", "close"):
        assert client.post(f"{RUNS}{held.pk}/{act}/", {"approve": "1"}).status_code == 403


def test_a_sweep_continues_after_an_approved_step(
    as_operator: Client, held: CleanupRun, queued: Queued
) -> None:
    CleanupRun.objects.filter(pk=held.pk).update(due_at=database_now())
    as_operator.post(page_of(held), {"approve": "1"})
    assert queued == [("sessions_app.tasks.continue_cleanup", held.pk)]
    assert "Queued" not in as_operator.get(f"{RUNS}{held.pk}/change/").content.decode()
