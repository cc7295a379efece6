"""The dashboard polls its state, and does not report a worker that may still be starting."""

from __future__ import annotations

import time
from datetime import timedelta

import pytest
from django.contrib.auth.models import User
from django.test import Client

from sessions_app.admin import dashboard
from sessions_app.models import Machine, QueuedTask
from sessions_app.queue.enqueue import Task
from sessions_app.queue.start import START_SECONDS, WEB_STARTED_AT
from sessions_app.queue.worker import WorkerState, worker_state
from tests.clients import html_of
from tests.factories import AS_OF, make_policy, make_session, run_sweep

pytestmark = pytest.mark.django_db
STATE = "/admin/state/"


def phase(client: Client) -> str:
    state: str = client.get(STATE).json()["phase"]
    return state


class TestState:
    def test_the_state_is_the_digest_of_the_page(self, as_root: Client) -> None:
        assert f'data-phase="{phase(as_root)}"' in html_of(as_root, "/admin/")

    def test_needs_neither_the_chart_nor_the_folder_of_the_page(
        self, as_root: Client, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def fail(*args: object, **kwargs: object) -> None:
            raise AssertionError("only the page shows it")

        for name in ("history", "find_folder"):
            monkeypatch.setattr(dashboard, name, fail)
        assert phase(as_root)

    def test_the_state_stays_the_same_while_nothing_changes(self, as_root: Client) -> None:
        make_session()
        assert phase(as_root) == phase(as_root)

    def test_the_state_changes_with_sessions_and_plans_that_need_approval(self, as_root: Client) -> None:
        make_session("bad", session_id="")
        first = phase(as_root)
        make_session()
        second = phase(as_root)
        run_sweep(make_policy("Team", "invalid", brake_count=0))
        assert len({first, second, phase(as_root)}) == 3

    def test_requires_a_login(self, client: Client) -> None:
        assert client.get(STATE).status_code == 302

    def test_users_without_a_role_see_no_state(self, client: Client) -> None:
        client.force_login(User.objects.create_user("new", is_staff=True))
        before = phase(client)
        make_session()
        assert phase(client) == before
        assert 'id="poll"' not in html_of(client, "/admin/")


class TestRestart:
    @pytest.fixture
    def started(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv(WEB_STARTED_AT, str(time.time()))

    @pytest.mark.usefixtures("started")
    def test_a_worker_without_a_heartbeat_counts_as_starting(self) -> None:
        assert worker_state(AS_OF).state == WorkerState.STARTING
        Machine.objects.create(
            name="runner", started_at=AS_OF - timedelta(days=1), heartbeat_at=AS_OF - timedelta(hours=9)
        )
        assert worker_state(AS_OF).state == WorkerState.STARTING

    def test_a_minute_later_it_is_missing(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv(WEB_STARTED_AT, str(time.time() - START_SECONDS))
        assert worker_state(AS_OF).state == WorkerState.NEVER

    def test_tasks_that_waited_before_the_worker_started_are_not_reported(self) -> None:
        Machine.objects.create(name="runner", started_at=AS_OF, heartbeat_at=AS_OF)
        QueuedTask.objects.create(task=Task.TIDY_UP.value, queued_at=AS_OF - timedelta(hours=9))
        assert worker_state(AS_OF).state == WorkerState.STARTING
        Machine.objects.update(started_at=AS_OF - timedelta(hours=10))
        assert worker_state(AS_OF).state == WorkerState.BEHIND
