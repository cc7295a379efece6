"""Leaves single sessions out of a plan before it runs, and includes them again."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Collection
from dataclasses import replace
from typing import NamedTuple

from django.db import transaction

from sessions_app.cleanup.claims import CleanupInProgress, CleanupRefused
from sessions_app.cleanup.plans import matching, running_browsers
from sessions_app.models import CleanupRun, PlannedSessions
from sessions_app.session.criteria import count_reasons
from sessions_app.transactions import retried_when_busy
from sessions_app.transactions.reserve import retry_with_room

LEFT_OUT_LIMIT = 1_000
"""Maximum sessions to leave out of a plan. Lists load them with the criteria of each run."""

_State = CleanupRun.State


@retry_with_room
@retried_when_busy
def leave_out(run: CleanupRun, ids: Collection[int]) -> int:
    """Leave sessions out of a plan. Its run keeps them, even when it is resumed.

    The plan stays sealed, so sessions that changed since it was made are still counted as skipped.

    Returns: Number of sessions of the plan that were left out.
    Raises:
        CleanupInProgress: the run has started or was closed.
        CleanupRefused: the plan would leave out more than ``LEFT_OUT_LIMIT``.
    """
    with transaction.atomic():
        plan = _lock(run)
        rows = _rows(plan, ids)
        left_out = sorted({*plan.criteria.not_session_ids, *(row.pk for row in rows)})
        if len(left_out) > LEFT_OUT_LIMIT:
            raise CleanupRefused(
                f"A plan can leave out at most {LEFT_OUT_LIMIT:,} sessions. Use other criteria instead."
            )
        _change(plan, left_out, rows, sign=-1)
    run.refresh_from_db()
    return len(rows)


@retry_with_room
@retried_when_busy
def include_again(run: CleanupRun) -> int:
    """Include all left-out sessions in a plan again, except sessions that have changed since.

    Refuses to change a confirmed plan, even if it has not started yet.

    Returns: Number of sessions that the plan includes again.
    Raises: CleanupInProgress: the run was confirmed, has started or was closed.
    """
    with transaction.atomic():
        plan = _lock(run)
        if plan.queued_at or plan.approved_at:
            raise CleanupInProgress(f"Run {plan.pk} is already confirmed, so no session can be added to it.")
        ids = plan.criteria.not_session_ids
        plan.criteria_json = replace(plan.criteria, not_session_ids=()).to_json()
        rows = _rows(plan, ids)
        _change(plan, [], rows, sign=1)
    run.refresh_from_db()
    return len(rows)


def left_out_digest(run: CleanupRun) -> str:
    """Return a digest of the left-out sessions of a plan; blank if there are none."""
    ids = run.criteria.not_session_ids
    return hashlib.sha256(repr(sorted(ids)).encode()).hexdigest()[:16] if ids else ""


class _Row(NamedTuple):
    pk: int
    bits: int
    size_bytes: int
    is_pinned: bool


def _lock(run: CleanupRun) -> CleanupRun:
    """Load a plan, and lock it so that it cannot start."""
    plan = CleanupRun.objects.select_for_update().get(pk=run.pk)
    if plan.attempt or plan.state not in (_State.PLANNED, _State.HELD):
        raise CleanupInProgress(f"Run {plan.pk} is already {plan.state_in_words}.")
    return plan


def _rows(plan: CleanupRun, ids: Collection[int]) -> list[_Row]:
    matched = matching(plan).filter(pk__in=ids).annotate(bits=plan.criteria.reasons(plan.as_of))
    return [_Row(*row) for row in matched.values_list("pk", "bits", "size_bytes", "is_pinned")]


def _change(plan: CleanupRun, left_out: list[int], rows: list[_Row], *, sign: int) -> None:
    """Store the left-out sessions of a plan, and add rows to its counts or subtract them."""
    plan.criteria_json = replace(plan.criteria, not_session_ids=tuple(left_out)).to_json()
    plan.matched_count += sign * len(rows)
    plan.matched_bytes += sign * sum(row.size_bytes for row in rows)
    reasons = Counter(plan.matched_reasons)
    for code, count in count_reasons((row.bits, 1) for row in rows).items():
        reasons[code] += sign * count
    plan.matched_reasons = {code: count for code, count in reasons.items() if count}
    if plan.criteria.all:
        plan.matched_pinned_count += sign * sum(row.is_pinned for row in rows)
    plan.matched_browsers = running_browsers(plan)
    plan.save(
        update_fields=(
            "criteria_json",
            "matched_count",
            "matched_bytes",
            "matched_reasons",
            "matched_pinned_count",
            "matched_browsers",
        )
    )
    if listed := PlannedSessions.objects.filter(pk=plan.pk).first():
        ids, changed = set(listed.ids_json), {row.pk for row in rows}
        listed.ids_json = sorted(ids | changed if sign > 0 else ids - changed)
        listed.save()
