"""Queued runs: what the worker is asked to do, their progress, and their pages when it is late."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client

from sessions_app.admin.runs import actions
from sessions_app.admin.runs.progress import Progress, progress_of
from sessions_app.cleanup import plan_cleanup, run_cleanup
from sessions_app.models import BrowserSession, CleanupRun, QueuedTask
from sessions_app.models.clock import database_now
from sessions_app.queue.enqueue import Task
from sessions_app.session.criteria import Criteria
from tests.clients import Page
from tests.factories import Queued, make_many, make_session

RUNS = "/admin/sessions_app/cleanuprun/"
RUN_TASK = Task.RUN_PLANNED
UNDO_TASK = "sessions_app.tasks.undo_run"


@pytest.fixture
def large(db: None) -> CleanupRun:
    """A plan of 1,001 sessions of 2,100."""
    make_many(1_001, session_id="")
    make_many(1_099)
    return plan_cleanup(Criteria(invalid=True), trigger="admin", actor="operator")


def poll(client: Client, run: CleanupRun) -> dict[str, Any]:
    state: dict[str, Any] = client.get(f"{RUNS}{run.pk}/progress/").json()
    return state


def progress(run: CleanupRun) -> Progress:
    return progress_of(CleanupRun.objects.get(pk=run.pk), database_now())


def phase(client: Client, run: CleanupRun) -> str:
    return str(client.get(f"{RUNS}{run.pk}/change/").context["progress"].phase)


def page(client: Client, run: CleanupRun) -> str:
    return client.get(f"{RUNS}{run.pk}/change/").content.decode()


def set_run(run: CleanupRun, **values: Any) -> None:
    CleanupRun.objects.filter(pk=run.pk).update(**values)


def test_a_large_plan_is_queued_once(as_operator: Client, large: CleanupRun, queued: Queued) -> None:
    plan = f"{RUNS}{large.pk}/plan/"
    assert as_operator.get(plan).context["is_large"]
    for _ in range(2):
        assert as_operator.post(plan)["Location"] == f"{RUNS}{large.pk}/change/"
    assert queued == [(RUN_TASK, large.pk, "admin", "operator")]
    assert BrowserSession.objects.count() == 2_100
    html = page(as_operator, large)
    assert phase(as_operator, large) == "waiting"
    assert "Queued" in html
    assert "poll.js" in html
    assert "Queued" in as_operator.get(RUNS).content.decode()
    assert as_operator.get(plan)["Location"] == f"{RUNS}{large.pk}/change/"


def test_two_simultaneous_clicks_queue_one_task(large: CleanupRun, queued: Queued) -> None:
    first, second = CleanupRun.objects.get(pk=large.pk), CleanupRun.objects.get(pk=large.pk)
    assert actions.queue_run(first, RUN_TASK, "admin", "operator")
    assert not actions.queue_run(second, RUN_TASK, "admin", "operator")
    assert len(queued) == 1


def test_a_small_plan_runs_within_the_request(as_operator: Client, queued: Queued) -> None:
    make_many(1_000, session_id="")
    run = plan_cleanup(Criteria(invalid=True), trigger="admin")
    as_operator.post(f"{RUNS}{run.pk}/plan/", {"number": "1000"})
    assert not BrowserSession.objects.exists()
    as_operator.post(f"{RUNS}{run.pk}/undo/")
    assert BrowserSession.objects.count() == 1_000
    assert queued == []


def test_a_large_undo_is_queued_once(as_operator: Client, large: CleanupRun, queued: Queued) -> None:
    as_operator.post(f"{RUNS}{large.pk}/plan/")
    QueuedTask.objects.all().delete()
    large.refresh_from_db()
    run_cleanup(large)
    assert "Undo</button>" in page(as_operator, large)
    for _ in range(2):
        as_operator.post(f"{RUNS}{large.pk}/undo/")
    assert queued == [(UNDO_TASK, large.pk, "operator")]
    assert phase(as_operator, large) == "waiting"
    assert "Undo</button>" not in page(as_operator, large)


def test_a_task_that_no_worker_starts_is_shown_and_can_be_queued_again(
    as_operator: Client, large: CleanupRun, queued: Queued
) -> None:
    plan = f"{RUNS}{large.pk}/plan/"
    as_operator.post(plan)
    set_run(large, queued_at=database_now() - timedelta(minutes=3))
    assert poll(as_operator, large)["phase"] == "late"
    html = page(as_operator, large)
    assert "no worker seems to be running" in html
    assert "manage.py qcluster" in html
    assert plan in html
    as_operator.post(plan)
    assert len(queued) == 1, "the task is still queued"
    as_operator.post(f"{RUNS}{large.pk}/close/")
    assert "Closed by operator" in page(as_operator, large)
    assert poll(as_operator, large)["phase"] == "done"


def test_the_progress_has_sessions_bytes_rate_and_time(as_operator: Client, large: CleanupRun) -> None:
    now = database_now()
    done = {"removed_count": 501, "removed_bytes": 2_048, "attempt": 1}
    set_run(large, state="running", started_at=now - timedelta(seconds=10), heartbeat_at=now, **done)
    state = poll(as_operator, large)
    assert list(state) == ["phase", "text", "done", "total", "is_paused"]
    assert (state["phase"], state["done"], state["total"], state["is_paused"]) == (
        "working",
        501,
        1_001,
        False,
    )
    assert progress(large).bytes == 2_048
    assert progress(large).rate_per_second == pytest.approx(50, rel=0.2)
    assert progress(large).seconds_left == pytest.approx(10, rel=0.2)
    html = page(as_operator, large)
    assert '<progress id="poll-bar" max="1001" value="501"' in html
    assert "501 of 1,001 sessions removed" in html
    assert "sessions a second" in html
    assert "Reload this page" in Page(html).links
    assert "Resume" not in html


def test_the_progress_of_an_undo_counts_restored_sessions(as_operator: Client, large: CleanupRun) -> None:
    now = database_now()
    done = {"removed_count": 1_001, "restored_count": 200, "restored_bytes": 7, "emptied_count": 1}
    set_run(large, state="undoing", started_at=now, undo_started_at=now, heartbeat_at=now, **done)
    assert progress(large).bytes == 7
    assert poll(as_operator, large)["text"].startswith("200 of 1,000 sessions restored")


def test_a_resumed_undo_has_no_rate(as_operator: Client, large: CleanupRun) -> None:
    now = database_now()
    begun = {"started_at": now, "undo_started_at": now - timedelta(seconds=10), "heartbeat_at": now}
    set_run(large, state="undoing", removed_count=1_001, restored_count=500, attempt=2, **begun)
    assert progress(large).rate_per_second == pytest.approx(50, rel=0.2)
    set_run(large, attempt=3)
    resumed = progress(large)
    assert (resumed.done, resumed.rate_per_second, resumed.seconds_left) == (500, None, None)


def test_a_resumed_undo_no_longer_waits(as_operator: Client, large: CleanupRun) -> None:
    now = database_now()
    begun = {"started_at": now - timedelta(seconds=90), "undo_started_at": now - timedelta(seconds=60)}
    asked = {"queued_at": now - timedelta(seconds=30), "heartbeat_at": now - timedelta(seconds=10)}
    set_run(large, state="interrupted", removed_count=1_001, restored_count=5, **begun, **asked)
    assert poll(as_operator, large)["phase"] == "done"
    assert "Resume the undo</button>" in page(as_operator, large)


def test_a_large_remainder_is_queued(as_operator: Client, large: CleanupRun, queued: Queued) -> None:
    set_run(large, state="interrupted", attempt=1)
    for _ in range(2):
        as_operator.post(f"{RUNS}{large.pk}/resume/")
    assert queued == [(RUN_TASK, large.pk, "admin", "operator")]
    assert BrowserSession.objects.count() == 2_100
    assert phase(as_operator, large) == "waiting"


@pytest.mark.parametrize("act", ["resume", "close"])
def test_resuming_one_stalled_run_leaves_the_others(as_operator: Client, act: str) -> None:
    make_session("bad", session_id="")
    last_seen = database_now() - timedelta(minutes=3)
    clicked, other = (plan_cleanup(Criteria(invalid=True), trigger="admin") for _ in range(2))
    for run in (clicked, other):
        set_run(run, state="running", started_at=last_seen, heartbeat_at=last_seen, attempt=1)
    as_operator.post(f"{RUNS}{clicked.pk}/{act}/")
    clicked.refresh_from_db()
    other.refresh_from_db()
    assert clicked.state in ("succeeded", "closed")
    assert other.state == "running"


def test_a_stalled_run_is_shown_and_resumed(
    as_operator: Client, large: CleanupRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(actions, "REQUEST_SESSIONS", 1_001)
    last_seen = database_now() - timedelta(minutes=3)
    set_run(large, state="running", started_at=last_seen, heartbeat_at=last_seen, attempt=1)
    assert poll(as_operator, large)["phase"] == "stalled"
    assert f"No heartbeat since {last_seen:%H:%M:%S}" in page(as_operator, large)
    as_operator.post(f"{RUNS}{large.pk}/resume/")
    large.refresh_from_db()
    assert (large.state, large.removed_count) == ("succeeded", 1_001)


def test_a_stalled_run_can_be_closed(as_operator: Client, large: CleanupRun) -> None:
    last_seen = database_now() - timedelta(minutes=3)
    set_run(large, state="running", started_at=last_seen, heartbeat_at=last_seen, attempt=1)
    as_operator.post(f"{RUNS}{large.pk}/close/")
    large.refresh_from_db()
    assert (large.state, large.closed_by) == ("closed", "operator")


def test_a_stalled_undo_can_be_resumed(as_operator: Client) -> None:
    make_session("back", session_id="")
    run = run_cleanup(plan_cleanup(Criteria(invalid=True), trigger="admin"))
    last_seen = database_now() - timedelta(minutes=3)
    set_run(run, state="undoing", undo_started_at=last_seen, heartbeat_at=last_seen)
    html = page(as_operator, run)
    assert "Resume the undo</button>" in html
    assert "Resume</button>" not in html
    assert "Close</button>" not in html
    as_operator.post(f"{RUNS}{run.pk}/resume/")
    run.refresh_from_db()
    assert (run.state, run.restored_count) == ("undone", 1)


def test_a_running_cleanup_cannot_be_closed(as_operator: Client, large: CleanupRun) -> None:
    set_run(large, state="running", started_at=database_now(), heartbeat_at=database_now(), attempt=1)
    html = as_operator.post(f"{RUNS}{large.pk}/close/", follow=True).content.decode()
    assert "is already running" in html


@pytest.mark.parametrize("state", ["interrupted", "failed"])
def test_a_stopped_run_can_be_resumed_closed_and_undone(
    as_operator: Client, large: CleanupRun, state: str
) -> None:
    run_cleanup(large)
    set_run(large, state=state, matched_count=1_500)
    html = page(as_operator, large)
    for button in ("Resume", "Close", "Undo"):
        assert f"{button}</button>" in html
    assert "poll.js" not in html
    html = as_operator.post(f"{RUNS}{large.pk}/close/", follow=True).content.decode()
    assert "Closed by operator" in html
    assert "Undo</button>" in html
    assert "Resume</button>" not in html


def test_progress_requires_a_permission(
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
