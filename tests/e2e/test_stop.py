"""The write-ahead log of the database after the panel or one of its services has stopped."""

from __future__ import annotations

import os
import shutil
import signal
import sqlite3
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.e2e.panel import Panel, wait_for

SESSIONS = 300
STOP_SECONDS = 30


@pytest.fixture
def panel(tmp_path: Path, prepared: Path) -> Iterator[Panel]:
    panel = Panel.copy_of(prepared, tmp_path)
    yield panel
    panel.stop()


def fill_the_log(panel: Panel) -> None:
    """Write to the log while the panel runs."""
    folder = panel.directory / "sessions"
    folder.mkdir()
    for number in range(SESSIONS):
        (folder / f"s{number}.json").write_text('{"session_id": ""}')
    panel.manage("sync_directories", str(folder))
    panel.manage("cleanup_sessions", "--invalid", "--yes")


def log_of(panel: Panel) -> Path:
    return panel.directory / "var" / "raptor.sqlite3-wal"


def removed_in_a_copy(panel: Panel) -> int:
    """Count the archived sessions in a copy of the main file alone."""
    copy = panel.directory / "copy.sqlite3"
    shutil.copy(panel.directory / "var" / "raptor.sqlite3", copy)
    with sqlite3.connect(copy) as database:
        removed = "SELECT count(*) FROM sessions_app_browsersession WHERE run_id IS NOT NULL"
        count = int(database.execute(removed).fetchone()[0])
    database.close()
    return count


@pytest.mark.parametrize("sign", [signal.SIGINT, signal.SIGTERM])
def test_a_copy_of_the_main_file_is_complete_after_a_stop(panel: Panel, sign: signal.Signals) -> None:
    panel.start_and_wait()
    fill_the_log(panel)
    assert log_of(panel).stat().st_size
    assert panel.process is not None
    panel.process.send_signal(sign)
    panel.wait_until_gone(STOP_SECONDS)
    assert not log_of(panel).exists() or not log_of(panel).stat().st_size
    assert removed_in_a_copy(panel) == SESSIONS


def test_the_log_of_a_killed_panel_is_checkpointed_at_the_next_start(panel: Panel) -> None:
    panel.start_and_wait()
    fill_the_log(panel)
    assert panel.process is not None
    panel.process.kill()
    for process in panel.running():
        with suppress(ProcessLookupError):
            os.kill(process.pid, signal.SIGKILL)
    panel.wait_until_gone(STOP_SECONDS)
    before = log_of(panel).stat().st_size
    assert before
    panel.start_and_wait()
    assert removed_in_a_copy(panel) == SESSIONS


@pytest.mark.parametrize(
    "command",
    [
        ("manage.py", "qcluster"),
        ("-m", "gunicorn", "-c", "python:raptor_admin.gunicorn_conf", "raptor_admin.wsgi"),
    ],
    ids=["worker", "web"],
)
def test_a_single_service_leaves_no_log(panel: Panel, command: tuple[str, ...]) -> None:
    panel.manage("migrate")
    # Stay connected like a second service: the last process to disconnect would checkpoint the log.
    other = sqlite3.connect(panel.directory / "var" / "raptor.sqlite3")
    other.execute("SELECT count(*) FROM django_migrations").fetchone()
    panel.start((sys.executable, *command))
    word = "qcluster" if "qcluster" in command else "gunicorn"
    wait_for(lambda: len([p for p in panel.running() if word in p.command]) >= 3, 60, lambda: panel.output)
    fill_the_log(panel)
    assert log_of(panel).stat().st_size
    assert panel.process is not None
    panel.process.send_signal(signal.SIGTERM)
    panel.wait_until_gone(STOP_SECONDS)
    assert not log_of(panel).stat().st_size
    other.close()
