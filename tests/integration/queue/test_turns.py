"""A long task ends early if another one waits for a worker of its machine."""

from __future__ import annotations

from typing import Any

import pytest

from sessions_app.models import QueuedTask
from sessions_app.models.clock import database_now
from sessions_app.queue import turns
from sessions_app.queue.enqueue import Task
from sessions_app.queue.turns import Turn

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def no_minimum(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(turns, "TURN_SECONDS", 0)


def is_over() -> bool:
    return Turn.of(Task.PROBE_SESSIONS, seconds=60).has_passed


def test_a_task_for_any_machine_ends_it() -> None:
    assert not is_over()
    QueuedTask.objects.create(task=Task.SWEEP.value)
    assert is_over()
    QueuedTask.objects.update(started_at=database_now())
    assert not is_over()


def test_a_task_for_this_machine_ends_it_and_others_do_not(settings: Any) -> None:
    settings.RAPTOR_MACHINE = "here"
    QueuedTask.objects.create(task=Task.SYNC_DIRECTORIES.value, machine="gone")
    assert not is_over()
    QueuedTask.objects.create(task=Task.SYNC_DIRECTORIES.value, machine="here")
    assert is_over()


def test_another_task_of_its_kind_does_not_end_it() -> None:
    QueuedTask.objects.create(task=Task.PROBE_SESSIONS.value)
    assert not is_over()
