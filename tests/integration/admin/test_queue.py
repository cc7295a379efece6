from __future__ import annotations

from datetime import timedelta

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.utils import timezone
from django_q.models import OrmQ, Schedule, Success, Task

from tests.factories import ENDPOINT

QUEUE = "/admin/django_q/"


@pytest.fixture
def schedule(db: None) -> Schedule:
    now = timezone.now()
    task = Task.objects.create(
        id="a" * 32, name="nightly", func="sessions_app.tasks.sweep_expired", started=now,
        stopped=now + timedelta(seconds=3), success=True, result="3 expired", args=(), kwargs={},
    )  # fmt: skip
    return Schedule.objects.create(
        name="sweep_expired",
        func="sessions_app.tasks.sweep_expired",
        schedule_type=Schedule.DAILY,
        task=task.id,
    )


def test_schedules_and_results_can_be_read(client: Client, root: User, schedule: Schedule) -> None:
    client.force_login(root)
    html = client.get(f"{QUEUE}schedule/").content.decode()
    assert "sweep_expired" in html
    assert "Succeeded" in html
    assert "Daily" in html
    assert "sweep_expired" in client.get(f"{QUEUE}schedule/{schedule.pk}/change/").content.decode()
    assert "3 expired" in client.get(f"{QUEUE}success/").content.decode()
    assert "3 expired" in client.get(f"{QUEUE}success/{'a' * 32}/change/").content.decode()


def test_a_failure_shows_its_last_line_and_no_endpoint(
    client: Client, root: User, schedule: Schedule
) -> None:
    Task.objects.update(success=False, result=f"Traceback …\n  at {ENDPOINT}\nValueError: no {ENDPOINT}")
    client.force_login(root)
    for address in (f"{QUEUE}failure/", f"{QUEUE}failure/{'a' * 32}/change/"):
        html = client.get(address).content.decode()
        assert "ValueError: no" in html
        assert "secret" not in html


def test_nothing_can_be_run_from_the_queue(client: Client, root: User, schedule: Schedule) -> None:
    client.force_login(root)
    assert client.get(f"{QUEUE}schedule/add/").status_code == 403
    assert client.get(f"{QUEUE}ormq/").status_code == 404
    for model, pk in (("schedule", schedule.pk), ("success", "a" * 32)):
        assert client.post(f"{QUEUE}{model}/{pk}/change/", {"func": "os.system"}).status_code == 403
        assert client.post(f"{QUEUE}{model}/{pk}/delete/", {"post": "yes"}).status_code == 403
        client.post(f"{QUEUE}{model}/", {"action": "resubmit_task", "_selected_action": [pk]})
        html = client.get(f"{QUEUE}{model}/").content.decode()
        assert "resubmit" not in html
        assert "action-select" not in html
    schedule.refresh_from_db()
    assert schedule.func == "sessions_app.tasks.sweep_expired"
    assert Success.objects.count() == 1
    assert not OrmQ.objects.exists()
