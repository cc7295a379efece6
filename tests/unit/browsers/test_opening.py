"""Starts of browsers that are cancelled, and browsers that cannot be ended."""

from __future__ import annotations

import asyncio
import os
import platform
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from sessions_app.browsers import launcher, opening, profile_lock
from sessions_app.browsers.client import Driver
from sessions_app.browsers.closing import close_browser
from sessions_app.exceptions import SessionException
from tests.hostile import OK, Connection, Server

SLOW_CHROMIUM = """#!/bin/sh
echo $$ > {folder}/started
sleep 1
printf '4711\\n/devtools/browser/1\\n' > {folder}/profile/DevToolsActivePort
exec sleep 60
"""


def is_running(pid: int) -> bool:
    listed = subprocess.run(["ps", "-o", "state=", "-p", str(pid)], capture_output=True, text=True)
    return listed.stdout.strip()[:1] not in ("", "Z")


def test_a_cancelled_start_takes_its_browser_back_before_it_frees_the_profile(tmp_path: Path) -> None:
    program = tmp_path / "chromium"
    program.write_text(SLOW_CHROMIUM.format(folder=tmp_path))
    program.chmod(0o700)
    started, profile = tmp_path / "started", tmp_path / "profile"
    running_when_free: list[bool] = []

    async def launch() -> None:
        async with launcher.locked(profile):
            await opening.open_chromium(
                Driver(()),
                profile,
                chosen=str(program),
                headless=True,
                name="login",
                session="shop/login",
                replace=False,
            )

    async def cancel_twice() -> None:
        launching = asyncio.ensure_future(launch())
        while not started.exists() or not started.read_text().endswith("\n"):
            await asyncio.sleep(0.01)
        launching.cancel()
        await asyncio.sleep(0.1)
        launching.cancel()
        async with launcher.locked(profile):
            # The kernel needs a moment to end a killed process. No task can kill it in the meantime.
            until = time.monotonic() + 10
            while (is_left := is_running(int(started.read_text()))) and time.monotonic() < until:
                time.sleep(0.05)
            running_when_free.append(is_left)
        with pytest.raises(asyncio.CancelledError):
            await launching

    # Playwright's synchronous API, which other tests use, keeps an event loop in this thread.
    with ThreadPoolExecutor(1) as pool:
        pool.submit(lambda: asyncio.run(cancel_twice())).result()
    assert running_when_free == [False]


@pytest.fixture
def other_browser(tmp_path: Path) -> Iterator[int]:
    """A process that uses a profile."""
    arguments = [sys.executable, "-c", "input()", f"--user-data-dir={tmp_path}"]
    with subprocess.Popen(arguments, stdin=subprocess.PIPE, start_new_session=True) as process:
        (tmp_path / profile_lock.LOCK).symlink_to(f"{platform.node()}-{process.pid}")
        until = time.monotonic() + 10
        while profile_lock.browser_of(tmp_path) != process.pid:
            assert time.monotonic() < until
        yield process.pid
        process.kill()


def test_a_browser_that_cannot_be_killed_is_named(
    other_browser: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*arguments: object) -> None:
        raise PermissionError

    monkeypatch.setattr(opening, "END_SECONDS", 0.05)
    monkeypatch.setattr(os, "killpg", refuse)
    with pytest.raises(SessionException) as failure:
        opening._free(tmp_path, name="login", is_forced=True)
    assert f"End process {other_browser} " in failure.value.message
    assert "replace=True" not in failure.value.message


def test_what_cannot_be_identified_is_left_alone_and_the_message_has_a_way_out() -> None:
    def answer(connection: Connection) -> None:
        if b"Upgrade" not in connection.request:
            return connection.send(OK + b'\r\n{"webSocketDebuggerUrl": "ws://x/devtools/browser/1"}')
        connection.upgrade()
        return connection.wait()

    with Server(answer).running() as server, pytest.raises(SessionException) as failure:
        close_browser(f"http://{server.place}", allowed_hosts=("127.0.0.1",), name="login", target_id="")
    assert "is left alone" in failure.value.message
    assert 'launch_session("login", replace=True)' in failure.value.message
