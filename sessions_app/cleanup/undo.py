"""Brings sessions back from the archive, byte for byte."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from contextlib import suppress
from functools import partial

from django.db import transaction
from django.db.models import F, Q, QuerySet
from django.db.models.functions import Coalesce

from sessions_app.cleanup.batches import BatchSize, last_of_batch, refresh_statistics, take_batches
from sessions_app.cleanup.claims import bound_lock_waits, claim, end, recording_failure, reload, update_own
from sessions_app.cleanup.files import write_owed_files
from sessions_app.cleanup.moves import move_to_live
from sessions_app.commits import repeatable_transaction
from sessions_app.deadline import Deadline
from sessions_app.folders import open_folder
from sessions_app.models import ArchivedSession, CleanupRun, DatabaseClock, PlannedSessions, SessionDirectory

logger = logging.getLogger(__name__)

_State = CleanupRun.State


class CannotUndo(Exception):
    """There is nothing to bring back; the message says why."""


def undo_cleanup(
    run: CleanupRun,
    *,
    actor: str = "",
    deadline: Deadline | None = None,
    batch_size: int | None = None,
    progress: Callable[[int], None] = lambda sessions: None,
) -> CleanupRun:
    """Bring back every session of a run that the archive still holds; doing it twice is doing it once.

    A session whose name another one has taken meanwhile stays in the archive. Each batch commits
    alone, so an interrupted undo keeps what it did and can be gone on with.

    Args:
        deadline: After it no further batch starts, and the run is left *interrupted*.
        progress: Called after each batch with the number of sessions that it brought back.
    Returns: The run, with ``restored_count`` in sessions and ``restored_bytes`` in bytes of documents.
    Raises:
        CannotUndo: the run has removed nothing, or the archive of it was emptied.
        CleanupInProgress: the run is at work.
    """
    if run.state == _State.UNDONE:
        return run
    _refuse_in_vain(run)
    deadline = deadline or Deadline()
    take = partial(_restore_batch, run, BatchSize(batch_size))
    _claim(run, actor)
    with recording_failure(run):
        refresh_statistics(run)
        if not take_batches(take, deadline, progress):
            end(run, _State.INTERRUPTED)
            return run
        with transaction.atomic():
            end(run, _State.UNDONE, undone_at=DatabaseClock())
            PlannedSessions.objects.filter(run=run).delete()
    logger.info("Run %s undone: %s of %s sessions are back", run.pk, run.restored_count, run.removed_count)
    return run


def _refuse_in_vain(run: CleanupRun) -> None:
    if run.removed_count == 0:
        raise CannotUndo(f"Run {run.pk} has removed nothing.")
    if run.undo_started_at is None and not run.archived_sessions.exists():
        raise CannotUndo(
            f"Nothing of run {run.pk} is left in the archive: it was emptied, or brought back one by one."
        )


def _claim(run: CleanupRun, actor: str) -> None:
    """Make a run ours that has ended, or the rest of an undo; the ledger keeps when that began."""
    undoable = Q(state__in=CleanupRun.ENDED, removed_count__gt=0)
    began_at = Coalesce("undo_started_at", DatabaseClock())
    claim(run, undoable, state=_State.UNDOING, undone_by=actor, undo_started_at=began_at)


def restore_sessions(ids: Iterable[int]) -> int:
    """Bring single sessions back from the archive, whatever run removed them.

    Returns: How many are back; one whose name is taken stays in the archive.
    """
    restored = 0
    archived = ArchivedSession.objects.filter(pk__in=list(ids))
    for run_id in archived.order_by().values_list("run_id", flat=True).distinct():
        sessions = archived.filter(run_id=run_id)
        directory_ids = _directories_of(sessions)
        with transaction.atomic():
            count, size = move_to_live(_free(sessions))
            CleanupRun.objects.filter(pk=run_id).update(
                restored_count=F("restored_count") + count, restored_bytes=F("restored_bytes") + size
            )
        _write_files(directory_ids)
        restored += count
    return restored


def _restore_batch(run: CleanupRun, size: BatchSize) -> int | None:
    """Bring the next sessions of a run back, in one transaction: how many; None where nothing is left."""
    left = ArchivedSession.objects.filter(run=run, pk__gt=run.undo_position).order_by("pk")
    last = last_of_batch(left, size.rows)
    if last is None:
        return None
    batch = left.filter(pk__lte=last)
    directory_ids = _directories_of(batch)
    free = _free(batch)
    # A file is written when it is certain that its session is back.
    with size.measured(), transaction.atomic() if directory_ids else repeatable_transaction():
        bound_lock_waits()
        count, size_bytes = move_to_live(free)
        update_own(
            run,
            undo_position=last,
            # Somebody may bring single sessions back at the same time.
            restored_count=F("restored_count") + count,
            restored_bytes=F("restored_bytes") + size_bytes,
        )
    reload(run)
    _write_files(directory_ids)
    return count


def _free(sessions: QuerySet[ArchivedSession]) -> QuerySet[ArchivedSession]:
    """Leave out the sessions in whose place another file lies, which the next sync will make a session."""
    blocked = []
    for directory_id in _directories_of(sessions):
        rows = sessions.filter(directory_id=directory_id).only("file_name")
        with suppress(OSError), open_folder(SessionDirectory.objects.get(pk=directory_id)) as folder:
            there = {row.pk: row.file_name for row in rows if folder.has(row.file_name)}
            documents = dict(sessions.filter(pk__in=there).values_list("pk", "document"))
            blocked += [
                pk for pk, name in there.items() if not folder.holds(name, bytes(documents.get(pk, b"")))
            ]
    return sessions.exclude(pk__in=blocked) if blocked else sessions


def _directories_of(sessions: QuerySet[ArchivedSession]) -> list[int]:
    mirrored = sessions.filter(directory__isnull=False).order_by()
    return list(mirrored.values_list("directory_id", flat=True).distinct())


def _write_files(directory_ids: Iterable[int]) -> None:
    """Write the files of sessions just brought back; the next sync writes what is left of them."""
    for directory in SessionDirectory.objects.filter(pk__in=directory_ids):
        try:
            with open_folder(directory) as folder:
                write_owed_files(directory, folder)
        except OSError as error:
            logger.warning("Files in %s could not be written: %s", directory.path, error.strerror)
