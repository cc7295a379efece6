"""Other programs write documents in every rhythm while a real worker syncs and sweeps their folder."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django_q.models import OrmQ

from sessions_app.mirror.registry import register_directory
from sessions_app.models import ArchivedSession, BrowserSession, CleanupPolicy, CleanupRun
from sessions_app.models.clock import database_now
from sessions_app.queue.enqueue import Task, send
from sessions_app.session.file_leases import is_open_for_writing
from tests.stress.census import NAMESPACE, reset
from tests.stress.effort import CHECKS, IS_FULL, TORN_WRITES
from tests.stress.task_queue import worker

WRITERS = 4
THREADS = 24 if IS_FULL else 15
SETTLE_SECONDS = 1
SWEEP_EVERY_SECONDS = 1.5
ROUNDS_AFTER = 5
CHECK_THREADS = 4
SLOWEST_OPEN_SECONDS = 0.05
LEASE_BREAK_SECONDS = 45

# Reports how long the slowest opens of each file take, without the worst one in a thousand, and the longest.
MEASURE_OPENING = """
import json, os, sys, time
took = {path: [] for path in sys.argv[1:]}
print("ready", flush=True)
os.set_blocking(0, False)
while sys.stdin.buffer.read(1) is None:
    for path, seconds in took.items():
        began = time.perf_counter()
        fd = os.open(path, os.O_WRONLY | os.O_APPEND)
        seconds.append(time.perf_counter() - began)
        os.close(fd)
print(json.dumps([[len(all), sorted(all)[-1 - len(all) // 1000], max(all)] for all in took.values()]))
"""


class Sweeps:
    """Queues the scheduled tasks every few seconds and records the documents that the sessions had."""

    def __init__(self, policy: CleanupPolicy) -> None:
        self.policy = policy
        self.seen: dict[str, set[str]] = {}
        self.count = 0

    def do_round(self) -> None:
        """Queue a sync and a sweep, and wait until both are done."""
        # The schedule would queue them only once a minute.
        send(Task.SYNC_DIRECTORIES)
        send(Task.SWEEP, self.policy.pk, database_now().isoformat())
        until = time.monotonic() + 60
        while OrmQ.objects.exists():
            assert time.monotonic() < until, "the worker did not empty the queue in time"
            time.sleep(0.1)
        self.count += 1
        for name, document in BrowserSession.objects.order_by().values_list("file_name", "content__document"):
            self.seen.setdefault(name, set()).add(bytes(document).decode())


def write_all(folder: Path, chance: random.Random, has_ended: threading.Event) -> list[dict[str, Any]]:
    """Run the writers and return the report of each try."""
    script = Path(__file__).with_name("torn_writer.py")
    tries = [len(range(number, TORN_WRITES, WRITERS)) for number in range(WRITERS)]
    writers = [
        subprocess.Popen(
            [sys.executable, str(script), str(folder), f"{chance.random():.6f}", str(count), str(THREADS)],
            stdout=subprocess.PIPE,
            text=True,
        )
        for count in tries
    ]
    outputs = [writer.communicate()[0] for writer in writers]
    has_ended.set()
    assert [writer.returncode for writer in writers] == [0] * WRITERS
    return [json.loads(line) for output in outputs for line in output.splitlines()]


def assert_no_byte_is_lost(report: dict[str, Any], folder: Path) -> str:
    """Check that the last content is in the folder or in the archive, and return where."""
    stem = report["file_name"].removesuffix(".json")
    there = [path.read_text() for path in folder.glob(f"{stem}*.json")]
    archived = [
        bytes(document).decode()
        for document in ArchivedSession.objects.filter(file_name__startswith=stem).values_list(
            "content__document", flat=True
        )
    ]
    last = report["closed"][-1]
    if last in there:
        return "in the folder"
    if last in archived:
        return "in the archive"
    # The first part was closed and removed before the second was written: each must exist.
    context = f"{report['rhythm']}:\n{there=}\n{archived=}"
    assert report["parts"] != [last], context
    assert all(part in there + archived for part in report["parts"]), context
    return "in parts"


def assert_no_torn_content(report: dict[str, Any], seen: set[str]) -> None:
    """Check that each document read was complete once, and that no torn one replaced a good one."""
    removed = ArchivedSession.objects.filter(file_name=report["file_name"])
    archived = {bytes(data).decode() for data in removed.values_list("content__document", flat=True)}
    for document in seen | archived:
        # If the first part of a document was removed, the second part is a separate file.
        assert document in report["closed"] or document in report["parts"], f"{report['rhythm']}: {document}"
    if seen and report["closed"][0] in seen and "-first" in report["closed"][0]:
        first_part = report["closed"][1] if len(report["closed"]) == 3 else None
        was_removed = report["closed"][0] in archived
        assert was_removed or first_part not in seen, "torn content replaced good content"


@pytest.mark.skipif(
    sys.platform != "linux",
    reason="other systems do not report a writer that pauses longer than the settle time",
)
@pytest.mark.django_db(transaction=True)
def test_no_byte_is_lost_and_no_torn_content_replaces_good_content(
    tmp_path: Path, chance: random.Random, note: Callable[[str], None]
) -> None:
    reset()
    CleanupPolicy.objects.all().delete()
    folder = tmp_path / "sessions"
    folder.mkdir()
    register_directory(folder, namespace=NAMESPACE)
    policy = CleanupPolicy.objects.create(
        name="often", schedule="* * * * *", is_enabled=True, brake_percent=None
    )
    for position, criterion in enumerate(("expired", "invalid"), 1):
        policy.steps.create(position=position, criterion=criterion)
    sweeps, has_ended, reports = Sweeps(policy), threading.Event(), list[dict[str, Any]]()
    writing = threading.Thread(target=lambda: reports.extend(write_all(folder, chance, has_ended)))
    with worker(tmp_path / "var", RAPTOR_SETTLE_SECONDS=str(SETTLE_SECONDS)):
        sweeps.do_round()
        writing.start()
        while not has_ended.wait(SWEEP_EVERY_SECONDS):
            sweeps.do_round()
        writing.join()
        for _ in range(ROUNDS_AFTER):
            time.sleep(SETTLE_SECONDS)
            sweeps.do_round()
    assert len(reports) == TORN_WRITES
    failed = CleanupRun.objects.exclude(state=CleanupRun.State.SUCCEEDED).exclude(error="")
    assert list(failed.values_list("error", flat=True)) == []
    places = Counter(assert_no_byte_is_lost(report, folder) for report in reports)
    for report in reports:
        assert_no_torn_content(report, sweeps.seen.get(report["file_name"], set()))
    assert [path.name for path in folder.iterdir() if path.suffix != ".json"] == []
    removed = sum(CleanupRun.objects.values_list("removed_count", flat=True))
    skipped = sum(CleanupRun.objects.values_list("skipped_count", flat=True))
    rhythms = {report["rhythm"] for report in reports}
    note(
        f"{TORN_WRITES} torn writes of {len(rhythms)} rhythms, {dict(places)}; "
        f"{sweeps.count} syncs and sweeps removed {removed} sessions and skipped {skipped}"
    )


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has leases")
def test_checking_for_writers_hardly_delays_a_writer(tmp_path: Path, note: Callable[[str], None]) -> None:
    paths = [tmp_path / "asked.json", tmp_path / "control.json"]
    for path in paths:
        path.write_bytes(b"{}")
    writer = subprocess.Popen(
        [sys.executable, "-c", MEASURE_OPENING, *map(str, paths)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert writer.stdout is not None
    writer.stdout.readline()
    answers: Counter[bool | None] = Counter()

    def check() -> None:
        mine: Counter[bool | None] = Counter()
        for _ in range(CHECKS // CHECK_THREADS):
            fd = os.open(paths[0], os.O_RDONLY)
            mine[is_open_for_writing(fd)] += 1
            os.close(fd)
        answers.update(mine)

    threads = [threading.Thread(target=check) for _ in range(CHECK_THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    output, _ = writer.communicate(b"x")
    assert writer.returncode == 0
    (opens, asked_seconds, longest_seconds), (_, control_seconds, _) = json.loads(output)
    note(
        f"{answers.total()} checks {dict(answers)} beside {opens} opens, of which 99.9 % took at most "
        f"{asked_seconds * 1000:.1f} ms; for a file that was not checked {control_seconds * 1000:.1f} ms"
    )
    assert answers.keys() == {True, False}
    # A busy machine delays any process; the control file measures by how much. It can also suspend a thread
    # that holds a lease, for less long than a lease that is never given back.
    assert asked_seconds < SLOWEST_OPEN_SECONDS + control_seconds
    assert longest_seconds < LEASE_BREAK_SECONDS / 10
