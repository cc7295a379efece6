"""Jobs for the processes of the stress tests; each ends when ``is_stopped`` returns True."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import NamedTuple

from django.db import IntegrityError, OperationalError, transaction

from sessions_app.cleanup import (
    empty_archive,
    mark_stalled_runs,
    plan_cleanup,
    restore_sessions,
    run_cleanup,
    undo_cleanup,
)
from sessions_app.models import BrowserSession, CleanupPolicy, CleanupRun, CleanupStep
from sessions_app.models.clock import database_now
from sessions_app.session.criteria import Criteria
from tests.factories import AS_OF
from tests.stress.census import make_row

IsStopped = Callable[[], bool]
LATER = timedelta(hours=1)
"""Interval without a heartbeat after which any run counts as stalled."""


def _run_of(run: CleanupRun | int) -> CleanupRun:
    return CleanupRun.objects.get(pk=run) if isinstance(run, int) else run


def run(is_stopped: IsStopped, run: CleanupRun | int, batch_size: int) -> int:
    """Run or resume a plan, given its id or a loaded object."""
    return run_cleanup(_run_of(run), batch_size=batch_size).removed_count


def undo(is_stopped: IsStopped, run: CleanupRun | int, batch_size: int) -> int:
    """Undo a run or resume its undo, given its id or a loaded object."""
    return undo_cleanup(_run_of(run), batch_size=batch_size).restored_count


def plan_and_run(is_stopped: IsStopped, step_id: int, due_at: datetime, batch_size: int) -> int:
    """Plan and run a step of a sweep, as its task does."""
    step = CleanupStep.objects.get(pk=step_id)
    planned = plan_cleanup(Criteria(expired=True), trigger="schedule", as_of=AS_OF, step=step, due_at=due_at)
    return run_cleanup(planned, batch_size=batch_size).removed_count


def mark_dead(run: CleanupRun) -> bool:
    """Mark a run of a dead process, as the task does; return whether it was running."""
    mark_stalled_runs(as_of=database_now() + LATER)
    run.refresh_from_db()
    return run.state == CleanupRun.State.INTERRUPTED


class Change(NamedTuple):
    """A write to one session, with the times before and after it by the system's monotonic clock."""

    pk: int
    kind: str
    token: str
    began_ns: int
    ended_ns: int
    is_hit: bool


def _touch(pk: int, token: str) -> bool:
    return BrowserSession.objects.filter(pk=pk).update(last_accessed=AS_OF, session_id=token) == 1


def _pin(pk: int, token: str) -> bool:
    return BrowserSession.objects.filter(pk=pk).update(is_pinned=True, session_id=token) == 1


def _write(pk: int, token: str) -> bool:
    """Write a session and keep it expired, so that only the write excludes it from the plan."""
    return BrowserSession.objects.filter(pk=pk).update(session_id=token) == 1


def _save(pk: int, token: str) -> bool:
    with transaction.atomic():
        session = BrowserSession.objects.select_for_update().filter(pk=pk).first()
        if session is None:
            return False
        session.session_id = token
        session.save()
        return True


def _touch_slowly(pk: int, token: str) -> bool:
    """Commit some time after the write, so that a plan can be made in between."""
    with transaction.atomic():
        is_hit = _touch(pk, token)
        time.sleep(random.uniform(0, 0.005))
        return is_hit


CHANGES: dict[str, Callable[[int, str], bool]] = {
    "touch": _touch,
    "pin": _pin,
    "write": _write,
    "save": _save,
    "touch slowly": _touch_slowly,
}
ARRIVE = "arrive"


def change_sessions(
    is_stopped: IsStopped, ids: list[int], writer: str, seed: str, pause_seconds: float
) -> list[Change]:
    """Write to the sessions in random order, and add expired sessions in between."""
    chance = random.Random(seed)
    random.seed(seed)
    changes: list[Change] = []
    order = chance.sample(ids, len(ids))
    while not is_stopped():
        token = f"{writer}-{len(changes)}"
        kind = chance.choice((*CHANGES, ARRIVE)) if order else ARRIVE
        pk, is_hit = 0, False
        began_ns = time.monotonic_ns()
        try:
            if kind == ARRIVE:
                pk, is_hit = _arrive(token), True
            else:
                pk = order.pop()
                is_hit = CHANGES[kind](pk, token)
        except OperationalError:
            # The lock timed out: nothing was written.
            kind = "refused"
        changes.append(Change(pk, kind, token, began_ns, time.monotonic_ns(), is_hit))
        time.sleep(chance.expovariate(1 / pause_seconds))
    return changes


def _arrive(token: str) -> int:
    session = make_row(token)
    session.save(force_insert=True)
    return int(session.pk)


def take_names(is_stopped: IsStopped, names: list[str], pause_seconds: float) -> list[int]:
    """Save new sessions under names that are free because their sessions were archived."""
    taken = []
    for name in names:
        if is_stopped():
            break
        session = make_row(name, session_id="taker")
        try:
            session.save(force_insert=True)
        except (IntegrityError, OperationalError):
            continue
        taken.append(int(session.pk))
        time.sleep(random.expovariate(1 / pause_seconds))
    return taken


def restore_some(is_stopped: IsStopped, groups: list[list[int]], pause_seconds: float) -> int:
    """Restore sessions from the archive manually, a few at a time."""
    restored = 0
    for ids in groups:
        if is_stopped():
            break
        restored += restore_sessions(ids)
        time.sleep(random.expovariate(1 / pause_seconds))
    return restored


def empty_some(is_stopped: IsStopped, wait_seconds: float, batch_size: int) -> int:
    """Empty the archive."""
    time.sleep(wait_seconds)
    return empty_archive(database_now() + LATER, batch_size=batch_size)[0]


CHANGED_ALL_THE_TIME = "changed all the time"
"""Name of the policy that ``commit_all_the_time`` changes."""


def commit_all_the_time(is_stopped: IsStopped, pause_seconds: float) -> int:
    """Commit a change of one row again and again; returns how often."""
    policy = CleanupPolicy.objects.create(name=CHANGED_ALL_THE_TIME)
    commits = 0
    while not is_stopped():
        commits += CleanupPolicy.objects.filter(pk=policy.pk).update(description=str(commits))
        time.sleep(pause_seconds)
    return commits
