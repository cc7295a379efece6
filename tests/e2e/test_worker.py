"""The worker as a service: it stops cleanly whatever is signalled, and leaves no process behind."""

from __future__ import annotations

import os
import signal
import sqlite3
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.e2e.panel import Panel, free_port, wait_for

STOP_SECONDS = 10
QCLUSTER = (sys.executable, "manage.py", "qcluster")
PROCESSES = 5
"""The main process, the sentinel, the pusher, the monitor and one worker."""


@pytest.fixture(scope="module")
def migrated(tmp_path_factory: pytest.TempPathFactory, prepared: Path) -> Panel:
    return Panel.copy_of(prepared, tmp_path_factory.mktemp("panel"))


@pytest.fixture
def panel(migrated: Panel) -> Iterator[Panel]:
    yield migrated
    migrated.stop()


def start(panel: Panel, **environ: str) -> int:
    panel.start(QCLUSTER, **environ)
    wait_for(lambda: len(panel.running()) >= PROCESSES, 60, lambda: panel.output)
    assert panel.process is not None
    return panel.process.pid


def signal_it(pid: int, target: str) -> None:
    (os.kill if target == "process" else os.killpg)(pid, signal.SIGTERM)


@pytest.mark.parametrize("target", ["process", "group"])
@pytest.mark.parametrize("times", [1, 2])
def test_an_idle_worker_stops(panel: Panel, target: str, times: int) -> None:
    pid = start(panel)
    for _ in range(times):
        signal_it(pid, target)
        time.sleep(0.1)
    panel.wait_until_gone(STOP_SECONDS)
    assert panel.process is not None
    assert panel.process.returncode == 0, panel.output
    assert "Traceback" not in panel.output


@pytest.mark.parametrize("target", ["process", "group"])
def test_a_worker_whose_task_hangs_stops(panel: Panel, target: str) -> None:
    pid = start(panel)
    # The processes start in the order main, sentinel, worker, monitor, pusher.
    os.kill(panel.workers()[2].pid, signal.SIGSTOP)
    signal_it(pid, target)
    panel.wait_until_gone(STOP_SECONDS)
    assert panel.process is not None
    assert panel.process.returncode == 0, panel.output


@pytest.mark.parametrize("delay_seconds", [0.2, 0.7, 1.2])
def test_a_worker_stops_while_it_starts(panel: Panel, delay_seconds: float) -> None:
    panel.start(QCLUSTER)
    time.sleep(delay_seconds)
    assert panel.process is not None
    os.killpg(panel.process.pid, signal.SIGTERM)
    panel.wait_until_gone(STOP_SECONDS)
    assert "Traceback" not in panel.output


@pytest.mark.parametrize("position", range(5), ids=["main", "sentinel", "worker", "monitor", "pusher"])
def test_a_killed_process_ends_the_others(panel: Panel, position: int) -> None:
    """A killed process may hold the lock of a queue, so the supervisor or systemd restarts all of them."""
    start(panel)
    os.kill(panel.workers()[position].pid, signal.SIGKILL)
    panel.wait_until_gone(STOP_SECONDS)
    assert panel.process is not None
    assert panel.process.returncode != 0


def test_a_worker_that_waits_for_the_database_stops(panel: Panel) -> None:
    pid = start(panel)
    place = panel.directory / "var" / "raptor.sqlite3"
    with closing(sqlite3.connect(place, timeout=30, isolation_level=None)) as database:
        database.execute("BEGIN IMMEDIATE")
        time.sleep(4)
        os.kill(pid, signal.SIGTERM)
        panel.wait_until_gone(STOP_SECONDS)


def test_a_worker_waits_for_a_queue_that_cannot_be_reached(panel: Panel) -> None:
    panel.start(QCLUSTER, RAPTOR_REDIS_URL=f"redis://127.0.0.1:{free_port()}/0")
    wait_for(lambda: "The queue cannot be used" in panel.output, 60, lambda: panel.output)
    time.sleep(3)
    assert panel.process is not None
    assert panel.process.poll() is None
    assert panel.output.count("cannot be used") == 1
    os.killpg(panel.process.pid, signal.SIGTERM)
    panel.wait_until_gone(STOP_SECONDS)
    assert panel.process.returncode == 0


def test_a_worker_waits_for_a_database_that_cannot_be_reached(panel: Panel, tmp_path: Path) -> None:
    away = f"postgres://nobody@127.0.0.1:{free_port()}/none"
    panel.start(QCLUSTER, RAPTOR_DATABASE_URL=away)
    wait_for(lambda: "The database cannot be used" in panel.output, 60, lambda: panel.output)
    assert panel.process is not None
    assert panel.process.poll() is None
    os.kill(panel.process.pid, signal.SIGTERM)
    panel.wait_until_gone(STOP_SECONDS)
    assert "Traceback" not in panel.output
