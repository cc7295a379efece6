"""Two processes with the same task, and a suspended process whose run was taken over."""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from django.db import OperationalError, connection, transaction

from sessions_app.cleanup import run_cleanup
from sessions_app.models import ArchivedSession, BrowserSession, CleanupPolicy, CleanupRun, CleanupStep
from tests.factories import plan
from tests.stress import jobs
from tests.stress.census import assert_whole, fill, live_sessions
from tests.stress.effort import PAIRS, TAKEOVERS
from tests.stress.processes import Outcome, Worker, workers

pytestmark = pytest.mark.django_db(transaction=True)

SESSIONS = 120
BATCH_SIZE = 10
State = CleanupRun.State


def at_once(pair: list[Worker], job: Callable[..., int], *arguments: object) -> list[Outcome]:
    """Run the same job in both processes at once."""
    for worker in pair:
        worker.start(job, *arguments)
    return [worker.result() for worker in pair]


def assert_one_did_it(outcomes: list[Outcome]) -> None:
    """Check that one process did the work and the other was refused."""
    refused, done = sorted(outcomes, key=lambda outcome: not outcome.error)
    assert (done.error, done.value) == ("", SESSIONS), done
    assert refused.error == "CleanupInProgress", refused
    assert "taken over" not in refused.message, "the run must be refused before it does anything"


@pytest.mark.parametrize("is_read_before", [False, True], ids=["by id", "as read before"])
def test_of_two_processes_with_the_same_run_or_undo_one_does_it(
    is_read_before: bool, note: Callable[[str], None]
) -> None:
    with workers(2) as pair:
        for _ in range(PAIRS):
            fill(SESSIONS)
            before, run = live_sessions(), plan(expired=True)
            assert_one_did_it(at_once(pair, jobs.run, run if is_read_before else run.pk, BATCH_SIZE))
            assert assert_whole(before, run) == (0, SESSIONS)
            assert (run.state, run.attempt, run.removed_count) == (State.SUCCEEDED, 1, SESSIONS)
            outcomes = at_once(pair, jobs.undo, run if is_read_before else run.pk, BATCH_SIZE)
            # A process that starts after the end of an undo finds it done and is not refused.
            assert sorted((o.value, o.error) for o in outcomes if not o.error)[0] == (SESSIONS, "")
            assert {outcome.error for outcome in outcomes} <= {"", "CleanupInProgress"}
            assert assert_whole(before, run) == (SESSIONS, 0)
            assert (run.state, run.attempt, run.restored_count) == (State.UNDONE, 2, SESSIONS)
    note(f"{PAIRS} runs and undos given to two processes at once, each done once")


def test_a_step_of_a_sweep_that_is_delivered_twice_is_one_run(note: Callable[[str], None]) -> None:
    policy = CleanupPolicy.objects.create(name="nightly")
    step = CleanupStep.objects.create(policy=policy, position=0, criterion="expired", max_age_days=7)
    due_at = datetime(2026, 11, 22, 2, tzinfo=UTC)
    with workers(2) as pair:
        for night in range(PAIRS):
            fill(SESSIONS)
            before = live_sessions()
            outcomes = at_once(pair, jobs.plan_and_run, step.pk, due_at + timedelta(night), BATCH_SIZE)
            assert_one_did_it(outcomes)
            assert assert_whole(before, CleanupRun.objects.get()) == (0, SESSIONS)
    note(f"{PAIRS} steps delivered to two processes at once, each planned and run once")


def test_two_runs_of_the_same_sessions_remove_each_once(note: Callable[[str], None]) -> None:
    shared = 0
    with workers(2) as pair:
        for _ in range(PAIRS):
            fill(SESSIONS)
            before, first, second = live_sessions(), plan(expired=True), plan(expired=True)
            for worker, run in zip(pair, (first, second), strict=True):
                worker.start(jobs.run, run.pk, BATCH_SIZE)
            outcomes = [worker.result() for worker in pair]
            assert not any(outcome.error for outcome in outcomes), outcomes
            assert assert_whole(before, first, second) == (0, SESSIONS)
            assert first.removed_count + second.removed_count == SESSIONS
            for run in (first, second):
                assert run.removed_count + run.skipped_count == run.matched_count == SESSIONS
                assert len(run.skipped_sessions) == run.skipped_count
            shared += 0 < first.removed_count < SESSIONS
    note(f"{PAIRS} pairs of runs of the same sessions, {shared} of which shared them")


def test_of_two_processes_that_resume_the_same_stalled_run_one_does_it(
    chance: random.Random, note: Callable[[str], None]
) -> None:
    positions: list[int] = []
    while len(positions) < PAIRS:
        fill(SESSIONS)
        before, run = live_sessions(), plan(expired=True)
        with workers(1) as (victim,):
            victim.start(jobs.run, run.pk, BATCH_SIZE)
            time.sleep(chance.uniform(0.01, 0.1))
            victim.kill()
        run.refresh_from_db()
        if run.state != State.RUNNING:
            continue
        if not jobs.mark_dead(run):
            continue
        positions.append(run.removed_count)
        with workers(2) as pair:
            assert_one_did_it(at_once(pair, jobs.run, run.pk, BATCH_SIZE))
        assert assert_whole(before, run) == (0, SESSIONS)
        assert (run.state, run.attempt) == (State.SUCCEEDED, 2)
    begun = sum(count > 0 for count in positions)
    note(f"{PAIRS} stalled runs resumed by two processes at once, {begun} of them started")


def holds_locks() -> bool:
    """Return whether another connection holds locks in an open transaction."""
    if connection.vendor == "sqlite":
        connection.close()
        options, patient = connection.settings_dict["OPTIONS"], connection.settings_dict["OPTIONS"]["timeout"]
        options["timeout"] = 0.05
        try:
            with transaction.atomic():
                return False
        except OperationalError:
            return True
        finally:
            options["timeout"] = patient
            connection.close()
    with transaction.atomic():
        for model in (CleanupRun, BrowserSession, ArchivedSession):
            free = model._default_manager.select_for_update(skip_locked=True).order_by()
            if len(free.values_list("pk")) != model._default_manager.count():
                return True
    with connection.cursor() as cursor:
        # Rows that were moved and not committed are locked in a way that no query shows.
        cursor.execute(
            "SELECT COUNT(*) FROM pg_stat_activity WHERE datname = current_database() "
            "AND pid <> pg_backend_pid() AND xact_start IS NOT NULL"
        )
        return bool(cursor.fetchone()[0])


def test_a_resumed_process_changes_nothing_in_a_run_that_was_taken_over(
    chance: random.Random, note: Callable[[str], None]
) -> None:
    wanted, outcomes, locked = TAKEOVERS, Counter[str](), 0
    while outcomes.total() < wanted:
        fill(SESSIONS)
        before, run = live_sessions(), plan(expired=True)
        with workers(1) as (sleeper,):
            sleeper.start(jobs.run, run.pk, 3)
            time.sleep(chance.uniform(0.01, 0.1))
            sleeper.suspend()
            if holds_locks():
                locked += 1
                continue
            run.refresh_from_db()
            if run.state != State.RUNNING:
                continue
            assert jobs.mark_dead(run)
            at_end = chance.random() < 0.5
            if at_end:
                run_cleanup(run)
            sleeper.go_on()
            if not at_end:
                run_cleanup(run, batch_size=3)
            outcome = sleeper.result()
        assert outcome.error == "CleanupInProgress", outcome
        outcomes["after its end" if at_end else "while it was running elsewhere"] += 1
        assert assert_whole(before, run) == (0, SESSIONS)
        assert (run.state, run.attempt, run.removed_count) == (State.SUCCEEDED, 2, SESSIONS)
    note(
        f"{outcomes.total()} runs taken over from a suspended process that woke up {dict(outcomes)}; "
        f"{locked} more were suspended inside a transaction"
    )
