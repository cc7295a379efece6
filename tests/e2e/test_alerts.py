"""Alerts of a real panel: each trouble is in all places within two minutes, and each message arrives once."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page
from prometheus_client.parser import text_string_to_metric_families

from tests.alerting import SECRET, TOKEN, Receiver, move_away, receiving
from tests.e2e.demo import PASSWORD
from tests.e2e.panel import PROJECT_DIR, UP, Panel, free_port, wait_for
from tests.e2e.steps import log_in
from tests.factories import put
from tests.full_disk import MB, mounted

QCLUSTER = (sys.executable, "manage.py", "qcluster")
ALLOWED = {"RAPTOR_WEBHOOK_ALLOWED_HOSTS": "127.0.0.1", "RAPTOR_METRICS_TOKEN": TOKEN}
QUICK = {**ALLOWED, "DJANGO_SETTINGS_MODULE": "tests.stress.quick_settings"}
WITHIN_SECONDS = 120
_RULES = """
from sessions_app.models import *
target = AlertTarget.objects.create(name="hook", kind="webhook", address="{url}/hook", secret="{secret}")
for kind in {kinds}:
    AlertRule.objects.create(name=kind, kind=kind).targets.add(target)
"""
_LIMITED = """
policy = CleanupPolicy.objects.create(name="Careful", schedule="0 2 * * *", is_enabled=True, brake_count=0)
policy.steps.create(position=1, criterion="all")
"""
_NEXT_MINUTE = """
from django_q.models import Schedule
from sessions_app.models import *
from sessions_app.models.clock import database_now
CleanupPolicy.objects.filter(name="Careful").update(next_run_at=database_now())
QueuedTask.objects.exclude(finished_at=None).delete()
Schedule.objects.update(next_run=database_now())
"""
_DISMISSED = """
from sessions_app.cleanup import close_cleanup
CleanupPolicy.objects.filter(name="Careful").update(is_enabled=False)
close_cleanup(CleanupRun.objects.get(state="held"), actor="root")
"""
_KILLED = """
import os, signal
from sessions_app.alerts.rules import evaluate
from sessions_app.models.clock import database_now
from sessions_app.queue import outbox
SessionDirectory.objects.create(path="/gone", namespace="shop", error="/gone cannot be read.")
outbox.send = lambda *arguments, **options: os.kill(os.getpid(), signal.SIGKILL)
evaluate(database_now())
"""
# Does not wait for the next minute, at which the queue looks for lost tasks.
_LOST_TASKS = (
    "from django_q.models import Schedule; from django.utils import timezone; "
    "Schedule.objects.filter(name='tick').update(next_run=timezone.now()); "
    "from sessions_app.models import QueuedTask; "
    "print(QueuedTask.objects.filter(task__endswith='deliver_alerts', finished_at=None).count())"
)
_ANNOUNCED = "from sessions_app.models import Machine; print(Machine.objects.count())"
_SILENT = """
from datetime import timedelta
from django.db.models import F
from sessions_app.models import Machine
Machine.objects.update(heartbeat_at=F("heartbeat_at") - timedelta(seconds=80))
"""


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as server:
        yield server


@pytest.fixture
def panel(tmp_path: Path, prepared: Path) -> Iterator[Panel]:
    panel = Panel.copy_of(prepared, tmp_path)
    yield panel
    panel.stop()


def rules(receiver: Receiver, *kinds: str) -> str:
    """Return a program that sends alerts of some kinds to the receiver."""
    return _RULES.format(url=receiver.url, secret=SECRET, kinds=kinds)


def in_shell(panel: Panel, code: str) -> int:
    """Run a program in the panel, and return its exit status."""
    command = (sys.executable, "manage.py", "shell", "--verbosity", "0", "--command", code)
    environment = {**panel.environment, **ALLOWED}
    return subprocess.run(command, cwd=PROJECT_DIR, env=environment, check=False).returncode


def test_a_message_is_delivered_once_after_the_worker_was_killed(panel: Panel, receiver: Receiver) -> None:
    assert in_shell(panel, rules(receiver, "unreachable") + _KILLED) == -9
    assert receiver.requests == []
    panel.start(QCLUSTER, **QUICK)
    wait_for(lambda: bool(receiver.messages), 120, lambda: panel.output)
    # The queue sends the lost task again, too, which must not deliver it a second time.
    wait_for(lambda: panel.shell(_LOST_TASKS) == "0", 150, lambda: panel.output)
    assert receiver.events == ["alert.fired"]
    assert receiver.messages[0]["data"]["code"] == "directory_unreachable"


@pytest.fixture
def dashboard(chromium: Browser) -> Iterator[Callable[[Panel], Page]]:
    """Open the dashboard as the administrator."""
    context = chromium.new_context()

    def open_dashboard(panel: Panel) -> Page:
        page = context.new_page()
        log_in(page, panel, PASSWORD)
        return page

    yield open_dashboard
    context.close()


class Places:
    """Where an operator hears of a trouble: the dashboard, /readyz, /metrics and the target of an alert."""

    def __init__(self, panel: Panel, receiver: Receiver, page: Page) -> None:
        self.panel = panel
        self.receiver = receiver
        self.page = page

    def wait_for_all(self, code: str) -> None:
        """Wait until all places show a trouble in the same words."""
        wait_for(lambda: bool(self.texts_of("alert.fired", code)), WITHIN_SECONDS, self._describe)
        (text,) = self.texts_of("alert.fired", code)
        status, findings = _get(self.panel, "readyz")
        assert (status, _without_numbers(text) in _without_numbers(findings)) == (503, True)
        assert _findings(self.panel)[code] == 1
        self.page.reload()
        shown = " ".join(self.page.locator("body").inner_text().split())
        assert _without_numbers(text) in _without_numbers(shown)

    def wait_for_none(self, code: str) -> None:
        """Wait until all places have stopped showing a trouble."""
        wait_for(lambda: bool(self.texts_of("alert.resolved", code)), WITHIN_SECONDS, self._describe)
        assert f" {code}:" not in _get(self.panel, "readyz")[1]
        assert _findings(self.panel)[code] == 0
        assert len(self.texts_of("alert.fired", code)) == len(self.texts_of("alert.resolved", code)) == 1

    def texts_of(self, event: str, code: str) -> list[str]:
        messages = (m for m in self.receiver.messages if (m["type"], m["data"]["code"]) == (event, code))
        return [message["data"]["text"] for message in messages]

    def _describe(self) -> str:
        return f"{self.receiver.messages}\n{self.panel.output}"


def test_a_directory_that_is_moved_away_and_a_run_over_its_limit(
    panel: Panel, receiver: Receiver, dashboard: Callable[[Panel], Page], tmp_path: Path
) -> None:
    folder = tmp_path / "sessions"
    folder.mkdir()
    put(folder, "cart")
    panel.start_and_wait((*UP, str(folder)), RAPTOR_ADMIN_PASSWORD=PASSWORD, **ALLOWED)
    places = Places(panel, receiver, dashboard(panel))
    program = rules(receiver, "unreachable", "run_needs_approval") + _LIMITED
    assert in_shell(panel, program) == 0
    move_back = move_away(folder)
    # Makes the jobs due now, instead of at the next minute.
    assert in_shell(panel, _NEXT_MINUTE) == 0
    places.wait_for_all("directory_unreachable")
    places.wait_for_all("run_needs_approval")
    move_back()
    assert in_shell(panel, _NEXT_MINUTE + _DISMISSED) == 0
    places.wait_for_none("directory_unreachable")
    places.wait_for_none("run_needs_approval")


def test_a_full_disk(tmp_path: Path, receiver: Receiver, dashboard: Callable[[Panel], Page]) -> None:
    panel = Panel(tmp_path, free_port())
    with mounted(tmp_path / "var", size_bytes=300 * MB) as disk:
        try:
            panel.start_and_wait(RAPTOR_ADMIN_PASSWORD=PASSWORD, **ALLOWED)
            places = Places(panel, receiver, dashboard(panel))
            assert in_shell(panel, rules(receiver, "storage")) == 0
            disk.fill()
            places.wait_for_all("disk_full")
        finally:
            panel.stop()


def test_the_web_server_reports_a_worker_that_has_stopped(
    panel: Panel, receiver: Receiver, dashboard: Callable[[Panel], Page]
) -> None:
    panel.start_and_wait(RAPTOR_ADMIN_PASSWORD=PASSWORD, **ALLOWED)
    places = Places(panel, receiver, dashboard(panel))
    assert in_shell(panel, rules(receiver, "worker_silent")) == 0
    wait_for(lambda: panel.shell(_ANNOUNCED) == "1", WITHIN_SECONDS, lambda: panel.output)
    worker = panel.main_process("qcluster")
    assert worker is not None
    os.kill(worker.pid, signal.SIGSTOP)
    try:
        assert in_shell(panel, _SILENT) == 0
        # A panel that has just started waits a minute for its worker.
        places.wait_for_all("worker_stopped")
    finally:
        os.kill(worker.pid, signal.SIGCONT)
    places.wait_for_none("worker_stopped")


def _without_numbers(text: str) -> str:
    """Return a text without the numbers, such as free bytes, which change from one moment to the next."""
    return re.sub(r"[\d,.]*\d", "#", text)


def _findings(panel: Panel) -> dict[str, float]:
    """Return the metric of the findings by their code."""
    status, text = _get(panel, "metrics")
    assert status == 200
    families = {family.name: family for family in text_string_to_metric_families(text)}
    return {sample.labels["code"]: sample.value for sample in families["raptor_findings"].samples}


def _get(panel: Panel, path: str) -> tuple[int, str]:
    request = urllib.request.Request(f"{panel.url}/{path}", headers={"Authorization": f"Bearer {TOKEN}"})
    try:
        with urllib.request.urlopen(request, timeout=10) as response:
            return response.status, response.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()
