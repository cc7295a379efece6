"""Checks plans against safety limits, so that a cleanup does not remove more than expected.

A scheduled plan that exceeds a safety limit of its policy is held until a user approves it. A user who starts
a large cleanup manually confirms it by typing the number of sessions.
"""

from __future__ import annotations

from contextlib import suppress

from django.db import OperationalError, connection
from django.db.models import Count, Sum

from sessions_app.cleanup.claims import CleanupInProgress
from sessions_app.cleanup.newest import drop_newest
from sessions_app.models import BrowserSession, CleanupPolicy, CleanupRun, DatabaseClock, PlannedSessions
from sessions_app.session.criteria import Criteria
from sessions_app.text import count_of, part_of
from sessions_app.transactions import retried_when_busy, retry_when_busy
from sessions_app.transactions.disk import is_disk_full
from sessions_app.transactions.reserve import retry_with_room

SMALL_SCOPE = 100
"""Up to this number of sessions, percentages are not checked."""

SMALL_SELECTION = 100
"""Maximum sessions on one page. A user who selected them there has seen each of them."""

APPROVAL_UNUSED = "It was approved while another run of the policy was running. Approve it again."

_State = CleanupRun.State


def scope_totals(criteria: Criteria) -> tuple[int, int]:
    """Return the number and bytes of all sessions in the scope of criteria, matched or not."""
    # Counting a column outside the index of sizes makes PostgreSQL scan the table. After a cleanup of 280,000
    # of a million sessions, the index scan takes 4 s, because it visits the table for each entry; the table
    # scan takes 0.4 s.
    counted = "name" if connection.vendor == "postgresql" else "*"
    scope = BrowserSession.objects.filter(criteria.scope())
    row = scope.aggregate(sessions=Count(counted), bytes=Sum("size_bytes", default=0))
    return row["sessions"], row["bytes"]


def measure_scope(run: CleanupRun) -> None:
    """Store the number and bytes of all sessions in the scope of a plan, for its safety limits.

    Stores nothing if the run has started or another process has stored them in the meantime.
    """
    unchanged = CleanupRun.objects.filter(pk=run.pk, attempt=run.attempt, before_count=run.before_count)
    run.before_count, run.before_bytes = scope_totals(run.criteria)
    update = retry_with_room(retried_when_busy(unchanged.update))
    try:
        update(before_count=run.before_count, before_bytes=run.before_bytes)
    except OperationalError as error:
        # A page shows a plan on a full disk too. The totals are counted again when they are needed.
        if not is_disk_full(error) or connection.in_atomic_block:
            raise


def requires_confirmation(run: CleanupRun) -> bool:
    """Check whether a user must type the number of sessions: the plan removes over half of its scope."""
    criteria = run.criteria
    if not run.matched_count:
        return False
    if criteria.all:
        return True
    if criteria.session_ids is not None and run.matched_count <= SMALL_SELECTION:
        return False
    return run.matched_count * 2 > _scope_count(run)


def unattended_hold_reason(run: CleanupRun) -> str:
    """Return why a manual plan is held if no terminal can confirm it; blank if it needs no confirmation."""
    if not requires_confirmation(run) or _scope_count(run) <= SMALL_SCOPE:
        return ""
    return (
        f"This would remove {part_of(run.matched_count, run.before_count or 0, 'session')}, more than half, "
        "and there was no terminal to confirm this on."
    )


def hold_reason(run: CleanupRun, policy: CleanupPolicy, *, removed_count: int = 0) -> str:
    """Return which safety limit of its policy a plan exceeds; blank if it exceeds no limit.

    Args:
        removed_count: Sessions that earlier steps of the same sweep have removed without approval. Approved
            removals do not count.
    """
    removed = run.matched_count + removed_count
    scope = _scope_count(run) + removed_count
    if not run.matched_count:
        return ""
    if policy.brake_count is not None and removed > policy.brake_count:
        return (
            f"This would remove {count_of(removed, 'session')}; the safety limit is {policy.brake_count:,}."
        )
    percent = policy.brake_percent
    if percent is not None and scope > SMALL_SCOPE and removed * 100 > percent * scope:
        return (
            f"This would remove {part_of(removed, scope, 'session')}, {100 * removed / scope:.0f} percent; "
            f"the safety limit is {percent:g} percent."
        )
    return ""


def hold(run: CleanupRun, reason: str) -> CleanupRun:
    """Hold a plan until a person approves it."""
    return _move(run, (_State.PLANNED,), state=_State.HELD, held_because=reason)


def hold_again(run: CleanupRun) -> None:
    """Hold an approved plan again if another run of its policy was running.

    Otherwise the user who approved the plan would not learn that it did not run.
    """
    if run.policy_id is None or run.approved_at is None or run.attempt:
        return
    reason = run.held_because.removesuffix(APPROVAL_UNUSED).strip()
    # The task may have been delivered twice, so the run may be running by now.
    with suppress(CleanupInProgress):
        hold(run, f"{reason} {APPROVAL_UNUSED}".lstrip())
        held = CleanupRun.objects.filter(pk=run.pk, state=_State.HELD)
        retry_when_busy(lambda: held.update(approved_by="", approved_at=None))


def approve_cleanup(run: CleanupRun, *, actor: str) -> CleanupRun:
    """Approve a held plan, so that it can be run.

    Raises: CleanupInProgress: the plan is no longer held.
    """
    return _move(run, (_State.HELD,), state=_State.PLANNED, approved_by=actor, approved_at=DatabaseClock())


def close_cleanup(run: CleanupRun, *, actor: str = "", reason: str = "") -> CleanupRun:
    """Dismiss a plan, or abandon the rest of a stopped run; its removals can still be undone.

    Raises: CleanupInProgress: the run is running or has ended.
    """
    states = (_State.PLANNED, _State.HELD, _State.INTERRUPTED, _State.FAILED)
    _move(
        run,
        states,
        state=_State.CLOSED,
        closed_by=actor,
        closed_at=DatabaseClock(),
        **({"error": reason} if reason else {}),
    )
    criteria = run.criteria
    if actor and criteria.has_vanished and criteria.directory is not None:
        # Keeps the next sync from holding the same loss again; see sessions_app.mirror.vanished.
        retry_when_busy(PlannedSessions(run=run, ids_json=list(criteria.session_ids or ())).save)
    else:
        retry_when_busy(PlannedSessions.objects.filter(run=run).delete)
        retry_when_busy(lambda: drop_newest(run))
    return run


def _scope_count(run: CleanupRun) -> int:
    if run.before_count is None:
        measure_scope(run)
    return run.before_count or 0


@retry_with_room
@retried_when_busy
def _move(run: CleanupRun, states: tuple[str, ...], **values: object) -> CleanupRun:
    moved = CleanupRun.objects.filter(pk=run.pk, attempt=run.attempt, state__in=states).update(**values)
    run.refresh_from_db()
    if not moved:
        raise CleanupInProgress(f"Run {run.pk} is already {run.state_in_words}.")
    return run
