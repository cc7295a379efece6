from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import Group, User
from django.test import Client

from sessions_app.admin import queue
from sessions_app.admin.queue import CONCEALED, title_of
from sessions_app.models import LimitedNamespace, Machine, QueuedTask
from sessions_app.models.clock import database_now
from sessions_app.queue.enqueue import Task
from tests.clients import Page
from tests.factories import ENDPOINT, Queued

QUEUE = "/admin/sessions_app/queuedtask/"

pytestmark = pytest.mark.django_db


@pytest.fixture
def task() -> QueuedTask:
    now = database_now()
    Machine.objects.create(name="runner", heartbeat_at=now)
    return QueuedTask.objects.create(
        task=Task.TAKE_SNAPSHOT.value,
        due_at=now - timedelta(minutes=1),
        started_at=now - timedelta(seconds=3),
        finished_at=now,
        message="3 sessions counted, 12 bytes.",
    )


def test_jobs_machines_and_results_are_shown_in_words(as_root: Client, task: QueuedTask) -> None:
    html = as_root.get(QUEUE).content.decode()
    for text in ("Count sessions", "Every 15 minutes", "3 sessions counted", "3 seconds", "runner"):
        assert text in html
    html = as_root.get(f"{QUEUE}{task.pk}/change/").content.decode()
    for text in ("3 sessions counted", f"Task {task.pk}", "any machine"):
        assert text in html
    assert task.task not in html


def test_the_machines_with_the_latest_heartbeats_are_shown(
    as_root: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(queue, "MACHINES_SHOWN", 2)
    now = database_now()
    for hours, name in enumerate(("runner-b", "runner-a")):
        Machine.objects.create(name=name, heartbeat_at=now - timedelta(hours=hours))
    assert "latest heartbeats" not in as_root.get(QUEUE).content.decode()
    Machine.objects.create(name="runner-old", heartbeat_at=now - timedelta(days=3))
    html = as_root.get(QUEUE).content.decode()
    assert "Only the 2 machines with the latest heartbeats are shown." in html
    assert ">runner-old</th>" not in html
    assert html.index(">runner-a</th>") < html.index(">runner-b</th>")


def test_a_failure_shows_no_endpoint(as_root: Client, task: QueuedTask) -> None:
    QueuedTask.objects.update(has_failed=True, message=f"ValueError: not at {ENDPOINT}")
    for address in (f"{QUEUE}?state=failed", f"{QUEUE}{task.pk}/change/"):
        html = as_root.get(address).content.decode()
        assert "ValueError: not at" in html
        assert "secret" not in html


def test_filters_find_states_and_tasks(as_root: Client, task: QueuedTask) -> None:
    QueuedTask.objects.create(task=Task.TIDY_UP.value)
    for query, count in (
        ("state=open", 1),
        ("state=failed", 0),
        ("task=take_snapshot", 1),
        ("task=sweep", 0),
    ):
        assert as_root.get(f"{QUEUE}?{query}").context["cl"].result_count == count, query


@pytest.mark.parametrize(("role", "status"), [("Viewer", 403), ("Operator", 403), ("Administrator", 200)])
def test_administrators_see_the_queue(client: Client, viewer: User, role: str, status: int) -> None:
    viewer.groups.set([Group.objects.get(name=role)])
    client.force_login(viewer)
    assert client.get(QUEUE).status_code == status


def test_results_are_concealed_from_users_who_do_not_see_all_namespaces(
    client: Client, viewer: User, task: QueuedTask
) -> None:
    viewer.groups.set([Group.objects.get(name="Administrator")])
    LimitedNamespace.objects.create(namespace="secret-team")
    client.force_login(viewer)
    for address in (QUEUE, f"{QUEUE}{task.pk}/change/"):
        html = client.get(address).content.decode()
        assert "3 sessions counted" not in html
        assert CONCEALED in html


def test_nothing_can_be_run_from_the_queue(as_root: Client, task: QueuedTask, queued: Queued) -> None:
    assert as_root.get(f"{QUEUE}add/").status_code == 403
    assert as_root.post(f"{QUEUE}{task.pk}/change/", {"task": "os.system"}).status_code == 403
    assert as_root.post(f"{QUEUE}{task.pk}/delete/", {"post": "yes"}).status_code == 403
    assert "action-select" not in as_root.get(QUEUE).content.decode()
    for model in ("schedule", "success", "failure", "ormq"):
        assert as_root.get(f"/admin/django_q/{model}/").status_code == 404
    assert queued == [(Task.TAKE_SNAPSHOT.value,)]


def test_the_number_of_queries_does_not_depend_on_the_number_of_tasks(
    as_root: Client, task: QueuedTask, django_assert_max_num_queries: Any
) -> None:
    for number in range(20):
        QueuedTask.objects.create(task=Task.SWEEP.value, arguments=[number])
        Machine.objects.create(name=f"runner-{number}", heartbeat_at=database_now())
    with django_assert_max_num_queries(20):
        assert "Sweep of a policy" in Page(as_root.get(QUEUE).content.decode()).text


def test_every_task_has_a_title_in_words() -> None:
    # The tick is not shown, because it only queues the other tasks.
    assert [task for task in Task if task is not Task.TICK and title_of(task) == task.value] == []
