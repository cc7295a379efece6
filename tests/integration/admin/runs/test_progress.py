"""What the worker is asked for, how far it is, and what a page says when it does not come."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django_q.models import OrmQ

from sessions_app.admin.runs import actions
from sessions_app.cleanup import plan_cleanup, run_cleanup
from sessions_app.models import BrowserSession, CleanupRun
from sessions_app.models.clock import database_now
from sessions_app.queue.enqueue import Task
from sessions_app.session.criteria import Criteria
from tests.factories import build_session, make_session

RUNS = "/admin/sessions_app/cleanuprun/"
RUN_TASK = Task.RUN_PLANNED
UNDO_TASK = "sessions_app.tasks.undo_run"


@pytest.fixture
def at_work(client: Client, operator: User) -> Client:
    client.force_login(operator)
    return client


@pytest.fixture
def large(db: None) -> CleanupRun:
    """A plan of 1,001 sessions of 2,100."""
    BrowserSession.objects.bulk_create(build_session(session_id="") for _ in range(1_001))
    BrowserSession.objects.bulk_create(build_session() for _ in range(1_099))
    return plan_cleanup(Criteria(invalid=True), trigger="admin", actor="operator")


def queued() -> list[tuple[Any, ...]]:
    return [(task.func(), *task.task["args"]) for task in OrmQ.objects.order_by("pk")]


def progress(client: Client, run: CleanupRun) -> dict[str, Any]:
    told: dict[str, Any] = client.get(f"{RUNS}{run.pk}/progress/").json()
    return told


def page(client: Client, run: CleanupRun) -> str:
    return client.get(f"{RUNS}{run.pk}/change/").content.decode()


def set_run(run: CleanupRun, **values: Any) -> None:
    CleanupRun.objects.filter(pk=run.pk).update(**values)


def test_what_is_large_is_given_to_the_worker_once(at_work: Client, large: CleanupRun) -> None:
    plan = f"{RUNS}{large.pk}/plan/"
    assert "The worker does it" in at_work.get(plan).content.decode()
    for _ in range(2):
        assert at_work.post(plan)["Location"] == f"{RUNS}{large.pk}/change/"
    assert queued() == [(RUN_TASK, large.pk, "admin", "operator")]
    assert BrowserSession.objects.count() == 2_100
    html = page(at_work, large)
    assert "It waits for the worker" in html
    assert "Queued" in html
    assert "progress.js" in html
    assert "Queued" in at_work.get(RUNS).content.decode()
    assert at_work.get(plan)["Location"] == f"{RUNS}{large.pk}/change/"


def test_two_clicks_at_the_same_time_are_one(large: CleanupRun) -> None:
    first, second = CleanupRun.objects.get(pk=large.pk), CleanupRun.objects.get(pk=large.pk)
    assert actions.queue_run(first, RUN_TASK, "admin", "operator")
    assert not actions.queue_run(second, RUN_TASK, "admin", "operator")
    assert len(queued()) == 1


def test_a_run_is_not_marked_when_the_queue_cannot_take_it(
    large: CleanupRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sessions_app.queue.enqueue.async_task", lambda *args: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        actions.queue_run(large, RUN_TASK)
    large.refresh_from_db()
    assert large.queued_at is None


def test_what_is_small_is_done_at_once(at_work: Client) -> None:
    BrowserSession.objects.bulk_create(build_session(session_id="") for _ in range(1_000))
    run = plan_cleanup(Criteria(invalid=True), trigger="admin")
    at_work.post(f"{RUNS}{run.pk}/plan/", {"number": "1000"})
    assert not BrowserSession.objects.exists()
    at_work.post(f"{RUNS}{run.pk}/undo/")
    assert BrowserSession.objects.count() == 1_000
    assert queued() == []


def test_a_large_undo_is_given_to_the_worker_once(at_work: Client, large: CleanupRun) -> None:
    at_work.post(f"{RUNS}{large.pk}/plan/")
    OrmQ.objects.all().delete()
    large.refresh_from_db()
    run_cleanup(large)
    assert "Undo</button>" in page(at_work, large)
    for _ in range(2):
        at_work.post(f"{RUNS}{large.pk}/undo/")
    assert queued() == [(UNDO_TASK, large.pk, "operator")]
    html = page(at_work, large)
    assert "It waits for the worker" in html
    assert "Undo</button>" not in html


def test_a_worker_that_does_not_come_is_told_and_can_be_asked_again(
    at_work: Client, large: CleanupRun
) -> None:
    plan = f"{RUNS}{large.pk}/plan/"
    at_work.post(plan)
    set_run(large, queued_at=database_now() - timedelta(minutes=3))
    assert progress(at_work, large)["phase"] == "late"
    html = page(at_work, large)
    assert "no worker seems to be running" in html
    assert "make up" in html
    assert plan in html
    at_work.post(plan)
    assert len(queued()) == 2
    at_work.post(f"{RUNS}{large.pk}/close/")
    assert "Closed by operator" in page(at_work, large)
    assert progress(at_work, large)["phase"] == "still"


def test_the_progress_is_in_sessions_bytes_rate_and_time(at_work: Client, large: CleanupRun) -> None:
    now = database_now()
    done = {"removed_count": 501, "removed_bytes": 2_048, "attempt": 1}
    set_run(large, state="running", started_at=now - timedelta(seconds=10), heartbeat_at=now, **done)
    told = progress(at_work, large)
    assert (told["state"], told["done"], told["total"], told["bytes"]) == ("running", 501, 1_001, 2_048)
    assert told["rate_per_second"] == pytest.approx(50, rel=0.2)
    assert told["seconds_left"] == pytest.approx(10, rel=0.2)
    assert told["is_dead"] is False
    html = page(at_work, large)
    assert '<progress id="progress-bar" max="1001" value="501"' in html
    assert "501 of 1,001 sessions removed" in html
    assert "sessions a second" in html
    assert "Load this page again" in html
    assert "Resume" not in html


def test_the_progress_of_an_undo_is_that_of_what_comes_back(at_work: Client, large: CleanupRun) -> None:
    now = database_now()
    done = {"removed_count": 1_001, "restored_count": 200, "restored_bytes": 7, "emptied_count": 1}
    set_run(large, state="undoing", started_at=now, undo_started_at=now, heartbeat_at=now, **done)
    told = progress(at_work, large)
    assert (told["done"], told["total"], told["bytes"]) == (200, 1_000, 7)
    assert "200 of 1,000 sessions back" in told["text"]


def test_the_rate_of_an_undo_that_was_gone_on_with_is_not_told(at_work: Client, large: CleanupRun) -> None:
    now = database_now()
    begun = {"started_at": now, "undo_started_at": now - timedelta(seconds=10), "heartbeat_at": now}
    set_run(large, state="undoing", removed_count=1_001, restored_count=500, attempt=2, **begun)
    assert progress(at_work, large)["rate_per_second"] == pytest.approx(50, rel=0.2)
    set_run(large, attempt=3)
    told = progress(at_work, large)
    assert (told["done"], told["rate_per_second"], told["seconds_left"]) == (500, None, None)


def test_an_undo_that_is_gone_on_with_waits_no_longer(at_work: Client, large: CleanupRun) -> None:
    now = database_now()
    begun = {"started_at": now - timedelta(seconds=90), "undo_started_at": now - timedelta(seconds=60)}
    asked = {"queued_at": now - timedelta(seconds=30), "heartbeat_at": now - timedelta(seconds=10)}
    set_run(large, state="interrupted", removed_count=1_001, restored_count=5, **begun, **asked)
    assert progress(at_work, large)["phase"] == "still"
    assert "Go on with the undo</button>" in page(at_work, large)


def test_a_large_rest_is_given_to_the_worker(at_work: Client, large: CleanupRun) -> None:
    set_run(large, state="interrupted", attempt=1)
    for _ in range(2):
        at_work.post(f"{RUNS}{large.pk}/resume/")
    assert queued() == [(RUN_TASK, large.pk, "admin", "operator")]
    assert BrowserSession.objects.count() == 2_100
    assert "It waits for the worker" in page(at_work, large)


@pytest.mark.parametrize("act", ["resume", "close"])
def test_a_click_on_one_dead_run_leaves_the_others_alone(at_work: Client, act: str) -> None:
    make_session("bad", session_id="")
    last_seen = database_now() - timedelta(minutes=3)
    clicked, other = (plan_cleanup(Criteria(invalid=True), trigger="admin") for _ in range(2))
    for run in (clicked, other):
        set_run(run, state="running", started_at=last_seen, heartbeat_at=last_seen, attempt=1)
    at_work.post(f"{RUNS}{clicked.pk}/{act}/")
    clicked.refresh_from_db()
    other.refresh_from_db()
    assert clicked.state in ("succeeded", "closed")
    assert other.state == "running"


def test_a_dead_run_is_told_and_resumed(
    at_work: Client, large: CleanupRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(actions, "REQUEST_SESSIONS", 1_001)
    last_seen = database_now() - timedelta(minutes=3)
    set_run(large, state="running", started_at=last_seen, heartbeat_at=last_seen, attempt=1)
    assert progress(at_work, large)["is_dead"] is True
    assert f"No sign of life since {last_seen:%H:%M:%S}" in page(at_work, large)
    at_work.post(f"{RUNS}{large.pk}/resume/")
    large.refresh_from_db()
    assert (large.state, large.removed_count) == ("succeeded", 1_001)


def test_a_dead_run_is_given_up(at_work: Client, large: CleanupRun) -> None:
    last_seen = database_now() - timedelta(minutes=3)
    set_run(large, state="running", started_at=last_seen, heartbeat_at=last_seen, attempt=1)
    at_work.post(f"{RUNS}{large.pk}/close/")
    large.refresh_from_db()
    assert (large.state, large.closed_by) == ("closed", "operator")


def test_a_dead_undo_goes_on(at_work: Client) -> None:
    make_session("back", session_id="")
    run = run_cleanup(plan_cleanup(Criteria(invalid=True), trigger="admin"))
    last_seen = database_now() - timedelta(minutes=3)
    set_run(run, state="undoing", undo_started_at=last_seen, heartbeat_at=last_seen)
    html = page(at_work, run)
    assert "Go on with the undo</button>" in html
    assert "Resume</button>" not in html
    assert "Close</button>" not in html
    at_work.post(f"{RUNS}{run.pk}/resume/")
    run.refresh_from_db()
    assert (run.state, run.restored_count) == ("undone", 1)


def test_a_run_that_lives_is_not_closed(at_work: Client, large: CleanupRun) -> None:
    set_run(large, state="running", started_at=database_now(), heartbeat_at=database_now(), attempt=1)
    html = at_work.post(f"{RUNS}{large.pk}/close/", follow=True).content.decode()
    assert "is running already" in html


@pytest.mark.parametrize("state", ["interrupted", "failed"])
def test_a_run_that_stopped_can_be_resumed_given_up_and_undone(
    at_work: Client, large: CleanupRun, state: str
) -> None:
    run_cleanup(large)
    set_run(large, state=state, matched_count=1_500)
    html = page(at_work, large)
    for button in ("Resume", "Close", "Undo"):
        assert f"{button}</button>" in html
    assert "progress.js" not in html
    html = at_work.post(f"{RUNS}{large.pk}/close/", follow=True).content.decode()
    assert "Closed by operator" in html
    assert "Undo</button>" in html
    assert "Resume</button>" not in html


def test_progress_is_for_those_who_see_runs(
    client: Client, viewer: User, outsider: User, large: CleanupRun
) -> None:
    address = f"{RUNS}{large.pk}/progress/"
    client.force_login(viewer)
    assert "no-store" in client.get(address)["Cache-Control"]
    assert client.get(f"{RUNS}999999/progress/").status_code == 404
    client.force_login(outsider)
    assert client.get(address).status_code == 302
    outsider.is_staff = True
    outsider.save()
    client.force_login(outsider)
    assert client.get(address).status_code == 403
