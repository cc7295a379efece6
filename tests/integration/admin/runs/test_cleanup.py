from __future__ import annotations

import re
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from sessions_app.admin.runs import actions
from sessions_app.cleanup import batches, plan_cleanup, run_cleanup
from sessions_app.models import ArchivedSession, BrowserSession, CleanupRun
from sessions_app.session import criteria
from sessions_app.session.criteria import Criteria
from tests.clients import Page, page_at
from tests.factories import Queued, make_many, make_session

LIST = "/admin/sessions_app/browsersession/"
RUNS = "/admin/sessions_app/cleanuprun/"


def select(client: Client, *sessions: BrowserSession, **more: Any) -> Any:
    data = {"action": "clean_up", "_selected_action": [session.pk for session in sessions], **more}
    return client.post(LIST, data)


def test_a_selection_is_previewed_then_run(as_operator: Client) -> None:
    bad, old, other = make_session("bad", session_id=""), make_session("old"), make_session("untouched")
    plan = select(as_operator, bad, old)["Location"]
    assert BrowserSession.objects.count() == 3
    html = as_operator.get(plan).content.decode()
    assert "Clean up 2 sessions" in Page(html).buttons
    assert "The session id is missing." in html
    assert f'name="{bad.pk}"' not in html
    assert "_selected_action" not in html
    response = as_operator.post(plan, follow=True)
    run = CleanupRun.objects.get()
    assert response.redirect_chain == [(f"{RUNS}{run.pk}/change/", 302)]
    assert (run.trigger, run.actor, run.state) == ("admin", "operator", "succeeded")
    assert list(BrowserSession.objects.values_list("name", flat=True)) == ["untouched"]
    html = response.content.decode()
    assert Page(html).facts["Removed"] == "2 sessions"
    assert "bad" in html
    assert other.name not in html


def test_the_plan_is_the_removal(as_operator: Client) -> None:
    touched, pinned, arrived = make_session("touched"), make_session("pinned"), make_session("arrived")
    gone = make_session("gone")
    plan = select(as_operator, touched, pinned, arrived, gone)["Location"]
    BrowserSession.objects.filter(pk=touched.pk).update(last_accessed=timezone.now())
    BrowserSession.objects.filter(pk=pinned.pk).update(is_pinned=True)
    make_session("new", session_id="")
    response = as_operator.get(plan)
    assert (response.context["count"], response.context["changed_count"]) == (2, 2)
    as_operator.post(plan)
    run = CleanupRun.objects.get()
    assert (run.matched_count, run.removed_count, run.skipped_count) == (4, 2, 2)
    assert set(BrowserSession.objects.values_list("name", flat=True)) == {"touched", "pinned", "new"}


def test_the_plan_shows_which_selected_sessions_are_kept(as_operator: Client) -> None:
    pinned, plain, gone = make_session(is_pinned=True), make_session(), make_session()
    data = {"action": "clean_up", "_selected_action": [pinned.pk, plain.pk, gone.pk]}
    plan = as_operator.post(LIST, data)["Location"]
    context = as_operator.get(plan).context
    assert [context[name] for name in ("selected_count", "pinned_count", "count")] == [3, 1, 2]


def test_an_empty_plan_can_only_be_discarded(as_operator: Client) -> None:
    plan = select(as_operator, make_session(is_pinned=True))["Location"]
    html = as_operator.get(plan).content.decode()
    assert re.findall(r'form="dismiss">([^<]*)</button>', html) == ["Discard"]
    assert "Clean up 0" not in html


def test_a_plan_runs_once(as_operator: Client) -> None:
    plan = select(as_operator, make_session())["Location"]
    first = as_operator.post(plan)
    second = as_operator.post(plan)
    assert first["Location"] == second["Location"]
    assert CleanupRun.objects.get().removed_count == 1
    assert as_operator.get(plan)["Location"] == first["Location"]


def test_all_matching_sessions_can_be_selected(as_operator: Client) -> None:
    make_many(150, session_id="")
    survivor = make_session("fine")
    first = BrowserSession.objects.order_by("pk").values_list("pk", flat=True)[0]
    data = {"action": "clean_up", "select_across": "1", "_selected_action": [first]}
    plan = as_operator.post(f"{LIST}?problem=any", data)["Location"]
    assert "Clean up 150 sessions" in as_operator.get(plan).content.decode()
    second_page = as_operator.get(f"{plan}?page=2").content.decode()
    assert "Sessions 101 to 150 of 150" in second_page
    as_operator.post(plan, {"number": "150"})
    assert list(BrowserSession.objects.all()) == [survivor]


def test_a_selection_over_the_limit_does_nothing(
    as_operator: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sessions_app.admin.sessions.changelist.SELECTION_LIMIT", 2)
    response = select(as_operator, *(make_session() for _ in range(3)))
    assert response["Location"] == LIST
    assert "at most 2 sessions" in as_operator.get(LIST).content.decode()
    assert not CleanupRun.objects.exists()
    assert criteria.SELECTION_LIMIT == 10_000


def test_a_viewer_cannot_clean_up(client: Client, viewer: User) -> None:
    session = make_session()
    run = plan_cleanup(Criteria(session_ids=(session.pk,)), trigger="admin")
    stopped = CleanupRun.objects.create(
        criteria_json={"all": True},
        as_of=run.as_of,
        sealed_at=run.sealed_at,
        trigger="admin",
        state="interrupted",
    )
    client.force_login(viewer)
    assert "clean_up" not in client.get(LIST).content.decode()
    select(client, session)
    for address in (f"{RUNS}{run.pk}/plan/", f"{RUNS}{stopped.pk}/resume/"):
        assert client.post(address).status_code == 403
    assert client.get(f"{RUNS}{run.pk}/plan/").status_code == 403
    html = client.get(f"{RUNS}{stopped.pk}/change/").content.decode()
    assert "Resume" not in html
    assert BrowserSession.objects.count() == 1
    assert CleanupRun.objects.count() == 2


def test_the_worker_continues_a_long_cleanup(
    as_operator: Client, queued: Queued, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(actions, "REQUEST_SECONDS", 0)
    monkeypatch.setattr(batches, "BATCH_BYTES", 1)  # so that each batch has one session
    plan = select(as_operator, make_session(), make_session())["Location"]
    response = as_operator.post(plan, follow=True)
    run = CleanupRun.objects.get()
    assert queued == [("sessions_app.tasks.continue_cleanup", run.pk)]
    assert (run.state, run.removed_count) == ("interrupted", 1)
    assert response.context["progress"].phase == "waiting"
    monkeypatch.undo()
    as_operator.post(f"{RUNS}{run.pk}/resume/")
    run.refresh_from_db()
    assert (run.state, run.removed_count) == ("succeeded", 2)


def test_a_failure_is_shown_on_the_page_of_the_run(
    as_operator: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sessions_app.cleanup.runs._archive_batch", lambda *args: 1 / 0)
    plan = select(as_operator, make_session())["Location"]
    html = as_operator.post(plan, follow=True).content.decode()
    assert "ZeroDivisionError" in html
    assert "Resume" in Page(html).buttons
    assert BrowserSession.objects.count() == 1
    monkeypatch.undo()
    facts = Page(
        as_operator.post(f"{RUNS}{CleanupRun.objects.get().pk}/resume/", follow=True).content.decode()
    ).facts
    assert (facts["Removed"], facts["Resumed by"]) == ("1 session", "operator")
    assert "ZeroDivisionError" in facts["Earlier errors"]


def test_runs_and_archive_are_read_only(as_operator: Client, root: User) -> None:
    session = make_session("bad", session_id="", age=timedelta(days=400))
    run = run_cleanup(plan_cleanup(Criteria(expired=True, invalid=True), trigger="command", actor="ada"))
    html = as_operator.get(RUNS).content.decode()
    assert "expired (last accessed over 7 days ago) or invalid" in html
    assert "Command: ada" in html
    html = as_operator.get(
        f"/admin/sessions_app/archivedsession/?run={run.pk}&namespace=shop"
    ).content.decode()
    assert "The session id is missing." in html
    assert "Last accessed too long ago" in html
    assert (
        "0 archived sessions"
        in as_operator.get("/admin/sessions_app/archivedsession/?run=0").content.decode()
    )
    assert (
        "0 archived sessions"
        in as_operator.get("/admin/sessions_app/archivedsession/?run=x").content.decode()
    )
    as_operator.force_login(root)
    for address in (f"{RUNS}{run.pk}/", f"/admin/sessions_app/archivedsession/{session.pk}/"):
        assert as_operator.post(f"{address}delete/", {"post": "yes"}).status_code == 403
        assert as_operator.post(f"{address}change/", {"state": "planned"}).status_code == 200
    assert ArchivedSession.objects.count() == 1
    run.refresh_from_db()
    assert run.state == "succeeded"


def test_the_page_of_a_run_takes_a_fixed_number_of_queries(as_operator: Client) -> None:
    def queries_of(sessions: int) -> int:
        make_many(sessions, session_id="")
        run = run_cleanup(plan_cleanup(Criteria(invalid=True), trigger="admin"))
        with CaptureQueriesContext(connection) as queries:
            as_operator.get(f"{RUNS}{run.pk}/change/")
        assert not [query for query in queries if '"document"' in query["sql"]]
        return len(queries)

    assert queries_of(1) == queries_of(250)


def test_the_page_of_a_run_shows_sizes_before_and_after(as_operator: Client) -> None:
    make_session("bad", session_id="")
    make_session("fine")
    run = run_cleanup(plan_cleanup(Criteria(invalid=True), trigger="admin"))
    run.refresh_from_db()
    facts = page_at(as_operator, f"{RUNS}{run.pk}/change/").facts
    before, after, freed = run.before_bytes or 0, run.after_bytes or 0, run.removed_bytes
    assert facts["Size of scope"] == f"Before {before:,} bytes, after {after:,} bytes, freed {freed:,} bytes"
    assert facts["Sessions in scope"] == "2 → 1 session"
    assert facts["Freed"] == f"{freed:,} bytes of documents, not of disk"


def test_a_scope_that_grew_has_freed_nothing(as_operator: Client) -> None:
    make_session("bad", session_id="")
    run = run_cleanup(plan_cleanup(Criteria(invalid=True), trigger="admin"))
    CleanupRun.objects.filter(pk=run.pk).update(before_bytes=2_000, after_bytes=3_799)
    size = page_at(as_operator, f"{RUNS}{run.pk}/change/").facts["Size of scope"]
    assert size.startswith(f"Before 2,000 bytes, after 3,799 bytes. Removed {run.removed_bytes:,} bytes; ")


def test_a_run_without_archived_sessions_can_be_downloaded(as_operator: Client) -> None:
    kept = make_session("kept", session_id="")
    run = plan_cleanup(Criteria(invalid=True), trigger="admin")
    page, text = f"{RUNS}{run.pk}/change/", "The archive has no sessions of this run."
    assert text not in as_operator.get(page).content.decode()
    BrowserSession.objects.filter(pk=kept.pk).update(is_pinned=True)
    run_cleanup(run)
    html = as_operator.get(page).content.decode()
    assert text in html
    assert f"{RUNS}{run.pk}/sessions.json" in html


@pytest.mark.parametrize(
    ("named", "skipped", "matched", "note"),
    [
        (1, 1, 5, ""),
        (0, 7, 100_001, "Runs over 100,000 sessions only count them."),
        (1_000, 1_200, 5_000, "The first 100 are shown; the download has all of them."),
    ],
)
def test_skipped_sessions_are_listed_as_far_as_they_are_known(
    as_operator: Client, named: int, skipped: int, matched: int, note: str
) -> None:
    plan = plan_cleanup(Criteria(invalid=True), trigger="admin")
    rows = [{"namespace": "shop", "name": f"s-{n}", "because": "It was changed."} for n in range(named)]
    CleanupRun.objects.filter(pk=plan.pk).update(
        state="succeeded", matched_count=matched, skipped_count=skipped, skipped_sessions=rows
    )
    html = as_operator.get(f"{RUNS}{plan.pk}/change/").content.decode()
    assert html.count("It was changed.") == min(named, 100)
    assert note in html
    assert ("Listed by name" in html) is (skipped > named)
