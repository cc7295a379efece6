"""Closing browsers through the worker of another machine."""

from __future__ import annotations

import time
from datetime import timedelta
from functools import partial

import pytest

from sessions_app import liveness, tasks
from sessions_app.cleanup import plan_cleanup, run_cleanup
from sessions_app.cleanup.closings import Closing
from sessions_app.deadline import Deadline
from sessions_app.liveness import browsers_here, close_for_run, close_sessions, digest_of
from sessions_app.models import BrowserSession, Machine, Probe, QueuedTask, SessionEvent
from sessions_app.models.clock import database_now
from sessions_app.queue.enqueue import Task
from sessions_app.session.criteria import Criteria
from tests.factories import make_session, rewrite

pytestmark = pytest.mark.django_db

WAIT_SECONDS = 0.3


@pytest.fixture
def session(monkeypatch: pytest.MonkeyPatch) -> BrowserSession:
    """A session of another machine whose worker has a heartbeat but runs no task."""
    monkeypatch.setattr("sessions_app.liveness.elsewhere.WAIT", timedelta(seconds=WAIT_SECONDS))
    for name in ("runner-1", "runner-2"):
        Machine.objects.create(name=name, heartbeat_at=database_now())
    return make_session("there", metadata={"raptor_admin": {"machine": "runner-2"}})


def test_a_worker_that_does_not_answer_leaves_the_session_and_the_reason(session: BrowserSession) -> None:
    (closing,) = close_sessions([session.pk], actor="root")
    assert closing.reason == "The worker of the machine runner-2 did not answer in time."
    event = SessionEvent.objects.get()
    assert (event.code, event.details) == ("not_closed", closing.reason)


def test_a_scheduled_probe_in_the_meantime_does_not_count_as_an_answer(session: BrowserSession) -> None:
    now = database_now() + timedelta(seconds=5)
    Probe.objects.create(session=session, due_at=now, probed_at=now, result="alive")
    assert close_sessions([session.pk], actor="root")[0].reason


def test_the_task_of_a_request_that_has_ended_closes_nothing(session: BrowserSession) -> None:
    close_sessions([session.pk], actor="root")
    task = QueuedTask.objects.get(task=Task.CLOSE_BROWSERS)
    assert task.has_failed
    assert task.finished_at is not None
    QueuedTask.objects.update(queued_at=database_now() - timedelta(minutes=5))
    late = (database_now() - timedelta(seconds=1)).isoformat()
    assert tasks.close_browsers(task.arguments[0], "root", late).startswith("The request has expired")


def test_a_session_that_was_saved_again_keeps_its_new_browser(session: BrowserSession) -> None:
    endpoints = [(session.pk, digest_of(session.cdp_url))]
    Machine.objects.all().delete()
    BrowserSession.objects.update(machine=None)
    assert [one.pk for one in browsers_here(endpoints)] == [session.pk]
    rewrite(BrowserSession.objects.all(), cdp_url="ws://127.0.0.1:1/devtools/browser/new")
    assert browsers_here(endpoints) == []


def test_the_browser_of_an_unknown_machine_is_not_contacted(session: BrowserSession) -> None:
    Machine.objects.filter(name="runner-2").delete()
    (closing,) = close_sessions([session.pk], actor="root")
    assert "Its machine is unknown" in closing.reason
    assert not QueuedTask.objects.exists()


def test_a_run_waits_for_the_worker_of_another_machine(session: BrowserSession) -> None:
    """Check that a session is not skipped because the run ended its wait early."""
    plan = plan_cleanup(Criteria(all=True), trigger="admin", closes_browsers=True)
    began = time.monotonic()
    close = partial(close_for_run, plan)
    run_cleanup(plan, before_removal=close, deadline=Deadline.after(0.05))
    assert time.monotonic() - began >= WAIT_SECONDS
    run_cleanup(plan, before_removal=close)
    assert (plan.removed_count, plan.skipped_reasons) == (0, {"not_closed": 1})
    assert BrowserSession.objects.exists()


def test_a_task_closes_nothing_after_its_request_has_expired(
    session: BrowserSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Deadline] = []

    def close_here(browsers: object, *, deadline: Deadline, **more: object) -> list[Closing]:
        seen.append(deadline)
        return []

    monkeypatch.setattr(liveness, "close_here", close_here)
    until = (database_now() + timedelta(seconds=0.2)).isoformat()
    tasks.close_browsers([(session.pk, digest_of(session.cdp_url), False)], "root", until)
    time.sleep(0.3)
    assert seen[0].has_passed
