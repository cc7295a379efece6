"""Other programs write documents in every rhythm while a real worker syncs and sweeps their folder."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django_q.models import OrmQ
from django_q.tasks import async_task

from raptor_admin.environment import PREFIX
from sessions_app.mirror.registry import register_directory
from sessions_app.models import ArchivedSession, BrowserSession, CleanupPolicy, CleanupRun
from sessions_app.models.clock import database_now
from sessions_app.session.file_leases import is_open_for_writing
from tests.stress.census import NAMESPACE, reset
from tests.stress.effort import CHECKS, IS_FULL, TORN_WRITES
from tests.stress.programs import PROJECT_DIR, database_url

WRITERS = 4
THREADS = 24 if IS_FULL else 8
SETTLE_SECONDS = 1
SWEEP_EVERY_SECONDS = 1.5
ROUNDS_AFTER = 5
CHECK_THREADS = 4
LONGEST_OPEN_SECONDS = 0.05

MEASURE_OPENING = """
import json, os, sys, time
longest = {path: 0 for path in sys.argv[1:]}
count = 0
print("ready", flush=True)
os.set_blocking(0, False)
while sys.stdin.buffer.read(1) is None:
    for path in longest:
        began = time.perf_counter()
        fd = os.open(path, os.O_WRONLY | os.O_APPEND)
        longest[path] = max(longest[path], time.perf_counter() - began)
        os.close(fd)
    count += 1
print(json.dumps([count, *longest.values()]))
"""


@contextmanager
def worker(folder: Path) -> Iterator[None]:
    """Run the task queue as ``make up`` does."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(PREFIX)}
    kept.pop("DJANGO_SETTINGS_MODULE", None)
    environment = {
        **kept,
        "RAPTOR_VAR_DIR": str(folder),
        "RAPTOR_DATABASE_URL": database_url(),
        "RAPTOR_SECRET_KEY": settings.SECRET_KEY,
        "RAPTOR_SETTLE_SECONDS": str(SETTLE_SECONDS),
    }
    log = folder.with_suffix(".log")
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "manage.py", "qcluster"],
            cwd=PROJECT_DIR,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        yield
        assert process.poll() is None, log.read_text()
        process.send_signal(signal.SIGTERM)
        process.wait(30)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


class Sweeps:
    """Gives the worker the tasks of the schedule every few seconds, and watches the sessions meanwhile."""

    def __init__(self, policy: CleanupPolicy) -> None:
        self.policy = policy
        self.seen: dict[str, set[str]] = {}
        self.count = 0

    def do_round(self) -> None:
        """Queue a sync and a sweep, and wait until both are done."""
        # As django-q2's scheduler does it, which looks only twice a minute.
        async_task("sessions_app.tasks.sync_directories")
        async_task("sessions_app.tasks.sweep", self.policy.pk, database_now().isoformat())
        until = time.monotonic() + 60
        while OrmQ.objects.exists():
            assert time.monotonic() < until, "the worker does not work"
            time.sleep(0.1)
        self.count += 1
        for name, document in BrowserSession.objects.order_by().values_list("file_name", "document"):
            self.seen.setdefault(name, set()).add(bytes(document).decode())


def write_all(folder: Path, chance: random.Random, has_ended: threading.Event) -> list[dict[str, Any]]:
    """Run the writers; return what each of their tries wrote."""
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


def assert_no_byte_is_lost(told: dict[str, Any], folder: Path) -> str:
    """The last content is whole: in the folder, or in the archive. Returns where it is."""
    stem = told["file_name"].removesuffix(".json")
    there = [path.read_text() for path in folder.glob(f"{stem}*.json")]
    archived = [
        bytes(document).decode()
        for document in ArchivedSession.objects.filter(file_name__startswith=stem).values_list(
            "document", flat=True
        )
    ]
    last = told["closed"][-1]
    if last in there:
        return "in the folder"
    if last in archived:
        return "in the archive"
    # A part that was closed was removed, and the other part came later: both are whole.
    assert told["parts"] != [last], f"{told['rhythm']}: lost\n{there=}\n{archived=}"
    assert all(part in there + archived for part in told["parts"]), f"{told['rhythm']}: {there=} {archived=}"
    return "in parts"


def assert_no_torn_content(told: dict[str, Any], seen: set[str]) -> None:
    """What was read was whole at some time, and good content was followed by whole content only."""
    archived = ArchivedSession.objects.filter(file_name=told["file_name"]).values_list("document", flat=True)
    for document in seen.union(bytes(data).decode() for data in archived):
        # The rest of a document whose first part was removed is a file of its own.
        assert document in told["closed"] or document in told["parts"], f"{told['rhythm']}: {document}"
    if seen and told["closed"][0] in seen and "-first" in told["closed"][0]:
        first_part = told["closed"][1] if len(told["closed"]) == 3 else None
        was_removed = ArchivedSession.objects.filter(
            file_name=told["file_name"], document=told["closed"][0].encode()
        ).exists()
        assert was_removed or first_part not in seen, "torn content replaced good content"


@pytest.mark.skipif(
    sys.platform != "linux",
    reason="elsewhere a writer that pauses for longer than the settle time is not seen",
)
@pytest.mark.django_db(transaction=True)
def test_no_byte_is_lost_and_no_good_content_is_replaced_by_a_torn_one(
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
    sweeps, has_ended, told = Sweeps(policy), threading.Event(), list[dict[str, Any]]()
    writing = threading.Thread(target=lambda: told.extend(write_all(folder, chance, has_ended)))
    with worker(tmp_path / "var"):
        sweeps.do_round()
        writing.start()
        while not has_ended.wait(SWEEP_EVERY_SECONDS):
            sweeps.do_round()
        writing.join()
        for _ in range(ROUNDS_AFTER):
            time.sleep(SETTLE_SECONDS)
            sweeps.do_round()
    assert len(told) == TORN_WRITES
    failed = CleanupRun.objects.exclude(state=CleanupRun.State.SUCCEEDED).exclude(error="")
    assert list(failed.values_list("error", flat=True)) == []
    places = Counter(assert_no_byte_is_lost(one, folder) for one in told)
    for one in told:
        assert_no_torn_content(one, sweeps.seen.get(one["file_name"], set()))
    assert [path.name for path in folder.iterdir() if path.suffix != ".json"] == []
    removed = sum(CleanupRun.objects.values_list("removed_count", flat=True))
    skipped = sum(CleanupRun.objects.values_list("skipped_count", flat=True))
    note(
        f"{TORN_WRITES} torn writes of {len({one['rhythm'] for one in told})} rhythms, {dict(places)}; "
        f"{sweeps.count} syncs and sweeps removed {removed} sessions and skipped {skipped}"
    )


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has leases")
def test_a_writer_hardly_waits_for_the_question_whether_it_writes(
    tmp_path: Path, note: Callable[[str], None]
) -> None:
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
    opens, asked_seconds, control_seconds = json.loads(output)
    note(
        f"{answers.total()} checks {dict(answers)} beside {opens} opens, of which the longest took "
        f"{asked_seconds * 1000:.1f} ms; for a file that nobody asked about {control_seconds * 1000:.1f} ms"
    )
    assert answers.keys() == {True, False}
    # A busy machine delays any process: the control says by how much.
    assert asked_seconds < LONGEST_OPEN_SECONDS + control_seconds
