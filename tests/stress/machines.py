"""Simulates several machines on one: each has its own network with its own loopback."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from sessions_app.browsers.launcher import read_endpoint
from tests.browser import chromium_of_tests

PROJECT_DIR = Path(__file__).resolve().parents[2]
START_SECONDS = 60
_QUIET: dict[str, Any] = {
    "stdin": subprocess.DEVNULL,
    "stdout": subprocess.DEVNULL,
    "stderr": subprocess.DEVNULL,
    "start_new_session": True,
}


class Browser:
    """A Chromium on a machine."""

    def __init__(self, machine: Machine, folder: Path, *, port: int = 0) -> None:
        program = chromium_of_tests()
        assert program is not None
        self.folder = folder
        command = [
            program,
            "--headless=new",
            "--no-sandbox",
            "--no-first-run",
            "--disable-background-networking",
            "--disable-dev-shm-usage",
            f"--remote-debugging-port={port}",
            f"--user-data-dir={folder}",
            "about:blank",
        ]
        self._process = subprocess.Popen([*machine.before, *command], **_QUIET)
        until = time.monotonic() + START_SECONDS
        # Chromium writes this file only if it chooses the port itself.
        while not (machine.is_listening(port) if port else read_endpoint(folder)):
            if time.monotonic() > until:
                self.kill()
                raise AssertionError(f"No browser listens after {START_SECONDS} s.")
            time.sleep(0.1)
        self.endpoint = read_endpoint(folder) or ""

    @property
    def port(self) -> int:
        return int(self.endpoint.split(":")[2].partition("/")[0])

    @property
    def is_running(self) -> bool:
        return self._process.poll() is None

    def kill(self) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()


class Machine:
    """A simulated machine; without its own network if this machine cannot create one.

    Args:
        before: Command prefix that runs a command on the machine.
    """

    def __init__(self, name: str, before: Sequence[str]) -> None:
        self.name = name
        self.before = list(before)
        self.processes: list[subprocess.Popen[bytes]] = []

    def start(self, *command: str) -> None:
        process = subprocess.Popen([*self.before, *command], cwd=PROJECT_DIR, **_QUIET)
        self.processes.append(process)

    def is_listening(self, port: int) -> bool:
        program = f"import socket; socket.create_connection(('127.0.0.1', {port})).close()"
        done = subprocess.run([*self.before, sys.executable, "-c", program], capture_output=True, check=False)
        return done.returncode == 0

    def connect(self, port: int) -> subprocess.Popen[bytes]:
        """Connect a client to a port, until the process is killed."""
        program = (
            f"import socket, time\nsock = socket.create_connection(('127.0.0.1', {port}))\n"
            "print('connected', flush=True)\ntime.sleep(600)"
        )
        command = [*self.before, sys.executable, "-c", program]
        process = subprocess.Popen(command, **{**_QUIET, "stdout": subprocess.PIPE})
        self.processes.append(process)
        assert process.stdout is not None
        assert process.stdout.readline() == b"connected\n"
        process.stdout.close()
        return process


@contextmanager
def machines(*names: str, ports: Sequence[int], folder: Path) -> Iterator[list[Machine]]:
    """Yield machines that can reach ports of this machine at their own loopback."""
    found: list[Machine] = []
    spaces = []
    sockets = {port: folder / f"{port}.sock" for port in ports}
    root = Machine("", ())
    try:
        for name in names:
            space = f"raptor-{uuid.uuid4().hex[:8]}"
            if _add(space):
                spaces.append(space)
                found.append(Machine(name, ("ip", "netns", "exec", space)))
            else:
                found.append(Machine(name, ()))
        if spaces:
            for port, path in sockets.items():
                root.start(sys.executable, "-m", "tests.stress.forward", f"unix:{path}", f"tcp:{port}")
                for machine in found:
                    machine.start(sys.executable, "-m", "tests.stress.forward", f"tcp:{port}", f"unix:{path}")
        yield found
    finally:
        for machine in (*found, root):
            for process in machine.processes:
                process.kill()
                process.wait()
        for space in spaces:
            subprocess.run(["ip", "netns", "del", space], check=False)


def _add(space: str) -> bool:
    """Create a network namespace with a loopback; return False if this is not possible."""
    try:
        subprocess.run(["ip", "netns", "add", space], check=True, capture_output=True)
        subprocess.run(["ip", "-n", space, "link", "set", "lo", "up"], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        return False
    return True
