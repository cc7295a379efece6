"""Worker processes, each with its own connection to the database of the test.

They are forked from a server that has loaded Django and holds no connection, so that a start takes
milliseconds.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any

from django.db import close_old_connections, connection, connections

from tests import open_cursors

ANSWER_SECONDS = 120

_context = multiprocessing.get_context("forkserver")
_context.set_forkserver_preload(["tests.stress.ready", "tests.stress.jobs"])


@dataclass(frozen=True)
class Outcome:
    """The result of a job: its value, or the name of the exception."""

    value: Any = None
    error: str = ""
    message: str = ""


class Worker:
    """A process that runs jobs one after the other."""

    def __init__(self) -> None:
        self._pipe, theirs = _context.Pipe()
        database = {key: connection.settings_dict[key] for key in connection.settings_dict if key != "TEST"}
        self._process = _context.Process(target=_serve, args=(theirs, database), daemon=True)
        self._process.start()
        theirs.close()
        self.result()

    @property
    def pid(self) -> int:
        assert self._process.pid is not None
        return self._process.pid

    def start(self, job: Callable[..., Any], *arguments: Any) -> None:
        """Start a job, whose first argument is a function that returns whether to stop."""
        self._pipe.send((job, arguments))

    def ask_to_stop(self) -> None:
        """Ask the running job to end; send this once, to a job that checks for it."""
        self._pipe.send(None)

    def result(self) -> Outcome:
        """Wait for the job and return its outcome."""
        assert self._pipe.poll(ANSWER_SECONDS), "the process gives no answer"
        outcome = self._pipe.recv()
        assert isinstance(outcome, Outcome)
        return outcome

    def do(self, job: Callable[..., Any], *arguments: Any) -> Outcome:
        """Run a job and wait for it."""
        self.start(job, *arguments)
        return self.result()

    def suspend(self) -> None:
        """Suspend the process, as when a machine is paused."""
        os.kill(self.pid, signal.SIGSTOP)
        while not self._state().startswith("T"):
            time.sleep(0.001)

    def go_on(self) -> None:
        """Resume the suspended process."""
        os.kill(self.pid, signal.SIGCONT)

    def kill(self) -> None:
        """Kill the process with SIGKILL."""
        self._process.kill()
        self._process.join()
        assert self._process.exitcode == -signal.SIGKILL
        self._pipe.close()

    def end(self) -> None:
        """End the process in any state."""
        if self._process.is_alive():
            self.kill()

    def _state(self) -> str:
        output = subprocess.run(
            ["/bin/ps", "-o", "state=", "-p", str(self.pid)], check=True, capture_output=True, text=True
        )
        return output.stdout.strip()


@contextmanager
def workers(count: int) -> Iterator[list[Worker]]:
    """Start some processes, and end them after the block."""
    started: list[Worker] = []
    try:
        while len(started) < count:
            started.append(Worker())
        yield started
    finally:
        for worker in started:
            worker.end()


def _serve(pipe: Connection, database: dict[str, Any]) -> None:
    connections.settings["default"] = {**connections.settings["default"], **database}
    del connections["default"]
    connection.ensure_connection()

    def is_stopped() -> bool:
        if not pipe.poll():
            return False
        pipe.recv()
        return True

    pipe.send(Outcome())
    while True:
        try:
            job, arguments = pipe.recv()
        except EOFError:
            return
        # gunicorn and the task queue also do this before each piece of work.
        close_old_connections()
        try:
            outcome = Outcome(job(is_stopped, *arguments))
        except Exception as error:
            outcome = Outcome(error=type(error).__name__, message=str(error))
        if violations := open_cursors.take_violations():
            outcome = Outcome(error="OpenCursor", message="\n\n".join(violations))
        pipe.send(outcome)
