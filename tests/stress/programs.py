"""Start programs of ``tests.stress.program``, which find the database through the environment."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from django.db import connection

from raptor_admin.environment import PREFIX
from tests.conftest import DATABASE_VARIABLE
from tests.stress.program import SEED_VARIABLE

PROJECT_DIR = Path(__file__).resolve().parents[2]


class Program:
    """A program that waits, works and reports."""

    def __init__(self, environment: dict[str, str], job: str, manager: dict[str, Any], **job_arguments: Any):
        command = [sys.executable, "-m", "tests.stress.program", job]
        self._process = subprocess.Popen(
            [*command, json.dumps(manager), json.dumps(job_arguments)],
            cwd=PROJECT_DIR,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def wait_until_ready(self) -> None:
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == "ready\n", "it did not start: see its last words"

    def start(self) -> None:
        """Start the job."""
        assert self._process.stdin is not None
        self._process.stdin.write("begin\n")
        self._process.stdin.flush()

    def result(self) -> dict[str, Any]:
        """End the input and return the report."""
        output, _ = self._process.communicate()
        assert self._process.returncode == 0, "it broke: see its last words"
        report: dict[str, Any] = json.loads(output)
        return report

    def end(self) -> None:
        """End the program in any state."""
        self._process.kill()
        self._process.communicate()


class Programs:
    """Programs that share a database and a folder."""

    def __init__(self, var_dir: Path, seed: str) -> None:
        kept = {name: value for name, value in os.environ.items() if not name.startswith(PREFIX)}
        kept.pop("DJANGO_SETTINGS_MODULE", None)
        self._environment = {
            **kept,
            "RAPTOR_VAR_DIR": str(var_dir),
            "RAPTOR_DATABASE_URL": database_url(),
            SEED_VARIABLE: seed,
        }
        self._programs: list[Program] = []
        self._results = ThreadPoolExecutor(thread_name_prefix="results")

    def add(self, job: str, manager: dict[str, Any], **job_arguments: Any) -> Program:
        program = Program(self._environment, job, manager, **job_arguments)
        self._programs.append(program)
        return program

    def begin(self) -> None:
        """Start all jobs at once."""
        for program in self._programs:
            program.wait_until_ready()
        for program in self._programs:
            program.start()

    def result(self, program: Program) -> Future[dict[str, Any]]:
        """Wait for a program in a thread."""
        return self._results.submit(program.result)

    def end(self) -> None:
        for program in self._programs:
            program.end()
        self._results.shutdown()


@contextmanager
def programs(var_dir: Path, seed: object) -> Iterator[Programs]:
    """Yield programs, and end them after the block."""
    started = Programs(var_dir, str(seed))
    try:
        yield started
    finally:
        started.end()


def database_url() -> str:
    """Return the address of the database of the test, for the environment."""
    name = str(connection.settings_dict["NAME"])
    if connection.vendor == "sqlite":
        return f"sqlite:///{name}"
    return urlsplit(os.environ[DATABASE_VARIABLE])._replace(path=f"/{name}").geturl()
