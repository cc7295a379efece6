"""Processes that copy the sessions into new tables are killed at random times, and others continue."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.benchmarks.places import Place, empty_place
from tests.conftest import DATABASE_VARIABLE
from tests.factories import PROJECT_DIR
from tests.stress.effort import IS_FULL

KILLS = 20 if IS_FULL else 3


def started(place: Place, step: str, folder: Path) -> subprocess.Popen[str]:
    environment = {
        **os.environ,
        "RAPTOR_DATABASE_URL": place.url,
        "RAPTOR_VAR_DIR": str(folder),
        "DJANGO_SETTINGS_MODULE": "raptor_admin.settings",
    }
    command = [sys.executable, "-m", "tests.stress.migrating", step]
    return subprocess.Popen(command, env=environment, cwd=PROJECT_DIR, stdout=subprocess.PIPE, text=True)


def output_of(place: Place, step: str, folder: Path) -> str:
    with started(place, step, folder) as process:
        assert process.stdout is not None
        text = process.stdout.read()
    assert process.returncode == 0
    return text


@pytest.fixture
def filled(tmp_path: Path) -> Iterator[Place]:
    vendor = "postgresql" if os.environ.get(DATABASE_VARIABLE) else "sqlite"
    place = empty_place(vendor, tmp_path)
    try:
        output_of(place, "fill", tmp_path)
        yield place
    finally:
        place.drop()


def test_a_migration_killed_at_any_time_continues_with_the_same_result(
    filled: Place, tmp_path: Path, chance: random.Random, note: Callable[[str], None]
) -> None:
    whole = filled.copy("whole")
    try:
        typical = seconds_until_end(whole, tmp_path)
        expected = output_of(whole, "digest", tmp_path)
    finally:
        whole.drop()
    midway = 0
    for number in range(KILLS):
        place = filled.copy(f"killed_{number}")
        try:
            midway += killed(place, tmp_path, chance.uniform(0, typical))
            output_of(place, "migrate", tmp_path)
            assert output_of(place, "digest", tmp_path) == expected
        finally:
            place.drop()
    note(f"{midway} kills in mid-migration of {KILLS} tries over {typical:.2f} s each")


def seconds_until_end(place: Place, folder: Path) -> float:
    with started(place, "migrate", folder) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "begun\n"
        began = time.perf_counter()
        assert process.stdout.read() == "ended\n"
    return time.perf_counter() - began


def killed(place: Place, folder: Path, delay_seconds: float) -> bool:
    """Kill a migration after a delay; return whether it had not ended."""
    with started(place, "migrate", folder) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "begun\n"
        time.sleep(delay_seconds)
        process.kill()
        return process.stdout.read() != "ended\n"
