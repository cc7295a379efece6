"""Random numbers of the stress tests, and their summary."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable, Iterator

import pytest
from django.core.management import call_command
from django.db import connections
from pytest_django import DjangoDbBlocker

from tests.conftest import DATABASE_VARIABLE
from tests.stress.cluster import USER, Cluster
from tests.stress.effort import IS_FULL

collect_ignore = [] if IS_FULL and os.environ.get(DATABASE_VARIABLE) else ["test_restarts.py"]
if not os.environ.get(DATABASE_VARIABLE):
    # It starts its own PostgreSQL server.
    collect_ignore += ["test_machines.py", "test_queue.py"]
_notes: list[str] = []


@pytest.fixture
def chance(request: pytest.FixtureRequest) -> random.Random:
    """Random numbers that ``-p randomly_seed=…`` repeats."""
    return random.Random(f"{request.config.getoption('randomly_seed')} {request.node.name}")


@pytest.fixture
def note(request: pytest.FixtureRequest) -> Iterator[Callable[[str], None]]:
    """A function that adds a line to the summary."""
    began = time.monotonic()
    lines: list[str] = []
    yield lines.append
    seconds = time.monotonic() - began
    _notes.extend(f"{request.node.name}: {line} in {seconds:.0f} s" for line in lines)


@pytest.fixture
def cluster(django_db_blocker: DjangoDbBlocker) -> Iterator[Cluster]:
    """A server for the test, whose database is the default one during it."""
    own, usual = connections["default"], connections.settings["default"]
    cluster = Cluster()
    place = {"HOST": "127.0.0.1", "PORT": str(cluster.port), "USER": USER, "PASSWORD": ""}
    connections.settings["default"] = {**usual, **place, "NAME": "postgres"}
    del connections["default"]
    try:
        cluster.start()
        with django_db_blocker.unblock():
            call_command("migrate", verbosity=0)
            yield cluster
            connections["default"].close()
    finally:
        connections.settings["default"] = usual
        connections["default"] = own
        cluster.remove()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Print the summary."""
    if _notes:
        database = "PostgreSQL" if os.environ.get(DATABASE_VARIABLE) else "SQLite"
        terminalreporter.section(f"tried on {database}, seed {config.getoption('randomly_seed')}")
        for line in _notes:
            terminalreporter.write_line(line)
