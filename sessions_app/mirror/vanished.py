"""Holds the loss of many files at once until a person approves it.

An unmounted disk looks like a folder whose files were all deleted. So a directory that becomes empty, or that
loses more than half of its files, keeps its sessions: one run is held for it, and the dashboard asks
whether the disk is mounted. Dismissing the run keeps the sessions, and the same loss is not held again.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass

from django.db.models import Q, QuerySet

from sessions_app.cleanup import CleanupInProgress, close_cleanup, hold, plan_cleanup
from sessions_app.models import BrowserSession, CleanupRun, PlannedSessions, SessionDirectory
from sessions_app.session.criteria import SELECTION_LIMIT, Criteria
from sessions_app.session.sync_result import SyncResult
from sessions_app.text import count_of

SMALL_DIRECTORY = 20
"""Up to this number of sessions, only the loss of all of them needs approval."""

FILES_ARE_BACK = "Most of the files exist again, or a cleanup has removed their sessions."
LOSS_HAS_GROWN = "More files are missing now, so another run has replaced this one."

_State = CleanupRun.State


@dataclass(frozen=True)
class Loss:
    """The sessions of a directory whose files are missing, and the number of its other sessions.

    Args:
        gone: Primary keys of live sessions.
        left_count: Sessions whose files exist.
        is_empty: Whether the folder has no documents at all.
    """

    gone: frozenset[int]
    left_count: int
    is_empty: bool

    @property
    def needs_approval(self) -> bool:
        gone_count, before_count = len(self.gone), len(self.gone) + self.left_count
        is_large = before_count > SMALL_DIRECTORY and gone_count * 2 > before_count
        return bool(self.gone) and (self.is_empty or is_large)


def release_loss(
    directory: SessionDirectory, loss: Loss, result: SyncResult, *, trigger: str, actor: str
) -> list[int]:
    """Return the sessions that can be archived without approval; hold a run for a loss that needs it.

    Nothing is held for a directory that is not enabled. It belongs to a ``SessionManager``, whose users
    expect the session of a deleted file to be gone.
    """
    report = directory.report
    result.held, result.held_run, result.kept = 0, None, 0
    if not directory.is_enabled or not (loss.gone or report.get("held_run") or report.get("kept")):
        return sorted(loss.gone)
    held = _open_run(directory)
    waiting = frozenset() if held is None else _waiting(held, loss)
    kept = _kept(directory, loss)
    rest = Loss(loss.gone - waiting - kept, loss.left_count, loss.is_empty)
    if rest.needs_approval:
        rest = Loss(_still_live(rest.gone), rest.left_count, rest.is_empty)
    result.kept = len(kept)
    if held is not None and waiting:
        result.held_run, result.held = held.pk, len(waiting)
    if not rest.needs_approval:
        return sorted(rest.gone)
    if held is None or held.state == _State.HELD:
        if held is not None and waiting:
            _close(held, LOSS_HAS_GROWN)
        grown = Loss(rest.gone | waiting, rest.left_count, rest.is_empty)
        run = _hold(directory, grown, trigger=trigger, actor=actor)
        result.held_run, result.held = run.pk, run.matched_count
    return []


def sessions_with_files(directory: SessionDirectory) -> frozenset[int]:
    """Return the sessions of a directory that were read from a file."""
    mirrored = BrowserSession.objects.filter(directory=directory, file_changed_ns__isnull=False)
    return frozenset(mirrored.order_by().values_list("pk", flat=True))


def _open_run(directory: SessionDirectory) -> CleanupRun | None:
    """Return the run that is held for a directory, or that was approved and has not ended."""
    is_approved = Q(state=_State.PLANNED, approved_at__isnull=False)
    is_open = Q(state__in=(_State.HELD, _State.RUNNING)) | is_approved
    return _runs_of(directory).filter(is_open).first()


def _runs_of(directory: SessionDirectory) -> QuerySet[CleanupRun]:
    return CleanupRun.objects.filter(criteria_json__has_vanished=True, criteria_json__directory=directory.pk)


def _waiting(held: CleanupRun, loss: Loss) -> frozenset[int]:
    """Return the sessions of an open run whose files are still missing; close it if most files exist."""
    asked = frozenset(held.criteria.session_ids or ())
    waiting = asked & loss.gone
    if held.state == _State.HELD and len(waiting) * 2 <= len(asked):
        _close(held, FILES_ARE_BACK)
        return frozenset()
    return waiting


def _kept(directory: SessionDirectory, loss: Loss) -> frozenset[int]:
    """Return the sessions that a person kept by dismissing a run and whose files are still missing."""
    kept: frozenset[int] = frozenset()
    dismissed = _runs_of(directory).filter(state=_State.CLOSED)
    for memory in list(PlannedSessions.objects.filter(run__in=dismissed)):
        ids = frozenset(memory.ids_json)
        still = ids & loss.gone
        kept |= still
        if not still:
            memory.delete()
        elif still != ids:
            PlannedSessions.objects.filter(pk=memory.pk).update(ids_json=sorted(still))
    return kept


def _still_live(ids: Iterable[int]) -> frozenset[int]:
    """Exclude the sessions that a cleanup has removed since the folder was compared."""
    ordered, live = sorted(ids), set[int]()
    for start in range(0, len(ordered), SELECTION_LIMIT):
        chunk = ordered[start : start + SELECTION_LIMIT]
        live.update(BrowserSession.objects.filter(pk__in=chunk).values_list("pk", flat=True))
    return frozenset(live)


def _hold(directory: SessionDirectory, loss: Loss, *, trigger: str, actor: str) -> CleanupRun:
    criteria = Criteria(
        session_ids=tuple(sorted(loss.gone)),
        has_vanished=True,
        namespace=directory.namespace,
        directory=directory.pk,
    )
    share = f"{len(loss.gone):,} of {count_of(len(loss.gone) + loss.left_count, 'session')}"
    reason = (
        f"Files are missing from {directory.path}: {share}{', and the folder is empty' * loss.is_empty}. "
        "Is its disk mounted? This run closes automatically when the files exist again. If they were deleted "
        "on purpose, approve it."
    )
    return hold(plan_cleanup(criteria, trigger=trigger, actor=actor), reason)


def _close(run: CleanupRun, reason: str) -> None:
    # A person may approve or dismiss the run at the same time.
    with suppress(CleanupInProgress):
        close_cleanup(run, reason=reason)
