"""What django-q2 runs: each task calls a service and returns a sentence, which the queue keeps as its result.

Delivery is at least once, so each may be run again at any time. No task is given an endpoint, and
none may leave one in the queue's tables by way of an exception: see ``_masked``.
"""

from __future__ import annotations

import functools
import logging
import traceback
from collections.abc import Callable
from datetime import timedelta
from typing import ParamSpec

from django.conf import settings
from django.db.models import F
from django_q.tasks import async_task

from sessions_app import cleanup, directories, schedules
from sessions_app.criteria import Criteria
from sessions_app.deadline import Deadline
from sessions_app.endpoints import mask_endpoints
from sessions_app.models import CleanupRun, SessionDirectory
from sessions_app.models.clock import database_now
from sessions_app.sync_result import SyncResult

logger = logging.getLogger(__name__)
_P = ParamSpec("_P")


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
def sweep_expired() -> str:
    """Clean up the sessions that are past the maximum age."""
    return _sweep(Criteria(expired=True, max_age_days=settings.RAPTOR_MAX_AGE_DAYS), actor="sweep_expired")


@_masked
def sweep_invalid() -> str:
    """Clean up the sessions that have a problem."""
    return _sweep(Criteria(invalid=True), actor="sweep_invalid")


@_masked
def continue_cleanup(run_pk: int) -> str:
    """Go on with a run that its deadline interrupted; one that is at work or has ended is left alone."""
    return _run(CleanupRun.objects.get(pk=run_pk))


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
    mirrored = "1 directory" if len(synced) == 1 else f"{len(synced):,} directories"
    done = f"{mirrored} mirrored" + "".join(f", {n:,} {key}" for key, n in counts.items())
    return " ".join((f"{done}.", *failures))


def _sync(directory: SessionDirectory, deadline: Deadline) -> SyncResult:
    return directories.sync_directory(
        directory, trigger="schedule", actor="sync_directories", deadline=deadline
    )


@_masked
def continue_undo(run_pk: int) -> str:
    """Go on with the undo of a run that its deadline interrupted."""
    run = CleanupRun.objects.get(pk=run_pk)
    try:
        run = cleanup.undo_cleanup(run, actor=run.undone_by, deadline=_deadline())
    except (cleanup.CleanupInProgress, cleanup.CannotUndo) as reason:
        return str(reason)
    if run.state == CleanupRun.State.INTERRUPTED:
        async_task("sessions_app.tasks.continue_undo", run.pk)
    return f"{_count(run.restored_count, 'session')} of run {run.pk} are back."


@_masked
def empty_archive() -> str:
    """Delete for good what has been in the archive for ``RAPTOR_ARCHIVE_DAYS``."""
    before = database_now() - timedelta(days=settings.RAPTOR_ARCHIVE_DAYS)
    deleted, size_bytes = cleanup.empty_archive(before, deadline=_deadline())
    return f"{_count(deleted, 'session')} deleted from the archive, {size_bytes:,} bytes."


@_masked
def tidy_up() -> str:
    """Mark the runs whose process died, drop forgotten plans, and keep the schedules at their time of day."""
    now = database_now()
    dead = cleanup.mark_dead_runs(as_of=now)
    cleanup.drop_old_plans(as_of=now)
    changed = schedules.sync_schedules(now=now).changed
    return f"{_count(dead, 'dead run')} marked, {_count(len(changed), 'schedule')} put right."


def _sweep(criteria: Criteria, *, actor: str) -> str:
    return _run(cleanup.plan_cleanup(criteria, trigger="schedule", actor=actor))


def _run(run: CleanupRun) -> str:
    try:
        run = cleanup.run_cleanup(run, deadline=_deadline())
    except cleanup.CleanupInProgress as reason:
        logger.info("%s", reason)
        return str(reason)
    if run.state == CleanupRun.State.INTERRUPTED:
        async_task("sessions_app.tasks.continue_cleanup", run.pk)
    return " ".join(filter(None, (f"{cleanup.summary(run)}.", run.error)))


def _deadline() -> Deadline:
    return Deadline.after(settings.RAPTOR_TASK_DEADLINE_SECONDS)


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun if number == 1 else noun + 's'}"


def _describe(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"
