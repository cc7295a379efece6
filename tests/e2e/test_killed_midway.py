"""The process that runs a cleanup is killed midway, and an operator resumes the run."""

from __future__ import annotations

import http.client
import json
import os
import signal
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path

import pytest

from tests.e2e.panel import Panel, wait_for
from tests.e2e.visitor import PASSWORD, Visitor
from tests.factories import OLD, put

SESSIONS = 9_000
COUNT_BOTH = (
    "import json; from sessions_app.models import *; "
    "names = lambda model: sorted(model.objects.values_list('name', flat=True)); "
    "print(json.dumps([names(BrowserSession), names(ArchivedSession), "
    "list(CleanupRun.objects.values('pk', 'state', 'removed_count').order_by('pk'))]))"
)
REMOVED_SO_FAR = "SELECT max(removed_count) FROM sessions_app_cleanuprun"
IN_THE_REQUEST = 1_000


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "home" / ".raptor" / "sessions"
    folder.mkdir(parents=True)
    for number in range(SESSIONS):
        put(folder, f"s{number:04}", **OLD)
    return folder


@pytest.fixture
def panel(tmp_path: Path, folder: Path, prepared: Path) -> Iterator[Panel]:
    panel = Panel.copy_of(prepared, tmp_path)
    try:
        panel.start_and_wait(RAPTOR_ADMIN_PASSWORD=PASSWORD)
        yield panel
    finally:
        panel.stop()


def kill(panel: Panel, word: str) -> None:
    """Kill all processes of the web or the worker, as the kernel does when memory runs out."""
    for process in panel.running():
        if word in process.command:
            with suppress(ProcessLookupError):
                os.kill(process.pid, signal.SIGKILL)


def wait_until_some_are_removed(panel: Panel) -> None:
    """Wait for the first batch by reading the database itself: a program would see it too late."""
    with closing(sqlite3.connect(panel.directory / "var" / "raptor.sqlite3")) as database:
        wait_for(
            lambda: bool(database.execute(REMOVED_SO_FAR).fetchone()[0]),
            60,
            lambda: panel.output,
            pause_seconds=0.001,
        )


def assert_in_step(panel: Panel, folder: Path) -> int:
    """Check that each session exists once and only live ones have files; return the archived number."""
    panel.wait_until_up()
    panel.manage("sync_directories")
    live, archived, runs = json.loads(panel.shell(COUNT_BOTH))
    assert sorted(live + archived) == [f"s{number:04}" for number in range(SESSIONS)]
    assert sorted(path.stem for path in folder.iterdir()) == live
    assert sum(run["removed_count"] for run in runs) == len(archived)
    return len(archived)


def test_the_worker_is_killed_in_a_sweep(panel: Panel, folder: Path) -> None:
    panel.shell(
        "from django.utils import timezone; from django_q.models import Schedule; "
        "from sessions_app.models import CleanupPolicy; "
        "due = CleanupPolicy.objects.filter(is_enabled=True); "
        "due.update(brake_percent=None, next_run_at=timezone.now()); "
        "Schedule.objects.filter(name='tick').update(next_run=timezone.now())"
    )
    wait_until_some_are_removed(panel)
    kill(panel, "qcluster")
    removed = assert_in_step(panel, folder)
    assert 0 < removed < SESSIONS, "the run must be killed midway"


def test_the_web_is_killed_in_a_cleanup(panel: Panel, folder: Path) -> None:
    visitor = Visitor(panel.url)
    visitor.log_in()
    panel.shell(
        "from sessions_app.cleanup import plan_cleanup; from sessions_app.session.criteria import Criteria; "
        "from sessions_app.models import BrowserSession; "
        f"ids = tuple(BrowserSession.objects.values_list('pk', flat=True)[:{IN_THE_REQUEST}]); "
        "plan_cleanup(Criteria(session_ids=ids), trigger='admin', actor='admin')"
    )
    confirm = threading.Thread(target=press_confirm, args=(visitor,))
    confirm.start()
    wait_until_some_are_removed(panel)
    kill(panel, "gunicorn")
    confirm.join()
    # The run can end before the kill, because it removes only a few sessions.
    assert 0 < assert_in_step(panel, folder) <= IN_THE_REQUEST


def press_confirm(visitor: Visitor) -> None:
    # The button never answers, because the web is killed.
    with suppress(OSError, http.client.HTTPException):
        visitor.submit("/admin/sessions_app/cleanuprun/1/plan/", {})
