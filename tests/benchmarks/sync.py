"""Measure a sync of 10,000 files against a scan and against reading them in plain Python."""

from __future__ import annotations

import json
import os
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

FILES = 10_000
ROUNDS = 7


def best_seconds(work: Callable[[], object], *, before: Callable[[], object] = lambda: None) -> float:
    """Return the shortest of several times, which other load affects least."""
    times = []
    for _ in range(ROUNDS):
        before()
        started_at = time.perf_counter()
        work()
        times.append(time.perf_counter() - started_at)
    return min(times)


def measure() -> None:
    """Print the rows of the table as JSON, one a line."""
    import django

    django.setup()
    from django.core.management import call_command

    call_command("migrate", verbosity=0)
    with tempfile.TemporaryDirectory(prefix="raptor-bench-files-") as folder:
        _measure_folder(Path(folder))


def _measure_folder(folder: Path) -> None:
    from django.db import connection

    from sessions_app.management.demo_documents import write_demo
    from sessions_app.mirror.registry import register_directory, sync_directory
    from sessions_app.models import BrowserSession, SessionDocument

    write_demo(folder, count=FILES, seed=1, as_of=datetime(2026, 11, 22, tzinfo=UTC))
    directory = register_directory(folder)

    def sync() -> None:
        sync_directory(directory, trigger="command")

    def forget() -> None:
        # Empty the table without a cleanup, to fill it again.
        verb = "TRUNCATE" if connection.vendor == "postgresql" else "DELETE FROM"
        with connection.cursor() as cursor:
            for model in (BrowserSession, SessionDocument):
                cursor.execute(f"{verb} {model._meta.db_table}")

    print_row(
        "first import of 10,000 files",
        "reading and json.loads",
        best_seconds(sync, before=forget),
        best_seconds(lambda: read(folder)),
        2.5,
    )
    look_seconds = best_seconds(lambda: look(folder))
    print_row("sync of 10,000 unchanged files", "os.scandir + stat", best_seconds(sync), look_seconds, 2)


def read(folder: Path) -> None:
    for name in os.listdir(folder):  # noqa: PTH208  # pathlib is slower
        with open(f"{folder}/{name}", "rb") as file:
            try:
                json.loads(file.read())
            except ValueError:
                continue


def look(folder: Path) -> None:
    with os.scandir(folder) as entries:
        for entry in entries:
            entry.stat()


def print_row(what: str, against: str, seconds: float, plain_seconds: float, limit: float) -> None:
    print(json.dumps([what, against, f"{seconds / plain_seconds:.2f}", str(limit)]), flush=True)


if __name__ == "__main__":
    measure()
