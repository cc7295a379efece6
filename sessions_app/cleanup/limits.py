"""Keeps a cleanup from taking more than anybody expected.

What a schedule plans past the brakes of its policy is held for a person. Who cleans up by hand types
the number of sessions where it is large. Either is a matter between plan and run: a run takes a plan
that nobody holds.
"""

from __future__ import annotations

from contextlib import suppress

from django.db import OperationalError, connection
from django.db.models import Count, Sum

from sessions_app.cleanup.claims import CleanupInProgress
from sessions_app.models import BrowserSession, CleanupPolicy, CleanupRun, DatabaseClock, PlannedSessions
from sessions_app.session.criteria import Criteria
from sessions_app.transactions import retried_when_busy, retry_when_busy
from sessions_app.transactions.disk import is_disk_full
from sessions_app.transactions.reserve import retry_with_room

SMALL_SCOPE = 100
"""Of so few sessions, a share says nothing."""

SMALL_SELECTION = 100
"""So many sessions fit on one page, where each was ticked."""

APPROVAL_UNUSED = "It was approved, but another run of the policy was at work: approve it again."

_State = CleanupRun.State


def scope_totals(criteria: Criteria) -> tuple[int, int]:
    """Count the sessions in the scope of criteria, whether they meet them or not, and their bytes."""
    # A column beyond the index of sizes: just after a cleanup of 280,000 of a million, PostgreSQL looks at
    # the table for each entry of that index, in its order, for 4 s; to read the table takes 0.4.
    counted = "name" if connection.vendor == "postgresql" else "*"
    scope = BrowserSession.objects.filter(criteria.scope())
    row = scope.aggregate(sessions=Count(counted), bytes=Sum("size_bytes", default=0))
    return row["sessions"], row["bytes"]


def measure_scope(run: CleanupRun) -> None:
    """Write down what the scope of a plan holds, removed or not: what the brakes measure it against.

    Not where the run has begun meanwhile, which weighs for itself, or somebody else was faster.
    """
    unchanged = CleanupRun.objects.filter(pk=run.pk, attempt=run.attempt, before_count=run.before_count)
    run.before_count, run.before_bytes = scope_totals(run.criteria)
    update = retry_with_room(retried_when_busy(unchanged.update))
    try:
        update(before_count=run.before_count, before_bytes=run.before_bytes)
    except OperationalError as error:
        # Pages show a plan on a full disk too; the numbers are counted again when they are needed.
        if not is_disk_full(error) or connection.in_atomic_block:
            raise


def requires_confirmation(run: CleanupRun) -> bool:
    """Whether who runs a plan by hand has to type its number: all of the scope, or more than half of it."""
    criteria = run.criteria
    if not run.matched_count:
        return False
    if criteria.all:
        return True
    if criteria.session_ids is not None and run.matched_count <= SMALL_SELECTION:
        return False
    return run.matched_count * 2 > _scope_count(run)


def unattended_hold_reason(run: CleanupRun) -> str:
    """Say why a plan by hand waits where nobody can be asked for its number; blank where it need not."""
    if not requires_confirmation(run) or _scope_count(run) <= SMALL_SCOPE:
        return ""
    return (
        f"It would take {run.matched_count:,} of {run.before_count:,} sessions, more than half, "
        "and there was no terminal to ask on."
    )


def hold_reason(run: CleanupRun, policy: CleanupPolicy, *, taken_count: int = 0) -> str:
    """Say which brake of its policy a plan is past; blank where it is past none.

    Args:
        taken_count: Sessions that earlier steps of the same sweep have removed.
    """
    taken = run.matched_count + taken_count
    scope = _scope_count(run) + taken_count
    if not run.matched_count:
        return ""
    if policy.brake_count is not None and taken > policy.brake_count:
        return f"It would take {taken:,} sessions; the brake is at {policy.brake_count:,}."
    percent = policy.brake_percent
    if percent is not None and scope > SMALL_SCOPE and taken * 100 > percent * scope:
        return (
            f"It would take {taken:,} of {scope:,} sessions, {100 * taken / scope:.0f} percent; "
            f"the brake is at {percent:g} percent."
        )
    return ""


def hold(run: CleanupRun, because: str) -> CleanupRun:
    """Let a plan wait until a person has approved it."""
    return _move(run, (_State.PLANNED,), state=_State.HELD, held_because=because)


def hold_again(run: CleanupRun) -> None:
    """Let a plan wait once more whose approval came to nothing: who approved it would else not hear of it.

    That is one of a policy, of which another run was at work by then.
    """
    if run.policy_id is None or run.approved_at is None or run.attempt:
        return
    because = run.held_because.removesuffix(APPROVAL_UNUSED).strip()
    # Delivered twice, it may be at work by now.
    with suppress(CleanupInProgress):
        hold(run, f"{because} {APPROVAL_UNUSED}".lstrip())
        held = CleanupRun.objects.filter(pk=run.pk, state=_State.HELD)
        retry_when_busy(lambda: held.update(approved_by="", approved_at=None))


def approve_cleanup(run: CleanupRun, *, actor: str) -> CleanupRun:
    """Let a held plan be run after all.

    Raises: CleanupInProgress: nobody holds it any more.
    """
    return _move(run, (_State.HELD,), state=_State.PLANNED, approved_by=actor, approved_at=DatabaseClock())


def close_cleanup(run: CleanupRun, *, actor: str = "", because: str = "") -> CleanupRun:
    """Dismiss a plan, or give up the rest of a run that stopped; what it removed can still be undone.

    Raises: CleanupInProgress: it is at work, or has ended.
    """
    states = (_State.PLANNED, _State.HELD, _State.INTERRUPTED, _State.FAILED)
    _move(
        run,
        states,
        state=_State.CLOSED,
        closed_by=actor,
        closed_at=DatabaseClock(),
        **({"error": because} if because else {}),
    )
    retry_when_busy(PlannedSessions.objects.filter(run=run).delete)
    criteria = run.criteria
    if actor and criteria.has_vanished and criteria.directory is not None:
        # The sync must not ask for the same loss again: see sessions_app.mirror.vanished.
        PlannedSessions.objects.create(run=run, ids_json=list(criteria.session_ids or ()))
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
        raise CleanupInProgress(f"Run {run.pk} is {run.get_state_display().lower()} already.")
    return run
