"""Compare an undo of mirrored files beside a program that commits continuously with the undo alone.

``python -m tests.benchmarks.undo`` prints each row of the table as a line of JSON. With the argument
``write`` it is the program that commits.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import django

FILES = 20_000
COMMITS_A_SECOND = 20
LIMIT = 3


def measure(files: int) -> None:
    """Undo the same cleanup twice, first alone."""
    django.setup()
    from django.core.management import call_command

    from tests.benchmarks.sync import print_row

    call_command("migrate", verbosity=0)
    with tempfile.TemporaryDirectory(prefix="raptor-bench-files-") as folder:
        _fill(Path(folder), files)
        alone_seconds = _time_undo(files)
        with writer() as report:
            seconds = _time_undo(files)
    what = f"undo of {files:,} files beside a program that commits {COMMITS_A_SECOND} times a second"
    print_row(what, "alone", seconds, alone_seconds, LIMIT)
    print(f"{alone_seconds:.1f} s alone, {seconds:.1f} s beside the writer: {report}", file=sys.stderr)


def _fill(folder: Path, files: int) -> None:
    from sessions_app.mirror.registry import register_directory, sync_directory
    from tests.factories import OLD, put

    for number in range(files):
        put(folder, f"session-{number:05}", metadata={"number": number}, **OLD)
    result = sync_directory(register_directory(folder, namespace="shop"), trigger="command")
    assert result.added == files


def _time_undo(files: int) -> float:
    """Clean up all sessions, and return the time of the undo."""
    from sessions_app.cleanup import plan_cleanup, run_cleanup, undo_cleanup
    from sessions_app.session.criteria import Criteria

    run = run_cleanup(plan_cleanup(Criteria(namespace="shop", all=True), trigger="command"))
    assert run.removed_count == files
    began = time.perf_counter()
    undo_cleanup(run)
    seconds = time.perf_counter() - began
    assert (run.state, run.restored_count, run.error) == ("undone", files, "")
    return seconds


@contextmanager
def writer() -> Iterator[dict[str, Any]]:
    """Run the program that commits; the report is filled when the block ends."""
    report: dict[str, Any] = {}
    command = [sys.executable, "-m", "tests.benchmarks.undo", "write"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        process.stdout.readline()
        try:
            yield report
        finally:
            process.send_signal(signal.SIGTERM)
            report.update(json.loads(process.stdout.readline()))


def write() -> None:
    """Commit changes of a session until SIGTERM; print their number and the longest time."""
    django.setup()
    from sessions_app.models import BrowserSession
    from tests.benchmarks.cleanup import seconds_of

    stopped: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, frame: stopped.append(number))
    session = BrowserSession.objects.create(namespace="other", name="busy")
    own = BrowserSession.objects.filter(pk=session.pk)
    print("ready", flush=True)
    writes, longest = 0, 0.0
    due = time.monotonic()
    while not stopped:
        longest = max(longest, seconds_of(partial(own.update, session_id=str(writes))))
        writes += 1
        due = max(due + 1 / COMMITS_A_SECOND, time.monotonic())
        time.sleep(max(0, due - time.monotonic()))
    print(json.dumps({"writes": writes, "longest_seconds": longest}), flush=True)


if __name__ == "__main__":
    if sys.argv[1:] == ["write"]:
        write()
    else:
        measure(int(sys.argv[1]) if sys.argv[1:] else FILES)
