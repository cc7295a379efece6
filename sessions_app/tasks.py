"""What django-q2 runs: each task calls a service and returns a sentence, which the queue keeps as its result.

Delivery is at least once, so each may be run again at any time. No task is given an endpoint, and
none may leave one in the queue's tables by way of an exception: see ``_masked``.
"""

from __future__ import annotations

import functools
import logging
import traceback
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime, timedelta
from typing import ParamSpec

from django.conf import settings
from django.db.models import F, QuerySet
from django_q.tasks import async_task

from sessions_app import cleanup, directories, policies, schedules
from sessions_app.deadline import Deadline
from sessions_app.endpoints import mask_endpoints
from sessions_app.models import CleanupPolicy, CleanupRun, SessionDirectory
from sessions_app.models.cleanup import HEARTBEAT_LIMIT
from sessions_app.models.clock import database_now
from sessions_app.sync_result import SyncResult
from sessions_app.wording import count_of

logger = logging.getLogger(__name__)
_P = ParamSpec("_P")

STRANDED_AFTER = timedelta(minutes=5)
STRANDED_FOR = timedelta(days=1)
"""Sweeps that died are gone on with for so long; a later sweep takes what they left."""

APPROVED_IN_VAIN = "It was approved, but another run of the policy was at work: approve it again."


class TaskFailed(Exception):
    """A task failed; the message, which the queue keeps, has no endpoint."""


def _masked(task: Callable[_P, str]) -> Callable[_P, str]:
    """Keep endpoints out of the failures that the queue stores: a database error may quote a whole row."""

    @functools.wraps(task)
    def run(*args: _P.args, **kwargs: _P.kwargs) -> str:
        try:
            return task(*args, **kwargs)
        except Exception as error:
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
    deadline = _deadline()
    # Those that were not reached in time come first in the next minute.
    waiting = SessionDirectory.objects.filter(is_enabled=True).order_by(F("synced_at").asc(nulls_first=True))
    synced, failures = [], []
    for directory in waiting:
        if deadline.has_passed:
            break
        try:
            synced.append(_sync(directory, deadline))
        except Exception as error:
            message = str(error) if isinstance(error, directories.DirectoryError) else _describe(error)
            failures.append(mask_endpoints(message))
            logger.warning("%s", failures[-1])
    counts = {key: sum(getattr(result, key) for result in synced) for key in ("added", "changed", "vanished")}
    done = f"{count_of(len(synced), 'directory', 'directories')} mirrored"
    done += "".join(f", {n:,} {key}" for key, n in counts.items())
    return " ".join((f"{done}.", *failures))


def _sync(directory: SessionDirectory, deadline: Deadline) -> SyncResult:
    return directories.sync_directory(
        directory, trigger="schedule", actor="sync_directories", deadline=deadline
    )


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
    return f"{count_of(deleted, 'session')} deleted from the archive, {size_bytes:,} bytes."


@_masked
def tidy_up() -> str:
    """Mark the runs whose process died and go on with sweeps, drop forgotten plans, keep the schedules."""
    now = database_now()
    dead = cleanup.mark_dead_runs(as_of=now)
    for run in filter(_goes_on_by_itself, [*dead, *_stranded(now)]):
        if run.policy_id is not None and run.due_at is not None:
            _queue_sweep(run.policy_id, run.due_at, run.trigger, run.actor)
        else:
            async_task("sessions_app.tasks.continue_cleanup", run.pk)
    cleanup.drop_old_plans(as_of=now)
    changed = schedules.sync_schedules(now=now).changed
    return f"{count_of(len(dead), 'dead run')} marked, {count_of(len(changed), 'schedule')} put right."


def _stranded(now: datetime) -> QuerySet[CleanupRun]:
    """The dead runs that somebody else has marked, or whose task was lost with the one who marked them.

    Whose deadline has passed beats its heart with its last word, and has a task already. Where one of
    these has a task as well, the second finds nothing to do.
    """
    return CleanupRun.objects.filter(
        state=CleanupRun.State.INTERRUPTED,
        undo_started_at=None,
        finished_at__lt=now - STRANDED_AFTER,
        finished_at__gt=now - STRANDED_FOR,
        heartbeat_at__lt=F("finished_at") - HEARTBEAT_LIMIT,
    )


def _goes_on_by_itself(run: CleanupRun) -> bool:
    """Whether a run whose worker died needs nobody: the sweeps of policies, but for a command's."""
    # A command's user sees it end. What a sync found to be gone may be back: the next sync tells.
    is_left_to_others = run.trigger == CleanupRun.Trigger.COMMAND or run.criteria.has_vanished
    is_of_schedule = run.trigger == CleanupRun.Trigger.SCHEDULE or run.policy_id is not None
    return run.is_resumable and is_of_schedule and not is_left_to_others


def _run(run: CleanupRun, *, trigger: str = "", actor: str = "") -> str:
    """Run a plan or the rest of a run, then the steps that come after it in its policy."""
    deadline = _deadline()
    # A step that has ended already is passed over: its worker may have died before the next one.
    is_passed_over = run.policy is not None and run.state == CleanupRun.State.SUCCEEDED
    told = ""
    if not is_passed_over:
        try:
            run = cleanup.run_cleanup(run, trigger=trigger, actor=actor, deadline=deadline)
        except cleanup.CleanupRefused as reason:
            _hold_again(run, reason)
            return _refused(run, reason)
        told = " ".join(filter(None, (f"{cleanup.summary(run)}.", run.error)))
        if run.state == CleanupRun.State.INTERRUPTED:
            async_task("sessions_app.tasks.continue_cleanup", run.pk)
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
        return _sweep_refused(policy, due_at, trigger, reason)
    if result.is_interrupted:
        _queue_sweep(policy.pk, due_at, trigger, actor)
    return result.describe()


def _sweep_refused(policy: CleanupPolicy, due_at: datetime, trigger: str, reason: Exception) -> str:
    """Let a sweep that a schedule has started be tried again, and say so."""
    itself = CleanupRun.objects.filter(policy=policy, due_at=due_at, state=CleanupRun.State.RUNNING)
    if trigger != CleanupRun.Trigger.SCHEDULE or itself.exists():
        logger.info("%s", reason)
        return str(reason)
    is_due_again = policies.try_again(policy, due_at, now=database_now())
    told = f"{reason} The sweep is {'tried again in a minute' if is_due_again else 'not tried again'}."
    logger.warning("“%s”: %s", policy, told)
    return told


def _hold_again(run: CleanupRun, reason: Exception) -> None:
    """Let a plan whose approval came to nothing wait for a person again, who would else not hear of it."""
    is_in_vain = run.policy is not None and run.approved_at is not None and run.attempt == 0
    if not is_in_vain or not isinstance(reason, cleanup.CleanupInProgress):
        return
    because = run.held_because.removesuffix(APPROVED_IN_VAIN).strip()
    # Delivered twice, it may be at work by now.
    with suppress(cleanup.CleanupInProgress):
        cleanup.hold(run, f"{because} {APPROVED_IN_VAIN}".lstrip())
        held = CleanupRun.objects.filter(pk=run.pk, state=CleanupRun.State.HELD)
        held.update(approved_by="", approved_at=None)


def _queue_sweep(policy_pk: int, due_at: datetime, trigger: str, actor: str) -> None:
    async_task("sessions_app.tasks.sweep", policy_pk, due_at.isoformat(), trigger, actor)


def _undo(run: CleanupRun, actor: str) -> str:
    try:
        run = cleanup.undo_cleanup(run, actor=actor, deadline=_deadline())
    except (cleanup.CleanupRefused, cleanup.CannotUndo) as reason:
        return _refused(run, reason)
    if run.state == CleanupRun.State.INTERRUPTED:
        async_task("sessions_app.tasks.continue_undo", run.pk)
    return f"{count_of(run.restored_count, 'session')} of run {run.pk} are back."


def _refused(run: CleanupRun, reason: Exception) -> str:
    # It waits no longer, and its page is not to say so.
    CleanupRun.objects.filter(pk=run.pk).update(queued_at=None)
    logger.info("%s", reason)
    return str(reason)


def _deadline() -> Deadline:
    return Deadline.after(settings.RAPTOR_TASK_DEADLINE_SECONDS)


def _describe(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"
