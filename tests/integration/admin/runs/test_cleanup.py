from __future__ import annotations

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
from tests.factories import build_session, make_session

LIST = "/admin/sessions_app/browsersession/"
RUNS = "/admin/sessions_app/cleanuprun/"


@pytest.fixture
def at_work(client: Client, operator: User) -> Client:
    client.force_login(operator)
    return client


def select(client: Client, *sessions: BrowserSession, **more: Any) -> Any:
    data = {"action": "clean_up", "_selected_action": [session.pk for session in sessions], **more}
    return client.post(LIST, data)


def test_the_way_from_selection_to_run(at_work: Client) -> None:
    bad, old, other = make_session("bad", session_id=""), make_session("old"), make_session("other")
    plan = select(at_work, bad, old)["Location"]
    assert BrowserSession.objects.count() == 3
    html = at_work.get(plan).content.decode()
    assert "<strong>2 sessions</strong>" in html
    assert "Clean up 2 sessions</button>" in html
    assert "The session id is missing." in html
    assert f'name="{bad.pk}"' not in html
    assert "_selected_action" not in html
    response = at_work.post(plan, follow=True)
    run = CleanupRun.objects.get()
    assert response.redirect_chain == [(f"{RUNS}{run.pk}/change/", 302)]
    assert (run.trigger, run.actor, run.state) == ("admin", "operator", "succeeded")
    assert list(BrowserSession.objects.values_list("name", flat=True)) == ["other"]
    html = response.content.decode()
    assert "2 of 2 sessions removed" in html
    assert "bad" in html
    assert other.name not in html


def test_the_plan_is_the_removal(at_work: Client) -> None:
    touched, pinned, arrived = make_session("touched"), make_session("pinned"), make_session("arrived")
    gone = make_session("gone")
    plan = select(at_work, touched, pinned, arrived, gone)["Location"]
    BrowserSession.objects.filter(pk=touched.pk).update(last_accessed=timezone.now())
    BrowserSession.objects.filter(pk=pinned.pk).update(is_pinned=True)
    make_session("new", session_id="")
    html = at_work.get(plan).content.decode()
    assert "2 have changed or gone since the plan was made" in html
    assert "Clean up 2 sessions</button>" in html
    at_work.post(plan)
    run = CleanupRun.objects.get()
    assert (run.matched_count, run.removed_count, run.skipped_count) == (4, 2, 2)
    assert set(BrowserSession.objects.values_list("name", flat=True)) == {"touched", "pinned", "new"}


def test_the_plan_tells_which_of_the_selected_stay(at_work: Client) -> None:
    pinned, plain, gone = make_session(is_pinned=True), make_session(), make_session()
    data = {"action": "clean_up", "_selected_action": [pinned.pk, plain.pk, gone.pk]}
    plan = at_work.post(LIST, data)["Location"]
    html = at_work.get(plan).content.decode()
    assert "1 of the 3 selected is pinned and stays." in html
    assert "<strong>2 sessions</strong>" in html


def test_a_plan_with_nothing_to_take_has_no_button(at_work: Client) -> None:
    plan = select(at_work, make_session(is_pinned=True))["Location"]
    html = at_work.get(plan).content.decode()
    assert "Nothing to clean up." in html
    assert "<button" not in html.partition('id="content-main"')[2].partition("</form>")[0]


def test_a_plan_is_carried_out_once(at_work: Client) -> None:
    plan = select(at_work, make_session())["Location"]
    first = at_work.post(plan)
    second = at_work.post(plan)
    assert first["Location"] == second["Location"]
    assert CleanupRun.objects.get().removed_count == 1
    assert at_work.get(plan)["Location"] == first["Location"]


def test_all_that_match_the_filter_can_be_selected(at_work: Client) -> None:
    BrowserSession.objects.bulk_create(build_session(session_id="") for _ in range(150))
    survivor = make_session("fine")
    first = BrowserSession.objects.order_by("pk").values_list("pk", flat=True)[0]
    data = {"action": "clean_up", "select_across": "1", "_selected_action": [first]}
    plan = at_work.post(f"{LIST}?problem=any", data)["Location"]
    assert "Clean up 150 sessions" in at_work.get(plan).content.decode()
    second_page = at_work.get(f"{plan}?page=2").content.decode()
    assert "Sessions 101 to 150 of 150" in second_page
    at_work.post(plan, {"number": "150"})
    assert list(BrowserSession.objects.all()) == [survivor]


def test_a_selection_over_the_limit_does_nothing(at_work: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sessions_app.admin.sessions.admin.SELECTION_LIMIT", 2)
    response = select(at_work, *(make_session() for _ in range(3)))
    assert response["Location"] == LIST
    assert "at most 2 sessions" in at_work.get(LIST).content.decode()
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


def test_a_cleanup_that_takes_too_long_goes_on_in_the_worker(
    at_work: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    queued: list[tuple[Any, ...]] = []
    monkeypatch.setattr("sessions_app.queue.enqueue.async_task", lambda *task: queued.append(task))
    monkeypatch.setattr(actions, "REQUEST_SECONDS", 0)
    monkeypatch.setattr(batches, "BATCH_BYTES", 1)  # so that each batch is of one session
    plan = select(at_work, make_session(), make_session())["Location"]
    html = at_work.post(plan, follow=True).content.decode()
    run = CleanupRun.objects.get()
    assert queued == [("sessions_app.tasks.continue_cleanup", run.pk)]
    assert "The worker goes on with it." in html
    assert (run.state, run.removed_count) == ("interrupted", 1)
    assert "It waits for the worker" in html
    monkeypatch.undo()
    at_work.post(f"{RUNS}{run.pk}/resume/")
    run.refresh_from_db()
    assert (run.state, run.removed_count) == ("succeeded", 2)


def test_a_failure_is_told_on_the_page_of_the_run(at_work: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sessions_app.cleanup.runs._archive_batch", lambda *args: 1 / 0)
    plan = select(at_work, make_session())["Location"]
    html = at_work.post(plan, follow=True).content.decode()
    assert "ZeroDivisionError" in html
    assert "Failed" in html
    assert "Resume" in html
    assert BrowserSession.objects.count() == 1
    monkeypatch.undo()
    html = at_work.post(f"{RUNS}{CleanupRun.objects.get().pk}/resume/", follow=True).content.decode()
    assert "1 of 1 sessions removed" in html
    assert "Went wrong before" in html
    assert "Resumed by" in html
    assert "ZeroDivisionError" in html


def test_runs_and_archive_are_read_only_and_told_in_words(at_work: Client, root: User) -> None:
    session = make_session("bad", session_id="", age=timedelta(days=400))
    run = run_cleanup(plan_cleanup(Criteria(expired=True, invalid=True), trigger="command", actor="ada"))
    html = at_work.get(RUNS).content.decode()
    assert "expired (last accessed over 7 days ago) or invalid" in html
    assert "Command: ada" in html
    assert "1 of 1" in html
    html = at_work.get(
        f"/admin/sessions_app/archivedsession/?run={run.pk}&namespace=default"
    ).content.decode()
    assert "The session id is missing." in html
    assert "Last accessed too long ago" in html
    assert "0 archived sessions" in at_work.get("/admin/sessions_app/archivedsession/?run=0").content.decode()
    assert "0 archived sessions" in at_work.get("/admin/sessions_app/archivedsession/?run=x").content.decode()
    at_work.force_login(root)
    for address in (f"{RUNS}{run.pk}/", f"/admin/sessions_app/archivedsession/{session.pk}/"):
        assert at_work.post(f"{address}delete/", {"post": "yes"}).status_code == 403
        assert at_work.post(f"{address}change/", {"state": "planned"}).status_code == 200
    assert ArchivedSession.objects.count() == 1
    run.refresh_from_db()
    assert run.state == "succeeded"


def test_the_page_of_a_run_takes_a_fixed_number_of_queries(at_work: Client) -> None:
    def queries_of(sessions: int) -> int:
        BrowserSession.objects.bulk_create(build_session(session_id="") for _ in range(sessions))
        run = run_cleanup(plan_cleanup(Criteria(invalid=True), trigger="admin"))
        with CaptureQueriesContext(connection) as queries:
            at_work.get(f"{RUNS}{run.pk}/change/")
        assert not [query for query in queries if '"document"' in query["sql"]]
        return len(queries)

    assert queries_of(1) == queries_of(250)


def test_the_page_of_a_run_tells_before_after_and_freed(at_work: Client) -> None:
    make_session("bad", session_id="")
    make_session("fine")
    run = run_cleanup(plan_cleanup(Criteria(invalid=True), trigger="admin"))
    run.refresh_from_db()
    html = at_work.get(f"{RUNS}{run.pk}/change/").content.decode()
    before, after = run.before_bytes or 0, run.after_bytes or 0
    assert f"Before {before:,} bytes, after {after:,} bytes, freed {run.removed_bytes:,} bytes" in html
    assert "2 → 1 sessions" in html
    assert f"{run.removed_bytes:,} bytes of documents, not of disk" in html


def test_the_page_of_a_run_tells_when_more_came_than_went(at_work: Client) -> None:
    make_session("bad", session_id="")
    run = run_cleanup(plan_cleanup(Criteria(invalid=True), trigger="admin"))
    CleanupRun.objects.filter(pk=run.pk).update(before_bytes=2_000, after_bytes=3_799)
    html = at_work.get(f"{RUNS}{run.pk}/change/").content.decode()
    assert (
        f"Before 2,000 bytes, after 3,799 bytes. Removed {run.removed_bytes:,} bytes; "
        "other sessions came or went meanwhile"
    ) in html
    assert "-1,799" not in html


def test_a_run_of_which_nothing_is_archived_says_so_and_can_be_downloaded(at_work: Client) -> None:
    kept = make_session("kept", session_id="")
    run = plan_cleanup(Criteria(invalid=True), trigger="admin")
    page, words = f"{RUNS}{run.pk}/change/", "No session of this run is in the archive."
    assert words not in at_work.get(page).content.decode()
    BrowserSession.objects.filter(pk=kept.pk).update(is_pinned=True)
    run_cleanup(run)
    html = at_work.get(page).content.decode()
    assert words in html
    assert f"{RUNS}{run.pk}/sessions.json" in html


@pytest.mark.parametrize(
    ("named", "skipped", "matched", "words"),
    [
        (1, 1, 5, ""),
        (0, 7, 100_001, "Plans of over 100,000 sessions only count them."),
        (1_000, 1_200, 5_000, "The first 100 are shown; the download has all that are named."),
    ],
)
def test_what_was_skipped_is_told_as_far_as_it_is_known(
    at_work: Client, named: int, skipped: int, matched: int, words: str
) -> None:
    plan = plan_cleanup(Criteria(invalid=True), trigger="admin")
    rows = [{"namespace": "shop", "name": f"s-{n}", "because": "It was changed."} for n in range(named)]
    CleanupRun.objects.filter(pk=plan.pk).update(
        state="succeeded", matched_count=matched, skipped_count=skipped, skipped_sessions=rows
    )
    html = at_work.get(f"{RUNS}{plan.pk}/change/").content.decode()
    assert html.count("It was changed.") == min(named, 100)
    assert words in html
    assert ("skipped sessions are named" in html) is (skipped > named)
