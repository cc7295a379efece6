"""Namespaces that are limited to groups: other users cannot see them or clean them up."""

from __future__ import annotations

import json
from datetime import timedelta

import pytest
from django.contrib.auth.models import Group, User
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from sessions_app.access.namespaces import hidden_namespaces
from sessions_app.cleanup import run_cleanup
from sessions_app.models import (
    ArchivedSession,
    BrowserSession,
    CleanupRun,
    LimitedNamespace,
)
from sessions_app.search import index_sessions
from sessions_app.session.criteria import Criteria
from tests.clients import LIST, RUNS, html_of, names, page_of, set_bounds
from tests.factories import OLD, build_session, live, make_session, swept

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("at_noon", "limit")]


def test_only_superusers_and_members_see_a_limited_namespace(
    root: User, other: User, team: Group, outsider: User
) -> None:
    assert hidden_namespaces(root) == frozenset()
    assert hidden_namespaces(other) == hidden_namespaces(outsider) == {"payments"}
    other.groups.add(team)
    assert hidden_namespaces(other) == frozenset()
    LimitedNamespace.objects.update(group_ids=[])
    assert hidden_namespaces(other) == {"payments"}
    team.delete()
    assert hidden_namespaces(other) == {"payments"}


def test_the_list_leaves_out_hidden_namespaces(as_other: Client, as_member: Client) -> None:
    make_session("ours")
    make_session("theirs", namespace="payments")
    for query in (
        "",
        "?q=s",
        "?q=theirs",
        "?problem=none",
        "?pinned=no",
        "?o=-7",
        "?o=2",
        "?browser_type=chromium",
    ):
        html = html_of(as_other, LIST + query)
        assert "theirs" not in names(html), query
        assert "namespace=payments" not in html
        assert "payments</td>" not in html
        assert "theirs" in names(html_of(as_member, LIST + query)), query
    assert names(html_of(as_other, LIST)) == ["ours"]
    html = html_of(as_other, f"{LIST}?namespace=payments")
    assert names(html) == []
    assert "No session matches" in html


def test_the_page_of_a_hidden_session_is_not_found(as_other: Client) -> None:
    session = make_session("theirs", namespace="payments")
    assert as_other.get(page_of(session)).status_code == 302
    for action in ("pin", "history", "delete"):
        response = as_other.post(f"{LIST}{session.pk}/{action}/", {"pin": "1"})
        assert response.status_code in (302, 403, 404), action
    session.refresh_from_db()
    assert not session.is_pinned


@pytest.mark.parametrize("criteria", [["expired"], ["invalid"], ["all"], ["expired", "invalid"]])
def test_a_cleanup_leaves_hidden_sessions(as_other: Client, criteria: list[str]) -> None:
    for name, namespace in (("ours", "default"), ("theirs", "payments")):
        make_session(name, namespace=namespace, **OLD, session_id="")
    response = as_other.post(f"{RUNS}new/", {"what": criteria, "max_age_days": "7"})
    run = CleanupRun.objects.get()
    html = html_of(as_other, response["Location"])
    assert "<strong>1 session</strong>" in html
    assert "1 limited namespace" in html
    assert "theirs" not in html
    assert "payments" not in html
    as_other.post(response["Location"], {"number": "1"})
    run.refresh_from_db()
    assert (run.state, run.removed_count, run.before_count, run.after_count) == ("succeeded", 1, 1, 0)
    assert live() == ["theirs"]
    as_other.post(f"{RUNS}{run.pk}/undo/")
    assert live() == ["ours", "theirs"]


def test_a_cleanup_of_a_hidden_namespace_gives_the_same_error_as_an_unknown_one(
    as_other: Client,
) -> None:
    make_session("theirs", namespace="payments", **OLD)
    across = {"action": "clean_up", "select_across": "1", "_selected_action": ["1"]}
    answers = []
    for namespace in ("payments", "nowhere"):
        form = {"what": ["expired"], "max_age_days": "7", "namespace": namespace}
        responses = (
            as_other.post(f"{RUNS}new/", form),
            as_other.post(f"{LIST}?namespace={namespace}", across, follow=True),
        )
        messages = [str(message) for r in responses for message in r.context["messages"]]
        assert "has no sessions" in messages[0]
        answers.append([message.replace(namespace, "…") for message in messages])
    assert answers[0] == answers[1]
    assert not CleanupRun.objects.exists()


def test_selections_leave_out_hidden_sessions(as_other: Client) -> None:
    ours = make_session("ours", **OLD)
    theirs = make_session("theirs", namespace="payments", **OLD)
    for data in (
        {"select_across": "1", "_selected_action": [ours.pk]},
        {"_selected_action": [ours.pk, theirs.pk]},
    ):
        response = as_other.post(f"{LIST}?expired=yes", {"action": "clean_up", **data})
        run = CleanupRun.objects.latest("pk")
        assert response["Location"].endswith(f"/{run.pk}/plan/")
        assert (run.matched_count, run.criteria.not_namespaces) == (1, ("payments",))
    as_other.post(response["Location"])
    assert live() == ["theirs"]


def test_a_run_over_all_namespaces_is_shown_without_hidden_sessions_and_actions(
    as_other: Client, as_member: Client
) -> None:
    make_session("ours", **OLD)
    make_session("theirs", namespace="payments", **OLD)
    run = swept(expired=True)
    page = f"{RUNS}{run.pk}/change/"
    html = html_of(as_other, page)
    assert "raptor-note" in html
    assert "ours" in html
    assert "theirs" not in html
    assert f"{run.pk}/undo/" not in html
    for action in ("undo", "resume", "close", "again", "protect", "plan"):
        response = as_other.post(f"{RUNS}{run.pk}/{action}/")
        assert response.status_code == 403
    download = json.loads(as_other.get(f"{RUNS}{run.pk}/sessions.json").getvalue())
    assert [session["name"] for session in download["sessions"]] == ["ours"]
    assert b"theirs" not in as_other.get(f"{RUNS}{run.pk}/sessions.csv").getvalue()
    html = html_of(as_member, page)
    assert "theirs" in html
    assert f"{run.pk}/undo/" in html
    as_member.post(f"{RUNS}{run.pk}/undo/")
    assert live() == ["ours", "theirs"]


def test_hidden_skipped_sessions_are_not_listed(as_other: Client) -> None:
    run = swept(expired=True)
    named = [
        {"namespace": namespace, "name": name, "because": "It was pinned after the preview."}
        for namespace, name in (("default", "ours"), ("payments", "theirs"))
    ]
    CleanupRun.objects.filter(pk=run.pk).update(skipped_sessions=named, skipped_count=2, matched_count=2)
    for address in ("change/", "sessions.json", "skipped.csv"):
        response = as_other.get(f"{RUNS}{run.pk}/{address}")
        text = (response.getvalue() if response.streaming else response.content).decode()
        assert "ours" in text, address
        assert "theirs" not in text, address


def test_runs_of_a_hidden_namespace_are_not_found(as_other: Client, as_member: Client) -> None:
    make_session("theirs", namespace="payments", **OLD)
    run = swept(expired=True, namespace="payments")
    html = html_of(as_other, RUNS)
    assert f"Run {run.pk}<" not in html
    assert "payments" not in html
    assert "0 cleanup runs" in html
    for address in ("export.csv", "export.json"):
        assert b"payments" not in as_other.get(f"{RUNS}{address}").getvalue()
    assert as_other.get(f"{RUNS}{run.pk}/change/").status_code == 302
    for address in ("progress/", "sessions.csv", "sessions.json", "skipped.csv"):
        assert as_other.get(f"{RUNS}{run.pk}/{address}").status_code == 404
    assert as_other.post(f"{RUNS}{run.pk}/undo/").status_code == 404
    assert "payments" in html_of(as_member, RUNS)
    assert "payments" not in html_of(as_other, "/admin/")
    assert "payments" in html_of(as_member, "/admin/")


def test_a_download_does_not_list_namespaces_hidden_from_its_planner(
    as_other: Client, as_member: Client
) -> None:
    make_session("ours", **OLD)
    as_other.post(f"{RUNS}new/", {"what": ["expired"], "max_age_days": "7"})
    address = f"{RUNS}{CleanupRun.objects.get().pk}/sessions.json"
    assert json.loads(as_other.get(address).getvalue())["criteria"]["not_namespaces"] == []
    assert json.loads(as_member.get(address).getvalue())["criteria"]["not_namespaces"] == ["payments"]


def test_the_archive_leaves_out_hidden_namespaces(as_other: Client, as_member: Client) -> None:
    make_session("ours", **OLD)
    make_session("theirs", namespace="payments", **OLD)
    run = swept(expired=True)
    archive = "/admin/sessions_app/archivedsession/"
    theirs = ArchivedSession.objects.get(name="theirs")
    for query in ("", f"?run={run.pk}", "?namespace=payments", "?q=theirs"):
        assert "theirs" not in names(html_of(as_other, archive + query)), query
        assert "theirs" in names(html_of(as_member, archive + query)), query
    assert as_other.get(f"{archive}{theirs.pk}/change/").status_code == 302
    as_other.post(archive, {"action": "restore", "_selected_action": [theirs.pk]})
    as_other.post(
        f"{archive}?run={run.pk}", {"action": "restore", "select_across": "1", "_selected_action": [1]}
    )
    assert live() == ["ours"]


def test_a_namespace_limited_after_the_preview_is_not_cleaned_up(as_other: Client) -> None:
    LimitedNamespace.objects.all().delete()
    make_session("theirs", namespace="payments", **OLD)
    plan = as_other.post(f"{RUNS}new/", {"what": ["expired"], "max_age_days": "7"})["Location"]
    LimitedNamespace.objects.create(namespace="payments")
    assert as_other.post(plan, {"number": "1"}).status_code == 403
    assert live() == ["theirs"]


@pytest.mark.parametrize("is_few", [True, False])
def test_hidden_newer_sessions_do_not_displace_visible_ones(
    as_other: Client, monkeypatch: pytest.MonkeyPatch, is_few: bool
) -> None:
    """Check that the list shows the first visible sessions in its order, even if most are hidden."""
    set_bounds(monkeypatch, BOUND=10, READ_BOUND=10)
    if not is_few:
        set_bounds(monkeypatch, NAMESPACES_SHOWN=1)
    BrowserSession.objects.bulk_create(build_session(f"t{n}", namespace="payments") for n in range(30))
    for n in range(6):
        make_session(f"ours-{n}", namespace=f"team-{n % 3}", age=timedelta(days=n + 1))
    html = html_of(as_other, LIST)
    if not is_few:
        assert names(html) == []
        assert "Only the 10 most recently accessed sessions were searched" in html
        assert names(html_of(as_other, f"{LIST}?namespace=team-1")) == ["ours-1", "ours-4"]
        return
    assert names(html) == [f"ours-{n}" for n in range(6)]
    assert "were searched" not in html
    assert names(html_of(as_other, f"{LIST}?o=6")) == [f"ours-{n}" for n in reversed(range(6))]
    assert set(names(html_of(as_other, f"{LIST}?q=ours"))) == {f"ours-{n}" for n in range(6)}
    assert names(html_of(as_other, f"{LIST}?expired=no&browser_type=chromium&o=-7"))


def test_hidden_namespaces_cost_a_fixed_number_of_queries(as_other: Client, other: User) -> None:
    def queries() -> int:
        with CaptureQueriesContext(connection) as captured:
            html_of(as_other, LIST)
        return len(captured)

    make_session("ours")
    make_session("more", namespace="search")
    few = queries()
    for n in range(20):
        make_session(namespace=f"team-{n}")
        LimitedNamespace.objects.create(namespace=f"limited-{n}")
    assert queries() == few


def test_criteria_report_whether_they_include_a_namespace() -> None:
    assert Criteria(all=True).reaches("payments")
    assert Criteria(all=True, namespace="payments").reaches("payments")
    assert not Criteria(all=True, namespace="shop").reaches("payments")
    assert not Criteria(all=True, not_namespaces=("payments",)).reaches("payments")


def test_manual_selections_of_hidden_sessions_are_not_shown(as_other: Client, as_member: Client) -> None:
    sessions = [make_session(f"theirs-{n}", namespace="payments") for n in range(3)]
    ticked = [session.pk for session in sessions]
    as_member.post(LIST, {"action": "clean_up", "_selected_action": ticked})
    assert CleanupRun.objects.get().criteria.namespace == "payments"
    across = {"action": "clean_up", "select_across": "1", "_selected_action": ticked}
    as_member.post(f"{LIST}?q=theirs", across)
    run = CleanupRun.objects.latest("pk")
    run_cleanup(run)
    CleanupRun.objects.update(error="Files in /srv/theirs could not be removed", earlier_errors="/srv/theirs")
    shown = [html_of(as_other, address) for address in (RUNS, f"{RUNS}{run.pk}/change/", "/admin/")]
    downloads = (f"{RUNS}{run.pk}/sessions.json", f"{RUNS}export.csv", f"{RUNS}export.json")
    shown += [as_other.get(address).getvalue().decode() for address in downloads]
    assert not [text for text in shown if "theirs" in text]
    assert "Users who can see all namespaces of the run can read it." in shown[1]
    assert html_of(as_member, f"{RUNS}{run.pk}/change/").count("theirs") > 2


@pytest.mark.parametrize("address", [LIST, "/admin/sessions_app/archivedsession/"])
def test_a_search_does_not_show_whether_hidden_sessions_match(
    as_other: Client, monkeypatch: pytest.MonkeyPatch, address: str
) -> None:
    set_bounds(monkeypatch, BOUND=20, READ_BOUND=10, HITS=10)
    for number in range(25):
        make_session(f"other-{number}", **OLD)
    make_session("zebra-mine", **OLD)
    if address != LIST:
        swept(expired=True)
    before = html_of(as_other, f"{address}?q=zebra")
    BrowserSession.objects.bulk_create(
        build_session(f"zebra-{number}", namespace="payments", **OLD) for number in range(30)
    )
    index_sessions()
    if address != LIST:
        swept(expired=True)
    after = html_of(as_other, f"{address}?q=zebra")
    for html in (before, after):
        assert "At most the 10 most recently added sessions that match the search were read." in html
    assert "zebra-mine" in before


def test_a_search_finds_a_name_among_hidden_sessions(
    as_other: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_bounds(monkeypatch, READ_BOUND=10)
    BrowserSession.objects.bulk_create(build_session(f"ours-{n}") for n in range(30))
    BrowserSession.objects.bulk_create(
        build_session(f"zz-{n}", namespace="payments", **OLD) for n in range(12)
    )
    make_session("zz-mine", age=timedelta(days=3))
    html = html_of(as_other, f"{LIST}?q=zz")
    assert names(html) == ["zz-mine"]
    assert "Too many names" not in html
