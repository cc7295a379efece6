"""The buttons of a plan: approve, dismiss, discard, leave out sessions and include them again."""

from __future__ import annotations

import re
from datetime import timedelta
from pathlib import Path

import pytest
from django.contrib.auth.models import Permission, User
from django.test import Client

from sessions_app.cleanup import hold
from sessions_app.mirror.registry import register_directory
from sessions_app.models import BrowserSession, CleanupRun
from sessions_app.models.clock import database_now
from tests.clients import RUNS, page_at
from tests.factories import OLD, live, make_session, make_sessions, plan, put, swept, sync

INDEX = "/admin/"


def act(client: Client, run: CleanupRun, action: str, **data: object) -> str:
    return client.post(f"{RUNS}{run.pk}/{action}/", data, follow=True).content.decode()


@pytest.fixture
def held(db: None) -> CleanupRun:
    """A plan of two of seven sessions that needs approval."""
    make_sessions(5)
    make_session("old-1", **OLD)
    make_session("old-2", **OLD)
    return hold(plan(expired=True), "This would remove 2 sessions; the safety limit is 1.")


@pytest.mark.parametrize("address", [INDEX, f"{RUNS}PK/change/"])
def test_a_plan_is_approved_with_one_click(as_operator: Client, held: CleanupRun, address: str) -> None:
    html = as_operator.get(address.replace("PK", str(held.pk))).content.decode()
    assert f'formaction="{RUNS}{held.pk}/approve/"' in html
    assert f'formaction="{RUNS}{held.pk}/close/"' in html
    assert "2 of 2 sessions removed" in act(as_operator, held, "approve")
    held.refresh_from_db()
    assert (held.state, held.approved_by, held.removed_count) == ("succeeded", "operator", 2)
    assert "no longer needs approval" in act(as_operator, held, "approve")


def test_a_plan_is_dismissed_with_one_click(as_operator: Client, held: CleanupRun) -> None:
    act(as_operator, held, "close")
    held.refresh_from_db()
    assert (held.state, held.closed_by) == ("closed", "operator")
    assert len(live()) == 7


def test_only_users_who_may_run_the_plan_see_the_buttons(as_viewer: Client, held: CleanupRun) -> None:
    for address in (INDEX, f"{RUNS}{held.pk}/change/"):
        html = as_viewer.get(address).content.decode()
        assert "This would remove 2 sessions" in html
        assert "/approve/" not in html
    for action in ("approve", "close", "discard", "leave-out", "include-again"):
        assert as_viewer.post(f"{RUNS}{held.pk}/{action}/").status_code == 403
        assert as_viewer.get(f"{RUNS}{held.pk}/{action}/").status_code == 405


def test_a_plan_of_all_sessions_needs_the_permission_for_all(as_operator: Client, operator: User) -> None:
    make_session("one")
    run = hold(plan(all=True), "Too many.")
    assert "/approve/" not in as_operator.get(INDEX).content.decode()
    assert as_operator.post(f"{RUNS}{run.pk}/approve/").status_code == 403
    operator.user_permissions.add(Permission.objects.get(codename="clean_up_all_sessions"))
    assert "/approve/" in as_operator.get(INDEX).content.decode()
    # More than half of the scope, so the user must type the number.
    html = act(as_operator, run, "approve")
    assert "Check the plan" in html
    assert "Type the number of sessions to confirm" in html
    assert live() == ["one"]


def test_an_outdated_plan_is_shown_instead_of_approved(as_operator: Client, held: CleanupRun) -> None:
    CleanupRun.objects.filter(pk=held.pk).update(planned_at=database_now() - timedelta(hours=25))
    html = act(as_operator, held, "approve")
    assert "This plan is over a day old." in html
    assert len(live()) == 7


def test_an_abandoned_preview_is_hidden_and_can_be_discarded(as_operator: Client) -> None:
    make_session("old", **OLD)
    done, preview = swept(expired=True), plan(invalid=True)
    page = page_at(as_operator, RUNS)
    assert f"Run {done.pk}" in page.links
    assert f"Run {preview.pk}" not in page.links
    assert page.links["Show it"] == "?outcome=previews"
    shown = page_at(as_operator, f"{RUNS}?outcome=previews")
    assert f"Run {preview.pk}" in shown.links
    assert f"Run {done.pk}" not in shown.links
    assert f"Run {preview.pk}" in page_at(as_operator, f"{RUNS}?q=run+{preview.pk}").links
    assert f"Run {preview.pk}" in page_at(as_operator, f"{RUNS}?state__exact=planned").links
    assert "Discard" in page_at(as_operator, f"{RUNS}{preview.pk}/change/").buttons
    assert "Discard" in page_at(as_operator, f"{RUNS}{preview.pk}/plan/").buttons
    assert "was discarded" in act(as_operator, preview, "discard")
    assert not CleanupRun.objects.filter(pk=preview.pk).exists()
    assert "Show it" not in page_at(as_operator, RUNS).links


def test_a_run_that_has_removed_sessions_cannot_be_discarded(as_operator: Client) -> None:
    make_session("old", **OLD)
    run = swept(expired=True)
    assert "already succeeded" in act(as_operator, run, "discard")
    assert CleanupRun.objects.filter(pk=run.pk).exists()


def test_selected_rows_are_left_out_of_a_plan(as_operator: Client) -> None:
    make_sessions(9)
    for name in ("kept", "old-1", "old-2"):
        make_session(name, **OLD)
    run, kept = plan(expired=True), BrowserSession.objects.get(name="kept")
    html = as_operator.get(f"{RUNS}{run.pk}/plan/").content.decode()
    assert f'name="session" value="{kept.pk}" form="leave-out" aria-label="Leave out shop/kept"' in html
    html = act(as_operator, run, "leave-out", session=[kept.pk])
    assert "1 session was left out and is kept." in html
    assert f'value="{kept.pk}"' not in html
    assert "<strong>2 sessions</strong>" in html
    html = act(as_operator, run, "include-again")
    assert "The plan includes 1 session again." in html
    act(as_operator, run, "leave-out", session=[kept.pk])
    as_operator.post(f"{RUNS}{run.pk}/plan/")
    assert "kept" in live()
    assert len(live()) == 10
    assert "already succeeded" in act(as_operator, run, "leave-out", session=[kept.pk])


def test_a_plan_that_has_grown_since_it_was_shown_is_shown_again(as_operator: Client) -> None:
    make_sessions(9)
    first, second = (make_session(name, **OLD) for name in ("old-1", "old-2"))
    run = plan(expired=True)
    act(as_operator, run, "leave-out", session=[first.pk])
    html = as_operator.get(f"{RUNS}{run.pk}/plan/").content.decode()
    (mark,) = re.findall('name="left_out" value="(.+?)"', html)
    act(as_operator, run, "include-again")
    act(as_operator, run, "leave-out", session=[second.pk])
    html = as_operator.post(f"{RUNS}{run.pk}/plan/", {"left_out": mark}, follow=True).content.decode()
    assert "The sessions in the plan have changed. Check the plan again." in html
    assert {"old-1", "old-2"} <= set(live())


@pytest.mark.parametrize("address", [INDEX, f"{RUNS}PK/change/"])
def test_a_plan_that_has_grown_is_shown_instead_of_approved(
    as_operator: Client, held: CleanupRun, address: str
) -> None:
    act(as_operator, held, "leave-out", session=[BrowserSession.objects.get(name="old-1").pk])
    html = as_operator.get(address.replace("PK", str(held.pk))).content.decode()
    assert '<input type="hidden" name="matched" value="1">' in html
    act(as_operator, held, "include-again")
    assert "Check the plan of run" in act(as_operator, held, "approve", matched=1)
    assert len(live()) == 7


def test_only_users_who_may_run_a_plan_of_all_sessions_can_change_it(as_operator: Client) -> None:
    session = make_session("one")
    run = plan(all=True)
    for action in ("leave-out", "include-again"):
        data = {"session": session.pk}
        assert as_operator.post(f"{RUNS}{run.pk}/{action}/", data).status_code == 403


def test_an_empty_selection_changes_nothing(as_operator: Client) -> None:
    make_session("old", **OLD)
    run = plan(expired=True)
    assert "Select the sessions to leave out first." in act(as_operator, run, "leave-out")
    assert as_operator.post(f"{RUNS}{run.pk}/leave-out/", {"session": "x"}).status_code == 400
    run.refresh_from_db()
    assert run.matched_count == 1


def test_the_plan_warns_that_files_on_disk_are_removed(as_operator: Client, folder: Path) -> None:
    make_session("old", **OLD)
    text = "Their files on disk are removed too."
    assert text not in page_at(as_operator, f"{RUNS}{plan(expired=True).pk}/plan/").text
    put(folder, "mirrored", **OLD)
    sync(register_directory(folder, namespace="shop"))
    assert text in page_at(as_operator, f"{RUNS}{plan(expired=True).pk}/plan/").text
