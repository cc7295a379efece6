"""What django-q2 runs: each task calls a service and returns a sentence, which the queue keeps as its result.

Delivery is at least once, so each may be run again at any time. No task is given an endpoint, and
none may leave one in the queue's tables by way of an exception: see ``_masked``.
"""

from __future__ import annotations

import functools
import logging
import traceback
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import ParamSpec

from django.conf import settings
from django_q.tasks import async_task

from sessions_app import cleanup, directories, policies, schedules, storage
from sessions_app.commits import retry_when_busy
from sessions_app.deadline import Deadline
from sessions_app.disk import disk_full_message
from sessions_app.endpoints import mask_endpoints
from sessions_app.models import CleanupPolicy, CleanupRun
from sessions_app.models.clock import database_now
from sessions_app.room import retry_with_room, take_reserve
from sessions_app.session_ids import repair_sequence
from sessions_app.wording import count_of

logger = logging.getLogger(__name__)
_P = ParamSpec("_P")


class TaskFailed(Exception):
    """A task failed; the message, which the queue keeps, has no endpoint."""


def _masked(task: Callable[_P, str]) -> Callable[_P, str]:
    """Keep endpoints out of the failures that the queue stores: a database error may quote a whole row."""

    @functools.wraps(task)
    def run(*args: _P.args, **kwargs: _P.kwargs) -> str:
        try:
            # A task may be run again at any time, so it may when there is room again.
            return retry_with_room(task)(*args, **kwargs)
        except Exception as error:
            if message := disk_full_message(error):
                logger.error("%s failed. %s", task.__name__, message)
                raise TaskFailed(message) from None
            logger.error("%s failed.\n%s", task.__name__, mask_endpoints(traceback.format_exc()))
            raise TaskFailed(mask_endpoints(f"{type(error).__name__}: {error}")) from None

    return run


@_masked
def start_sweeps() -> str:
    """Start the sweeps of the policies that are due."""
    started = policies.start_due(database_now())
    names = ", ".join(f"“{policy}”" for policy in started)
    return f"{len(started):,} started{': ' * bool(started)}{names}."


@_masked
def sweep(policy_pk: int, due_at: str, trigger: str = "schedule", actor: str = "") -> str:
    """Take the steps of a policy; a sweep that its deadline stops goes on in a task of its own."""
    policy = CleanupPolicy.objects.filter(pk=policy_pk).first()
    if policy is None:
        return f"There is no policy {policy_pk} any more."
    if trigger == CleanupRun.Trigger.SCHEDULE and not policy.is_enabled:
        return f"“{policy}” is disabled."
    return _sweep(policy, datetime.fromisoformat(due_at), trigger, actor, _deadline())


@_masked
def continue_cleanup(run_pk: int) -> str:
    """Go on with a run, and with the sweep that it belongs to; one at work or ended is left alone."""
    return _run(CleanupRun.objects.get(pk=run_pk))


@_masked
def run_planned(run_pk: int, trigger: str, actor: str) -> str:
    """Run a plan that a person has confirmed; the ledger names the person."""
    return _run(CleanupRun.objects.get(pk=run_pk), trigger=trigger, actor=actor)


@_masked
def sync_directories() -> str:
    """Mirror all enabled session directories; one that fails does not stop the others."""
    synced, failures = directories.sync_enabled(
        trigger="schedule", actor="sync_directories", deadline=_deadline()
    )
    keys = ("added", "changed", "vanished", "written")
    counts = {key: sum(getattr(result, key) for result in synced) for key in keys}
    done = f"{count_of(len(synced), 'directory', 'directories')} mirrored"
    done += "".join(f", {n:,} {key}" for key, n in counts.items() if n or key != "written")
    notes = [note for result in synced for note in result.notes]
    unwritten = [files.message for files in cleanup.unwritten_files(cleanup.owed_sessions())]
    return " ".join((f"{done}.", *notes, *unwritten, *failures))


@_masked
def undo_run(run_pk: int, actor: str) -> str:
    """Bring back what a run removed."""
    return _undo(CleanupRun.objects.get(pk=run_pk), actor)


@_masked
def continue_undo(run_pk: int) -> str:
    """Go on with the undo of a run that its deadline interrupted."""
    run = CleanupRun.objects.get(pk=run_pk)
    return _undo(run, run.undone_by)


@_masked
def empty_archive() -> str:
    """Delete for good what has been in the archive for ``RAPTOR_ARCHIVE_DAYS``."""
    before = database_now() - timedelta(days=settings.RAPTOR_ARCHIVE_DAYS)
    deleted, size_bytes = cleanup.empty_archive(before, deadline=_deadline())
    kept = cleanup.count_kept_pins(before)
    stayed = f" {count_of(kept, 'pinned session')} without a file stayed." if kept else ""
    return f"{count_of(deleted, 'session')} deleted from the archive, {size_bytes:,} bytes.{stayed}"


@_masked
def take_snapshot(asked_at: str = "") -> str:
    """Count all sessions for the screens; many who ask for that at once have one snapshot."""
    if asked_at and storage.has_snapshot_since(datetime.fromisoformat(asked_at)):
        return "One was taken meanwhile."
    taken = storage.take_snapshot(as_of=database_now(), max_age_days=settings.RAPTOR_MAX_AGE_DAYS)
    return f"{count_of(taken.session_count, 'session')} counted, {taken.size_bytes:,} bytes."


@_masked
def tidy_up() -> str:
    """Mark the runs whose process died and go on with sweeps, drop forgotten plans, keep the schedules.

    The reserve that a full disk took is allocated again as soon as there is room.
    """
    now = database_now()
    take_reserve()
    repair_sequence()
    dead = cleanup.mark_dead_runs(as_of=now)
    for run in cleanup.abandoned_sweeps(dead, as_of=now):
        if run.policy_id is not None and run.due_at is not None:
            _queue_sweep(run.policy_id, run.due_at, run.trigger, run.actor)
        else:
            _queue("continue_cleanup", run.pk)
    cleanup.drop_old_plans(as_of=now)
    changed = schedules.sync_schedules(now=now).changed
    return f"{count_of(len(dead), 'dead run')} marked, {count_of(len(changed), 'schedule')} put right."


def _run(run: CleanupRun, *, trigger: str = "", actor: str = "") -> str:
    """Run a plan or the rest of a run, then the steps that come after it in its policy."""
    deadline = _deadline()
    # A step that has ended already is passed over: its worker may have died before the next one.
    is_passed_over = run.policy is not None and run.state == CleanupRun.State.SUCCEEDED
    told = ""
    if not is_passed_over:
        try:
            run = cleanup.run_cleanup(run, trigger=trigger, actor=actor, deadline=deadline)
        except cleanup.CleanupInProgress as reason:
            cleanup.hold_again(run)
            return _refused(run, reason)
        except cleanup.CleanupRefused as reason:
            return _refused(run, reason)
        told = " ".join(filter(None, (f"{cleanup.summary(run)}.", run.error)))
        if run.state == CleanupRun.State.INTERRUPTED:
            _queue("continue_cleanup", run.pk)
            return told
    if run.policy is None or run.due_at is None:
        return told
    if deadline.has_passed:
        _queue_sweep(run.policy.pk, run.due_at, run.trigger, run.actor)
        return told
    return _sweep(run.policy, run.due_at, run.trigger, run.actor, deadline)


def _sweep(policy: CleanupPolicy, due_at: datetime, trigger: str, actor: str, deadline: Deadline) -> str:
    try:
        result = policies.sweep(
            policy, due_at=due_at, trigger=trigger, actor=actor or policy.name, deadline=deadline
        )
    except cleanup.CleanupRefused as reason:
        return policies.put_off(policy, due_at, trigger=trigger, because=str(reason), now=database_now())
    if result.is_interrupted:
        _queue_sweep(policy.pk, due_at, trigger, actor)
    return result.describe()


def _queue_sweep(policy_pk: int, due_at: datetime, trigger: str, actor: str) -> None:
    _queue("sweep", policy_pk, due_at.isoformat(), trigger, actor)


def _queue(task: str, *args: int | str) -> None:
    retry_when_busy(lambda: async_task(f"sessions_app.tasks.{task}", *args))


def _undo(run: CleanupRun, actor: str) -> str:
    try:
        run = cleanup.undo_cleanup(run, actor=actor, deadline=_deadline())
    except (cleanup.CleanupRefused, cleanup.CannotUndo) as reason:
        return _refused(run, reason)
    if run.state == CleanupRun.State.INTERRUPTED:
        _queue("continue_undo", run.pk)
    message = [f"{count_of(run.restored_count, 'session')} of run {run.pk} are back."]
    message += cleanup.describe_access(run.changed_access)
    message += [files.message for files in cleanup.unwritten_files(cleanup.sessions_owed_by(run))]
    return " ".join(message)


def _refused(run: CleanupRun, reason: Exception) -> str:
    # It waits no longer, and its page is not to say so.
    retry_when_busy(lambda: CleanupRun.objects.filter(pk=run.pk).update(queued_at=None))
    logger.info("%s", reason)
    return str(reason)


def _deadline() -> Deadline:
    return Deadline.after(settings.RAPTOR_TASK_DEADLINE_SECONDS)
