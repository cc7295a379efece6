"""Run the worker of the panel on the test database, or on separate servers."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from django.conf import settings

from raptor_admin.environment import PREFIX
from tests.e2e.panel import free_port, running_with
from tests.stress.programs import PROJECT_DIR, database_url

END_SECONDS = 10


class TaskQueue:
    """A ``qcluster`` as a service runs it."""

    def __init__(self, folder: Path, environ: Mapping[str, str], *, before: Sequence[str] = ()) -> None:
        self.log = folder.with_suffix(".log")
        self._mark = f"task-queue-{uuid.uuid4().hex}"
        kept = {name: value for name, value in os.environ.items() if not name.startswith(PREFIX)}
        kept.pop("DJANGO_SETTINGS_MODULE", None)
        environment = {
            **kept,
            "RAPTOR_VAR_DIR": str(folder),
            "RAPTOR_DATABASE_URL": database_url(),
            "RAPTOR_SECRET_KEY": settings.SECRET_KEY,
            "RAPTOR_TEST_MARK": self._mark,
            **environ,
        }
        with self.log.open("wb") as output:
            self.process = subprocess.Popen(
                [*before, sys.executable, "manage.py", "qcluster"],
                cwd=PROJECT_DIR,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    @property
    def output(self) -> str:
        return self.log.read_text()

    def check(self) -> None:
        """Fail if it has ended."""
        assert self.process.poll() is None, self.output

    def kill(self) -> None:
        """Kill all of its processes, as when the machine loses its power."""
        for found in running_with(self._mark):
            with suppress(ProcessLookupError):
                os.kill(found.pid, signal.SIGKILL)
        self.process.wait()

    def end(self) -> None:
        """Stop it if it runs."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            with suppress(subprocess.TimeoutExpired):
                self.process.wait(END_SECONDS)
        self.kill()


@contextmanager
def worker(folder: Path, **environ: str) -> Iterator[TaskQueue]:
    """Run a worker during the block, and check that it does not end before."""
    queue = TaskQueue(folder, environ)
    try:
        yield queue
        queue.check()
    finally:
        queue.end()


class RedisServer:
    """A Redis for one test, which can be stopped and loses everything then."""

    def __init__(self) -> None:
        self.port = free_port()
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self._process: subprocess.Popen[Any] | None = None
        self.start()

    @staticmethod
    def is_installed() -> bool:
        return shutil.which("redis-server") is not None

    def start(self) -> None:
        options = ("--port", str(self.port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no")
        self._process = subprocess.Popen(
            ["redis-server", *options],
            cwd=tempfile.gettempdir(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )

    def stop(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
