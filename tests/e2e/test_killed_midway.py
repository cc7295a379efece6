"""The process that runs a cleanup is killed midway, and an operator resumes the run."""

from __future__ import annotations

import http.client
import http.cookiejar
import json
import os
import re
import signal
import threading
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.e2e.panel import Panel, free_port
from tests.factories import OLD, put

SESSIONS = 9_000
PASSWORD = "correct horse battery staple"
COUNT_BOTH = (
    "import json; from sessions_app.models import *; "
    "names = lambda model: sorted(model.objects.values_list('name', flat=True)); "
    "print(json.dumps([names(BrowserSession), names(ArchivedSession), "
    "list(CleanupRun.objects.values('pk', 'state', 'removed_count').order_by('pk'))]))"
)
REMOVED_SO_FAR = (
    "from sessions_app.models import CleanupRun; import time; "
    "deadline = time.monotonic() + 60\n"
    "while not CleanupRun.objects.filter(state='running', removed_count__gt=0) "
    "and time.monotonic() < deadline: time.sleep(0.001)"
)
REMOVED_ANYHOW = REMOVED_SO_FAR.replace("state='running', ", "")
IN_THE_REQUEST = 1_000


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "home" / ".raptor" / "sessions"
    folder.mkdir(parents=True)
    for number in range(SESSIONS):
        put(folder, f"s{number:04}", **OLD)
    return folder


@pytest.fixture
def panel(tmp_path: Path, folder: Path) -> Iterator[Panel]:
    panel = Panel(tmp_path, free_port())
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
    panel.shell(REMOVED_SO_FAR)
    kill(panel, "qcluster")
    removed = assert_in_step(panel, folder)
    assert 0 < removed < SESSIONS, "it was to be killed in the middle"


def test_the_web_is_killed_in_a_cleanup(panel: Panel, folder: Path) -> None:
    browser = Browser(panel)
    browser.log_in()
    panel.shell(
        "from sessions_app.cleanup import plan_cleanup; from sessions_app.session.criteria import Criteria; "
        "from sessions_app.models import BrowserSession; "
        f"ids = tuple(BrowserSession.objects.values_list('pk', flat=True)[:{IN_THE_REQUEST}]); "
        "plan_cleanup(Criteria(session_ids=ids), trigger='admin', actor='admin')"
    )
    watch = threading.Thread(target=panel.shell, args=(REMOVED_ANYHOW,))
    confirm = threading.Thread(target=browser.confirm_the_plan)
    watch.start()
    confirm.start()
    watch.join()
    kill(panel, "gunicorn")
    confirm.join()
    # The run can end before the kill, because it removes only a few sessions.
    assert 0 < assert_in_step(panel, folder) <= IN_THE_REQUEST


class Browser:
    """A minimal browser, to press a button that never answers."""

    def __init__(self, panel: Panel) -> None:
        self.url = panel.url
        self.opener = urllib.request.build_opener(
            urllib.request.HTTPCookieProcessor(http.cookiejar.CookieJar())
        )

    def log_in(self) -> None:
        self.submit("/admin/login/", username="admin", password=PASSWORD)

    def confirm_the_plan(self) -> None:
        with suppress(OSError, http.client.HTTPException):
            self.submit("/admin/sessions_app/cleanuprun/1/plan/")

    def submit(self, path: str, **fields: str) -> None:
        """Open a page and send its form."""
        with self.opener.open(self.url + path, timeout=60) as response:
            token = re.search(r'name="csrfmiddlewaretoken" value="(\w+)"', response.read().decode())
        assert token is not None
        data = urllib.parse.urlencode({**fields, "csrfmiddlewaretoken": token[1]}).encode()
        self.opener.open(self.url + path, data, timeout=60).close()
