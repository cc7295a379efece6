"""Run scripts of a test project: new processes that have not set Django up."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.browser import chromium_of_tests
from tests.e2e.panel import Panel

PROJECT_DIR = Path(__file__).resolve().parents[2]
SCRIPT_SECONDS = 120
_FRAME = """
import asyncio, json, time
from raptor.core.session_manager import SessionManager, SessionException

def report(value):
    print("report:" + json.dumps(value))

async def main():
    async with SessionManager() as manager:
{body}

asyncio.run(main())
"""


@dataclass(frozen=True)
class Project:
    """A test project: its folder and the environment of its scripts."""

    directory: Path
    database_url: str = ""

    @property
    def environment(self) -> dict[str, str]:
        return {
            "PATH": os.environ["PATH"],
            "HOME": str(self.directory),
            "PYTHONPATH": str(PROJECT_DIR),
            "PYTHONDONTWRITEBYTECODE": "1",
            "RAPTOR_VAR_DIR": str(self.directory / "var"),
            "RAPTOR_DATABASE_URL": self.database_url,
            "RAPTOR_CHROMIUM": chromium_of_tests() or "",
            "RAPTOR_TIME_ZONE": "UTC",
        }

    def run(self, *command: str, **environ: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, *command],
            cwd=self.directory,
            env={**self.environment, **environ},
            capture_output=True,
            text=True,
            timeout=SCRIPT_SECONDS,
            check=False,
        )

    def manage(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return self.run(str(PROJECT_DIR / "manage.py"), *arguments)

    def script(self, body: str) -> list[Any]:
        """Run a script that has a ``manager``, and return the values that it reported."""
        done = self.run("-c", _FRAME.format(body=textwrap.indent(textwrap.dedent(body), " " * 8)))
        assert done.returncode == 0, done.stderr
        lines = [line for line in done.stdout.splitlines() if line.startswith("report:")]
        return [json.loads(line.removeprefix("report:")) for line in lines]


def browsers(project: Project | Panel) -> list[int]:
    """Return the main processes of the browsers with profiles of a project or a panel."""
    listed = subprocess.run(
        ["ps", "-A", "-ww", "-o", "pid=,args="], capture_output=True, text=True, check=True
    ).stdout
    found = []
    for line in listed.splitlines():
        pid, _, command = line.strip().partition(" ")
        if f"--user-data-dir={project.directory}" in command and "--type=" not in command:
            found.append(int(pid))
    return found


def compute_seconds(project: Project) -> dict[int, float]:
    """Return how long each process that renders tabs of the project's browsers has computed; Linux only."""
    found = {}
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            command = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            if f"--user-data-dir={project.directory}" in command and "--type=renderer" in command:
                fields = (folder / "stat").read_text().rpartition(")")[2].split()
                found[int(folder.name)] = sum(map(int, fields[11:13])) / os.sysconf("SC_CLK_TCK")
    return found


def is_listening(port: int, host: str = "127.0.0.1") -> bool:
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as client:
        return client.connect_ex((host, port)) == 0


def wait_until(condition: Callable[[], bool], seconds: float = 30) -> None:
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.02)


def wait_until_closed(project: Project, *, left: int = 0) -> None:
    """Wait until the processes of closed browsers have ended, and check how many others run."""
    wait_until(lambda: len(browsers(project)) <= left)
    assert len(browsers(project)) == left


def kill_browser(project: Project) -> None:
    for pid in browsers(project):
        os.killpg(pid, signal.SIGKILL)
    wait_until_closed(project)
