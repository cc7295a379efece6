"""The next request for a run whose process was killed resumes it, without the worker."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
from django.test import Client

from sessions_app import tasks
from sessions_app.cleanup import run_cleanup, undo_cleanup
from sessions_app.mirror.registry import register_directory, sync_directory
from sessions_app.models import CleanupPolicy, CleanupRun
from sessions_app.models.clock import database_now
from tests.clients import RUNS, run
from tests.factories import OLD, archived, live, make_session, make_sessions, plan, put, swept
from tests.integration.mirror.test_crashes import environment

SESSIONS = 60
UNDO_IN_SMALL_BATCHES = """
import django, sys
django.setup()
from sessions_app.cleanup import undo_cleanup
from sessions_app.models import CleanupRun
def wait(more):
    print(more, flush=True)
    sys.stdin.read()
undo_cleanup(CleanupRun.objects.get(pk=sys.argv[1]), batch_size=5, progress=wait)
"""
State = CleanupRun.State


def stall(ledger: CleanupRun, state: str) -> None:
    """Put a run into the state in which a process leaves it that was killed three minutes ago."""
    long_ago = database_now() - timedelta(minutes=3)
    began_at = long_ago if state == State.UNDOING else None
    CleanupRun.objects.filter(pk=ledger.pk).update(
        state=state, heartbeat_at=long_ago, undo_started_at=began_at
    )
    ledger.refresh_from_db()


@pytest.mark.django_db(transaction=True)
def test_the_command_resumes_an_undo_whose_process_was_killed(tmp_path: Path) -> None:
    directory = register_directory(tmp_path, namespace="shop")
    for number in range(SESSIONS):
        put(tmp_path, f"s{number:02}", **OLD)
    sync_directory(directory, trigger="command")
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    ledger = swept()
    process = subprocess.Popen(
        [sys.executable, "-c", UNDO_IN_SMALL_BATCHES, str(ledger.pk)],
        env=environment(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert process.stdout is not None
    process.stdout.readline()
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    ledger.refresh_from_db()
    assert (ledger.state, 0 < ledger.restored_count < SESSIONS) == (State.UNDOING, True)

    refused = run("undo_cleanup", str(ledger.pk))
    assert refused.status == 1
    assert "Another process is working on it" in refused.err
    assert "try again 120 seconds after its last heartbeat" in refused.err

    CleanupRun.objects.update(heartbeat_at=database_now() - timedelta(minutes=3))
    outcome = run("undo_cleanup", str(ledger.pk))
    assert (outcome.status, outcome.err) == (0, "")
    assert f"{SESSIONS} of {SESSIONS} sessions restored" in outcome.out
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before
    assert archived() == []


@pytest.mark.django_db
class TestResume:
    @pytest.fixture
    def ledger(self) -> CleanupRun:
        make_sessions(3, **OLD)
        return swept()

    def test_a_run_read_before_the_worker_marked_it_is_resumed(self, ledger: CleanupRun) -> None:
        stall(ledger, State.UNDOING)
        stale = CleanupRun.objects.get()
        CleanupRun.objects.update(state=State.INTERRUPTED, attempt=ledger.attempt + 1)
        assert undo_cleanup(stale).state == State.UNDONE
        assert len(live()) == 3

    def test_an_undo_that_ended_in_the_meantime_is_not_repeated(self, ledger: CleanupRun) -> None:
        first, second = CleanupRun.objects.get(), CleanupRun.objects.get()
        undo_cleanup(first)
        assert run("undo_cleanup", str(second.pk)).status == 0
        assert CleanupRun.objects.get().restored_count == 3

    @pytest.mark.parametrize(
        "resume",
        [
            lambda ledger: tasks.continue_undo(ledger.pk),
            lambda ledger: tasks.undo_run(ledger.pk, "operator"),
            lambda ledger: undo_cleanup(ledger),
        ],
        ids=["continue_undo", "undo_run", "service"],
    )
    def test_tasks_and_services_resume_it_too(
        self, ledger: CleanupRun, resume: Callable[[CleanupRun], object]
    ) -> None:
        stall(ledger, State.UNDOING)
        resume(ledger)
        assert (len(live()), CleanupRun.objects.get().state) == (3, State.UNDONE)

    @pytest.mark.parametrize("button", ["resume", "undo"])
    def test_both_buttons_of_the_page_resume_it(
        self, ledger: CleanupRun, as_root: Client, button: str
    ) -> None:
        stall(ledger, State.UNDOING)
        as_root.post(f"{RUNS}{ledger.pk}/{button}/")
        assert (len(live()), CleanupRun.objects.get().state) == (3, State.UNDONE)

    def test_a_cleanup_whose_process_died_is_resumed_by_the_next_call(self) -> None:
        make_sessions(3, **OLD)
        ledger = plan(expired=True)
        stall(ledger, State.RUNNING)
        run_cleanup(ledger)
        assert (ledger.state, ledger.removed_count) == (State.SUCCEEDED, 3)

    def test_an_undo_that_is_running_is_refused_with_advice(self, ledger: CleanupRun) -> None:
        now = database_now()
        CleanupRun.objects.update(state=State.UNDOING, heartbeat_at=now)
        refused = run("undo_cleanup", str(ledger.pk))
        assert refused.status == 1
        assert refused.err.startswith(f"Run {ledger.pk} is already being undone.")
        assert "Wait until it has ended" in refused.err


@pytest.mark.django_db
def test_a_run_of_a_policy_whose_process_died_does_not_block_the_policy(nightly: CleanupPolicy) -> None:
    make_sessions(3, **OLD)
    assert run("cleanup_sessions", "--policy", nightly.name, "--yes").status == 0
    make_session("late", **OLD)
    first = CleanupRun.objects.order_by("pk").first()
    assert first is not None
    stall(first, State.RUNNING)
    outcome = run("cleanup_sessions", "--policy", nightly.name, "--yes")
    assert (outcome.status, outcome.err) == (0, "")
    assert live() == []
    first.refresh_from_db()
    assert first.state == State.INTERRUPTED
