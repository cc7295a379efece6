"""Restores sessions from the archive, byte for byte."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from contextlib import suppress
from functools import partial
from typing import NamedTuple

from django.db import transaction
from django.db.models import F, Q, QuerySet
from django.db.models.functions import Coalesce

from sessions_app.cleanup.batches import BatchSize, last_of_batch, refresh_statistics, run_batches
from sessions_app.cleanup.claims import bound_lock_waits, claim, end, recording_failure, reload, update_own
from sessions_app.cleanup.folders import open_folder
from sessions_app.cleanup.marks import mark_restored
from sessions_app.cleanup.missing_files import note_error, restore_missing_files, sessions_missing_files_of
from sessions_app.deadline import Deadline
from sessions_app.models import ArchivedSession, CleanupRun, DatabaseClock, PlannedSessions, SessionDirectory
from sessions_app.transactions import disk, repeatable_transaction, retried_when_busy, retry_when_busy
from sessions_app.transactions.reserve import retry_with_room

logger = logging.getLogger(__name__)

_State = CleanupRun.State


class CannotUndo(Exception):
    """There is nothing to restore; the message gives the reason."""


def undo_cleanup(
    run: CleanupRun,
    *,
    actor: str = "",
    deadline: Deadline | None = None,
    batch_size: int | None = None,
    progress: Callable[[int], None] = lambda sessions: None,
) -> CleanupRun:
    """Restore all sessions of a run that the archive still holds; a second call changes nothing.

    A session whose name is taken by now stays in the archive. Each batch commits alone, so an interrupted
    undo keeps what it did and can be resumed. Files that cannot be written (``unwritten_files``) are tried
    again by the next sync or the next call.

    Args:
        deadline: Instant after which no further batch starts; the run is then left *interrupted*.
        progress: Called after each batch with the number of sessions that it restored.
    Returns: The run, with ``restored_count`` in sessions and ``restored_bytes`` in bytes of documents.
    Raises:
        CannotUndo: the run has removed nothing, or its sessions are no longer in the archive.
        CleanupInProgress: the run is running.
    """
    if run.state == _State.UNDONE:
        _restore_remaining_files(run)
        return run
    _check_is_undoable(run)
    deadline = deadline or Deadline()
    size = BatchSize(batch_size)
    run_batch = partial(_restore_batch, run, size, deadline)
    _claim(run, actor)
    with recording_failure(run):
        refresh_statistics(run)
        if not run_batches(run_batch, size, deadline, progress):
            end(run, _State.INTERRUPTED)
            return run
        _restore_remaining_files(run)
        _succeed(run)
    logger.info("Run %s undone: %s of %s sessions restored", run.pk, run.restored_count, run.removed_count)
    return run


@retry_with_room
def _succeed(run: CleanupRun) -> None:
    def write() -> None:
        with transaction.atomic():
            update_own(run, state=_State.UNDONE, undone_at=DatabaseClock())
            PlannedSessions.objects.filter(run=run).delete()

    retry_when_busy(write)
    reload(run)


def _check_is_undoable(run: CleanupRun) -> None:
    if run.removed_count == 0:
        raise CannotUndo(f"Run {run.pk} has removed nothing.")
    if run.undo_started_at is None and not run.archived_sessions.exists():
        raise CannotUndo(
            f"No session of run {run.pk} is left in the archive: it was emptied, or all were restored."
        )


def _claim(run: CleanupRun, actor: str) -> None:
    """Claim a run that has ended, or an interrupted undo, which keeps the time of its start."""
    undoable = Q(state__in=CleanupRun.ENDED, removed_count__gt=0)
    began_at = Coalesce("undo_started_at", DatabaseClock())
    claim(run, undoable, state=_State.UNDOING, undone_by=actor, undo_started_at=began_at)


def restore_sessions(ids: Iterable[int]) -> int:
    """Restore single sessions from the archive, regardless of their runs.

    Returns: Number of restored sessions. A session whose name is taken stays in the archive.
    """
    restored = 0
    archived = ArchivedSession.objects.filter(pk__in=list(ids))
    # Of several sessions of one name, the one that was removed last is restored.
    for run_id in archived.order_by("-run_id").values_list("run_id", flat=True).distinct():
        sessions = archived.filter(run_id=run_id)
        directory_ids = _directories_of(sessions)
        restored += _restore_some(run_id, sessions)
        _write_files(directory_ids)
    return restored


@retried_when_busy
def _restore_some(run_id: int, sessions: QuerySet[ArchivedSession]) -> int:
    with transaction.atomic():
        count, size = mark_restored(_free(sessions))
        CleanupRun.objects.filter(pk=run_id).update(
            restored_count=F("restored_count") + count, restored_bytes=F("restored_bytes") + size
        )
    return count


def _restore_batch(run: CleanupRun, size: BatchSize, deadline: Deadline) -> int | None:
    """Restore the next sessions of a run and their files; return their number, or None if none are left."""
    batch = retry_when_busy(partial(_move_batch, run, size), deadline=deadline)
    if batch is None:
        return None
    reload(run)
    _write_files(batch.directory_ids)
    return batch.session_count


class _Batch(NamedTuple):
    """Number of sessions that one transaction restored, and the directories that miss their files."""

    session_count: int
    directory_ids: list[int]


def _move_batch(run: CleanupRun, size: BatchSize) -> _Batch | None:
    """Restore the next sessions of a run, in one transaction; return None if none are left.

    The run object is only reloaded after the commit, so that a repeated batch counts nothing twice.
    """
    left = ArchivedSession.objects.filter(run=run, pk__gt=run.undo_position).order_by("pk")
    last = last_of_batch(left, size)
    if last is None:
        return None
    batch = left.filter(pk__lte=last)
    directory_ids = _directories_of(batch)
    free = _free(batch)
    # Files are written after the commit, so that commit must survive a power failure.
    with size.measured(), transaction.atomic() if directory_ids else repeatable_transaction():
        bound_lock_waits()
        count, size_bytes = mark_restored(free, actor=run.undone_by)
        update_own(
            run,
            undo_position=last,
            # Single sessions of this run may be restored at the same time.
            restored_count=F("restored_count") + count,
            restored_bytes=F("restored_bytes") + size_bytes,
        )
    return _Batch(count, directory_ids)


def _free(sessions: QuerySet[ArchivedSession]) -> QuerySet[ArchivedSession]:
    """Exclude the sessions whose file names are taken; the next sync adds those files as sessions."""
    blocked = []
    for directory_id in _directories_of(sessions):
        rows = sessions.filter(directory_id=directory_id).only("file_name")
        with suppress(OSError), open_folder(SessionDirectory.objects.get(pk=directory_id)) as folder:
            there = {row.pk: row.file_name for row in rows if folder.has(row.file_name)}
            documents = dict(sessions.filter(pk__in=there).values_list("pk", "content__document"))
            blocked += [
                pk for pk, name in there.items() if not folder.holds(name, bytes(documents.get(pk) or b""))
            ]
    return sessions.exclude(pk__in=blocked) if blocked else sessions


def _directories_of(sessions: QuerySet[ArchivedSession]) -> list[int]:
    mirrored = sessions.filter(directory__isnull=False).order_by()
    return list(mirrored.values_list("directory_id", flat=True).distinct())


def _restore_remaining_files(run: CleanupRun) -> None:
    """Write the files of a run that an earlier call did not write."""
    _write_files(sessions_missing_files_of(run).order_by().values_list("directory_id", flat=True).distinct())


def _write_files(directory_ids: Iterable[int]) -> None:
    """Write the files of restored sessions; the next sync writes the files that remain."""
    for directory in SessionDirectory.objects.filter(pk__in=list(directory_ids)):
        try:
            with open_folder(directory) as folder:
                error = restore_missing_files(directory, folder).error
        except OSError as failure:
            if directory.is_elsewhere:
                # The worker on the directory's machine writes the files at its next sync.
                continue
            error = disk.reason(failure)
            note_error(directory, error)
        if error:
            logger.warning("Files in %s could not be written: %s", directory.path, error)
