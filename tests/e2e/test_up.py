from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import sqlite3
import stat
import subprocess
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path

import pytest

from tests.e2e.panel import PROJECT_DIR, UP, Panel, free_port, wait_for

STOP_SECONDS = 15.0
"""The supervisor kills what has not ended after 3 s; a task that waits for the database takes up to 30 s."""

PASSWORD_LINE = re.compile(r"Password: +(\S+)")


@pytest.fixture(scope="module")
def first_start(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Panel]:
    """A stopped panel after its first start."""
    panel = Panel(tmp_path_factory.mktemp("panel"), free_port())
    try:
        panel.start_and_wait()
        assert panel.process is not None
        panel.process.terminate()
        panel.wait_until_gone(STOP_SECONDS)
        yield panel
    finally:
        panel.stop()


@pytest.fixture
def panel(first_start: Panel) -> Iterator[Panel]:
    """The same panel, stopped after each test."""
    yield first_start
    first_start.stop()


@pytest.fixture
def fresh_panel(first_start: Panel, tmp_path: Path) -> Iterator[Panel]:
    """A panel before its first start, with static files, because compressing them takes seconds."""
    shutil.copytree(first_start.directory / "var" / "static", tmp_path / "var" / "static")
    panel = Panel(tmp_path, free_port())
    yield panel
    panel.stop()


def ended(panel: Panel, command: Sequence[str] = UP, **environ: str) -> int:
    """Start a panel that cannot start, and return its exit status."""
    try:
        panel.start(command, **environ)
        assert panel.process is not None
        return panel.process.wait(60)
    finally:
        panel.stop()


def login_page(panel: Panel) -> str:
    with urllib.request.urlopen(f"{panel.url}/", timeout=10) as response:
        assert response.url == f"{panel.url}/admin/login/?next=/admin/"
        assert "unsafe" not in response.headers["Content-Security-Policy"]
        return str(response.read().decode())


def state(panel: Panel) -> dict[str, object]:
    """Return what a start could change: files, and the rows of the tables that it fills."""
    var = panel.directory / "var"
    files = {
        str(path.relative_to(var)): path.stat().st_mtime_ns
        for path in var.rglob("*")
        if not path.name.startswith("raptor.sqlite3")
    }
    with sqlite3.connect(var / "raptor.sqlite3") as database:
        queries = (
            "SELECT * FROM auth_user",
            "SELECT * FROM django_migrations",
            "SELECT * FROM sessions_app_sessiondirectory",
            # Without next_run, which the worker changes.
            "SELECT id, name, func, schedule_type, cron FROM django_q_schedule",
        )
        return {"files": files, **{query: sorted(database.execute(query)) for query in queries}}


def test_the_first_start_prints_a_password_that_logs_in(first_start: Panel) -> None:
    output = (first_start.directory / "output-1").read_text()
    passwords = PASSWORD_LINE.findall(output)
    assert len(passwords) == 1
    assert first_start.authenticates(passwords[0])
    assert not first_start.authenticates("admin")
    assert f"Raptor Admin is at {first_start.url}/" in output


def test_files_of_the_first_start_are_readable_by_their_owner_only(first_start: Panel) -> None:
    var = first_start.directory / "var"
    assert stat.S_IMODE((var / "secret-key").stat().st_mode) == 0o600
    assert stat.S_IMODE((var / "raptor.sqlite3").stat().st_mode) == 0o600
    assert stat.S_IMODE(var.stat().st_mode) == 0o700


def test_a_second_start_serves_the_login_page_and_changes_nothing(panel: Panel) -> None:
    before = state(panel)
    panel.start_and_wait()
    page = login_page(panel)
    styles = re.findall(r'href="(/static/[^"]+\.css)"', page)
    assert styles
    for style in styles:
        with urllib.request.urlopen(panel.url + style, timeout=10) as response:
            assert "immutable" in response.headers["Cache-Control"]
    panel.stop()
    assert state(panel) == before
    assert not PASSWORD_LINE.search(panel.output)


@pytest.mark.parametrize("target", ["process", "group"])
@pytest.mark.parametrize("sign", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_stop_signal_ends_everything(panel: Panel, target: str, sign: signal.Signals) -> None:
    panel.start_and_wait()
    assert panel.process is not None
    (os.kill if target == "process" else os.killpg)(panel.process.pid, sign)
    panel.wait_until_gone(STOP_SECONDS)
    assert panel.process.returncode == 0
    assert "Traceback" not in panel.output


def test_a_busy_worker_does_not_delay_the_end(panel: Panel) -> None:
    panel.start_and_wait()
    assert panel.process is not None
    panel.shell(
        "from sessions_app.queue.enqueue import Task; from sessions_app.queue.outbox import enqueue; "
        "[enqueue(Task.TAKE_SNAPSHOT, f'2100-01-01T00:00:{n:02}+00:00') for n in range(60)]"
    )
    query = "SELECT count(*) FROM sessions_app_queuedtask WHERE arguments LIKE '%2100%' AND {} IS NOT NULL"
    with closing(sqlite3.connect(panel.directory / "var" / "raptor.sqlite3")) as database:
        wait_for(
            lambda: database.execute(query.format("started_at")).fetchone() > (0,), 60, lambda: panel.output
        )
        # The task that runs now, or the next one, waits for the database, for up to half a minute.
        database.execute("BEGIN IMMEDIATE")
        assert database.execute(query.format("finished_at")).fetchone() < (60,)
        os.killpg(panel.process.pid, signal.SIGINT)
        panel.wait_until_gone(STOP_SECONDS)


@pytest.mark.parametrize("target", ["process", "group"])
def test_make_passes_the_signal_on(panel: Panel, target: str) -> None:
    panel.start_and_wait(("make", "up"))
    assert panel.process is not None
    (os.kill if target == "process" else os.killpg)(panel.process.pid, signal.SIGTERM)
    panel.wait_until_gone(STOP_SECONDS)


@pytest.mark.parametrize("word", ["qcluster", "gunicorn"])
def test_a_killed_program_is_restarted_without_orphans(panel: Panel, word: str) -> None:
    panel.start_and_wait()
    killed = panel.main_process(word)
    assert killed is not None
    old = {process.pid for process in panel.running() if word in process.command}
    os.kill(killed.pid, signal.SIGKILL)
    wait_for(
        lambda: panel.main_process(word) is not None and not old & {p.pid for p in panel.running()},
        60,
        lambda: f"{old} {panel.running()}\n{panel.output}",
    )
    panel.wait_until_up()
    assert "ended (SIGKILL); it starts again in 1 s." in panel.output


def test_no_process_survives_a_killed_supervisor(panel: Panel) -> None:
    panel.start_and_wait()
    assert panel.process is not None
    panel.process.kill()
    panel.wait_until_gone(STOP_SECONDS)


def test_a_port_in_use_is_reported_before_anything_starts(tmp_path: Path) -> None:
    panel = Panel(tmp_path, free_port())
    with socket.socket() as other:
        other.bind(("127.0.0.1", panel.port))
        other.listen()
        assert ended(panel) == 1
    assert panel.output.startswith(f"error: cannot listen on 127.0.0.1:{panel.port} (")
    assert "RAPTOR_BIND" in panel.output
    assert panel.output.count("\n") == 1
    assert not (tmp_path / "var" / "raptor.sqlite3").exists()


def test_an_invalid_setting_is_reported_without_a_traceback(tmp_path: Path) -> None:
    panel = Panel(tmp_path, free_port())
    for command in (UP, (*UP[:1], "manage.py", "check")):
        assert ended(panel, command, RAPTOR_DEBUG="perhaps") == 1
        assert panel.output == (
            "error: The environment has a mistake: RAPTOR_DEBUG is 'perhaps', but must be on or off.\n"
        )


def test_a_given_password_is_used_and_neither_printed_nor_inherited(fresh_panel: Panel) -> None:
    fresh_panel.start_and_wait(RAPTOR_ADMIN_PASSWORD="correct horse")
    assert fresh_panel.authenticates("correct horse")
    assert "correct horse" not in fresh_panel.output
    if Path("/proc").exists():
        supervisor = fresh_panel.process
        heirs = [p.pid for p in fresh_panel.running() if supervisor and p.pid != supervisor.pid]
        assert not any(b"correct horse" in Path(f"/proc/{pid}/environ").read_bytes() for pid in heirs)


def test_the_folder_of_raptor_is_mirrored(fresh_panel: Panel) -> None:
    folder = Path(fresh_panel.environment["HOME"]) / ".raptor" / "sessions"
    folder.mkdir(parents=True)
    (folder / "checkout.json").write_text('{"session_id": "checkout"}')
    fresh_panel.start_and_wait()
    assert f"The sessions in {folder} are mirrored." in fresh_panel.output
    assert "checkout" in fresh_panel.manage("list_sessions")


def test_a_folder_that_cannot_be_mirrored_is_reported_and_the_panel_starts(
    panel: Panel, tmp_path: Path
) -> None:
    folder = tmp_path / "no-such-folder"
    panel.start_and_wait((*UP, str(folder)))
    assert f"warning: {folder} could not be mirrored: " in panel.output


def test_make_lists_its_targets() -> None:
    listing = subprocess.run(["make"], cwd=PROJECT_DIR, check=True, capture_output=True, text=True).stdout
    for target in ("up", "demo", "test", "lint", "bench"):
        assert f"make {target} " in listing
