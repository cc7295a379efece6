"""Rows that somebody with rights on the tables of django-q2 planted run nothing and stop nothing."""

from __future__ import annotations

import os
import pickle
import time
from base64 import b64encode
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client
from django_q.models import OrmQ, Schedule
from django_q.signing import SignedPackage

from sessions_app.models import QueuedTask
from sessions_app.models.clock import database_now
from sessions_app.queue.enqueue import Task
from sessions_app.queue.outbox import KEPT_RESULTS, enqueue
from tests.stress.task_queue import worker

OWN_TASKS = 200
PAGES = ("", "sessions_app/queuedtask/", "sessions_app/queuedtask/?state=failed")


class Planted:
    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> Any:
        return (os.mkdir, (str(self.marker),))


def plant(folder: Path) -> None:
    """Plant rows in each table. Whatever runs one of them makes a marker in a folder."""
    due_at, command = database_now() - timedelta(minutes=1), f"touch {folder}/"
    schedule: dict[str, Any] = {"next_run": due_at, "schedule_type": Schedule.MINUTES, "minutes": 1}
    for number, fields in enumerate(
        (
            {"func": "os.system", "args": f"'{command}function'"},
            {"func": Task.TIDY_UP.value, "hook": "os.system"},
            {
                "func": Task.TIDY_UP.value,
                "kwargs": f"q_options={{'chain': [('os.system', ('{command}c',))]}}",
            },
            {"func": Task.TICK.value, "args": "('"},
            {"func": "os.system", "args": "("},
            {"func": "no.such.module", "kwargs": "{{"},
        )
    ):
        Schedule.objects.create(name=f"planted {number}", **schedule, **fields)
    signed: tuple[dict[str, Any], ...] = (
        {"func": "os.system", "args": (f"{command}message",)},
        {"func": Task.TIDY_UP.value, "hook": "os.system"},
        {"func": Task.TIDY_UP.value, "chain": [("os.system", (f"{command}chain",))]},
    )
    common: dict[str, Any] = {"id": "1", "name": "n", "args": (), "kwargs": {}}
    payloads = [SignedPackage.dumps({**common, **task}) for task in signed]
    # A message of an older version, whose result django-q2 would store.
    payloads.append(SignedPackage.dumps({**common, "func": Task.TAKE_SNAPSHOT.value}))
    payloads += ["nonsense", b64encode(pickle.dumps(Planted(folder / "payload"))).decode()]
    for payload in payloads:
        OrmQ.objects.create(key="raptor", payload=payload, lock=due_at)
    with connection.cursor() as cursor:
        for number, table_value in enumerate(("args", "kwargs", "result")):
            pickled = b64encode(pickle.dumps(Planted(folder / table_value))).decode()
            values = {"args": None, "kwargs": None, "result": None, table_value: pickled}
            cursor.execute(
                "INSERT INTO django_q_task (id, name, func, args, kwargs, result, started, stopped, success, "
                "attempt_count) VALUES (%s, 'n', %s, %s, %s, %s, %s, %s, %s, 1)",
                [f"{number}" * 32, Task.TAKE_SNAPSHOT.value, *values.values(), due_at, due_at, number > 0],
            )


@pytest.mark.django_db(transaction=True)
def test_planted_rows_run_nothing_and_stop_nothing(
    tmp_path: Path, client: Client, root: User, note: Callable[[str], None]
) -> None:
    markers = tmp_path / "markers"
    markers.mkdir()
    plant(markers)
    client.force_login(root)
    with worker(tmp_path / "var") as queue:
        for number in range(OWN_TASKS):
            enqueue(Task.CONTINUE_UNDO, number)
        until = time.monotonic() + 120
        jobs = QueuedTask.objects.exclude(due_at=None).exclude(finished_at=None)
        while QueuedTask.objects.filter(finished_at=None).exists() or not jobs.exists():
            assert time.monotonic() < until, queue.output
            for page in PAGES:
                assert client.get(f"/admin/{page}").status_code == 200
            time.sleep(0.2)
    assert list(markers.iterdir()) == []
    assert queue.output.count("was refused and removed") == 5
    results = QueuedTask.objects.filter(task=Task.CONTINUE_UNDO.value, has_failed=True)
    assert KEPT_RESULTS <= results.count() <= OWN_TASKS, "tidy_up may have deleted some"
    note(f"{OWN_TASKS} tasks beside planted rows")
