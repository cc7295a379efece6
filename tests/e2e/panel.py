"""Run the panel as its users do, with its own home, data folder and port."""

from __future__ import annotations

import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
import uuid
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

PROJECT_DIR = Path(__file__).resolve().parents[2]
UP = (sys.executable, "-m", "raptor_admin.up")
WEB = (sys.executable, "-m", "gunicorn", "-c", "python:raptor_admin.gunicorn_conf", "raptor_admin.wsgi")
START_SECONDS = 90


@dataclass(frozen=True)
class Running:
    """A process of the operating system."""

    pid: int
    ppid: int
    command: str


@dataclass
class Panel:
    """A panel: its folders, its port and, while it runs, its process."""

    directory: Path
    port: int
    # All processes of the panel inherit it, so that they are found even without their parent.
    mark: str = field(default_factory=lambda: uuid.uuid4().hex)
    process: subprocess.Popen[bytes] | None = None
    starts: int = 0

    @classmethod
    def copy_of(cls, data: Path, directory: Path) -> Panel:
        """Make a panel with a copy of a data folder, on a free port."""
        shutil.copytree(data, directory / "var")
        return cls(directory, free_port())

    @property
    def url(self) -> str:
        """The address of the panel."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def environment(self) -> dict[str, str]:
        """The environment of the panel, without variables of the shell."""
        home = self.directory / "home"
        home.mkdir(exist_ok=True)
        return {
            "PATH": os.environ["PATH"],
            "HOME": str(home),
            "RAPTOR_VAR_DIR": str(self.directory / "var"),
            "RAPTOR_BIND": f"127.0.0.1:{self.port}",
            "RAPTOR_TIME_ZONE": "UTC",
            # Sweep sessions at once after a test has synced them.
            "RAPTOR_SETTLE_SECONDS": "0",
            "RAPTOR_TEST_MARK": self.mark,
            "PYTHONDONTWRITEBYTECODE": "1",
        }

    @property
    def output(self) -> str:
        """The output since the latest start."""
        return (self.directory / f"output-{self.starts}").read_text()

    def start(self, command: Sequence[str] = UP, **environ: str) -> None:
        """Start the panel in its own process group, as a shell does."""
        self.starts += 1
        with (self.directory / f"output-{self.starts}").open("wb") as output:
            self.process = subprocess.Popen(
                command,
                cwd=PROJECT_DIR,
                env={**self.environment, **environ},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def start_and_wait(self, command: Sequence[str] = UP, **environ: str) -> None:
        """Start the panel and wait for the login page and the worker."""
        self.start(command, **environ)
        self.wait_until_up()

    def wait_until_up(self) -> None:
        """Wait until the panel answers and its worker has started its processes."""
        wait_for(lambda: self.answers() and len(self.workers()) >= 5, START_SECONDS, lambda: self.output)

    def answers(self) -> bool:
        """Return whether the panel answers."""
        try:
            with urllib.request.urlopen(f"{self.url}/healthz", timeout=5) as response:
                return bool(response.status == 200)
        except OSError:
            return False

    def manage(self, *arguments: str) -> str:
        """Run a management command and return what it printed."""
        return subprocess.run(
            [sys.executable, "manage.py", *arguments],
            cwd=PROJECT_DIR,
            env=self.environment,
            check=True,
            capture_output=True,
            text=True,
        ).stdout

    def shell(self, code: str) -> str:
        """Run a line of Python in the panel and return what it printed."""
        return self.manage("shell", "--verbosity", "0", "--command", code).strip()

    def authenticates(self, password: str) -> bool:
        """Return whether the administrator can log in with a password."""
        code = "from django.contrib.auth import authenticate as a; print(a(username='admin', password={!r}))"
        return self.shell(code.format(password)) == "admin"

    def running(self) -> list[Running]:
        """Return all processes of the panel."""
        return running_with(self.mark)

    def workers(self) -> list[Running]:
        """Return the processes of the task queue, the main one first."""
        return sorted((p for p in self.running() if "qcluster" in p.command), key=lambda p: p.pid)

    def main_process(self, word: str) -> Running | None:
        """Return the main process of web (gunicorn) or worker (qcluster)."""
        processes = {p.pid: p for p in self.running() if word in p.command}
        return next((p for p in processes.values() if p.ppid not in processes), None)

    def wait_until_gone(self, seconds: float) -> float:
        """Wait until no process of the panel is left, and return the seconds that took."""
        started_at = time.monotonic()
        process = self.process
        wait_for(
            lambda: (process is None or process.poll() is not None) and not self.running(),
            seconds,
            lambda: f"{self.running()}\n{self.output}",
        )
        return time.monotonic() - started_at

    def stop(self) -> None:
        """End the panel in any state."""
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(10)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        for process in self.running():
            try:
                os.kill(process.pid, signal.SIGKILL)
            except ProcessLookupError:
                continue


def free_port() -> int:
    """Return a free port that the system gives to no connection and to no server that asks for any port."""
    while True:
        # Linux and macOS give those from 32,768 on. Not random.randrange, which each test repeats.
        port = random.SystemRandom().randrange(20_000, 32_000)
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


def wait_for(
    condition: Callable[[], bool],
    seconds: float,
    describe: Callable[[], str],
    *,
    pause_seconds: float = 0.05,
) -> None:
    """Wait until a condition holds; fail with the text of ``describe`` after the given time."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError(f"waited {seconds} s in vain:\n{describe()}")
        time.sleep(pause_seconds)


def running_with(mark: str) -> list[Running]:
    """Return the processes with a mark in their environment; ended ones have no environment."""
    if Path("/proc/self/environ").exists():
        return _running_on_linux(mark)
    return _running_on_macos(mark)


def _running_on_linux(mark: str) -> list[Running]:
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if mark.encode() not in (folder / "environ").read_bytes():
                continue
            command = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode()
            ppid = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
        except (OSError, ValueError):
            continue
        found.append(Running(int(folder.name), ppid, command))
    return found


def _running_on_macos(mark: str) -> list[Running]:
    listing = subprocess.run(
        ["/bin/ps", "-axEww", "-o", "pid=,ppid=,command="], check=True, capture_output=True, text=True
    ).stdout
    lines = (line.split(None, 2) for line in listing.splitlines() if mark in line)
    return [Running(int(pid), int(ppid), command) for pid, ppid, command in lines]
