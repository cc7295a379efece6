"""Read-only previews: what a saved or unsaved policy would remove now."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import reduce
from operator import or_

from django.conf import settings
from django.db.models import Case, Count, Exists, IntegerField, Q, Sum, Value, When

from sessions_app.cleanup import beyond_now, scope_totals, without_unswept
from sessions_app.deadline import Deadline
from sessions_app.models import (
    BrowserSession,
    CleanupPolicy,
    CleanupRun,
    CleanupStep,
    PolicyProtection,
    SessionDirectory,
)
from sessions_app.models.clock import database_now
from sessions_app.policies.sweeps import approval_reason, criteria_of, meets_conditions, scope_of
from sessions_app.search import index_sessions
from sessions_app.session.criteria import Criteria

INDEX_SECONDS = 2.0
"""Maximum time that a preview by metadata waits for the search index."""

NAMES_SHOWN = 50
"""Maximum sessions that a preview lists for each step."""


@dataclass(frozen=True)
class StepPreview:
    """The sessions that a step would remove after the earlier steps."""

    step: CleanupStep
    criteria: Criteria
    session_count: int
    size_bytes: int
    pinned_count: int
    hold_reason: str = ""
    is_reached: bool = True
    sessions: list[BrowserSession] = field(default_factory=list)
    """The first sessions, without their documents; empty unless requested."""


@dataclass(frozen=True)
class Preview:
    """The scope of a policy at an instant, and its steps."""

    as_of: datetime
    scope_count: int
    scope_bytes: int
    conditions_hold: bool
    keeps_archive: bool = True
    steps: list[StepPreview] = field(default_factory=list)

    @property
    def session_count(self) -> int:
        """Sessions that would be removed before a safety limit or a condition stops the sweep."""
        return sum(step.session_count for step in self.steps if step.is_reached and not step.hold_reason)


def preview(policy: CleanupPolicy, *, as_of: datetime | None = None, is_manual: bool = False) -> Preview:
    """Return what each step of a policy would remove now, with at most five queries.

    As in a sweep, the conditions are checked before each step, on the sessions that earlier steps leave.

    Args:
        is_manual: Whether a user starts the sweep, who must confirm large steps by typing their number.
    """
    as_of = as_of or database_now()
    # A subquery saves a separate query, because such directories are rare.
    has_unswept = Exists(SessionDirectory.objects.filter(swept_from__gt=as_of))
    steps = list(policy.steps.annotate(has_unswept=has_unswept))
    is_limited = bool(steps) and not is_manual and steps[0].has_unswept
    rules = list(policy.protections.all())
    return _preview(policy, steps, rules, as_of, is_manual=is_manual, is_limited=is_limited)


def preview_unsaved(
    policy: CleanupPolicy, steps: Sequence[CleanupStep], rules: Sequence[PolicyProtection]
) -> Preview:
    """Return what an unsaved policy would remove now, with the names of the first sessions.

    Needs one more query than ``preview`` for each step.
    """
    as_of, is_manual = database_now(), not policy.schedule
    return _preview(
        policy, steps, rules, as_of, is_manual=is_manual, is_limited=not is_manual, has_names=True
    )


def _preview(
    policy: CleanupPolicy,
    steps: Sequence[CleanupStep],
    rules: Sequence[PolicyProtection],
    as_of: datetime,
    *,
    is_manual: bool,
    is_limited: bool,
    has_names: bool = False,
) -> Preview:
    scope_count, scope_bytes = scope_totals(scope_of(policy))
    result = Preview(
        as_of,
        scope_count,
        scope_bytes,
        meets_conditions(policy, scope_count, scope_bytes),
        keeps_archive=settings.RAPTOR_ARCHIVE_DAYS > 0,
    )
    asked = [criteria_of(step, rules) for step in steps]
    if is_limited:
        asked = without_unswept(asked, as_of)
    if any(criteria.reads_texts for criteria in asked):
        # A plan would wait for all of them.
        index_sessions(deadline=Deadline.after(INDEX_SECONDS))
    matching = _matching_each(asked, as_of)
    totals = _totals_by_step(matching)
    removed_count = removed_bytes = 0
    is_reached = True
    for number, (step, criteria) in enumerate(zip(steps, asked, strict=True)):
        count, size, pinned = totals.get(number, (0, 0, 0))
        left = (scope_count - removed_count, scope_bytes - removed_bytes)
        is_reached = is_reached and meets_conditions(policy, *left)
        reason = ""
        if is_reached:
            plan = CleanupRun(criteria_json=criteria.to_json(), matched_count=count, before_count=left[0])
            reason = approval_reason(plan, policy, removed_count=removed_count, is_manual=is_manual)
        sessions = _first_sessions(matching[: number + 1]) if has_names and count else []
        result.steps.append(StepPreview(step, criteria, count, size, pinned, reason, is_reached, sessions))
        is_reached = is_reached and not reason
        removed_count, removed_bytes = removed_count + count, removed_bytes + size
    return result


def _matching_each(asked: list[Criteria], as_of: datetime) -> list[Q]:
    """Return the condition of each step. The newest sessions are the newest that earlier steps leave."""
    conditions: list[Q] = []
    for criteria in asked:
        removed = reduce(or_, conditions) if conditions else None
        beyond = beyond_now(criteria, removed=removed)
        # An empty Q matches every row on its own, but is dropped from an OR.
        conditions.append(criteria.matching(as_of, beyond=beyond) or Q(pk__isnull=False))
    return conditions


def _first_sessions(matching: list[Q]) -> list[BrowserSession]:
    """Return the first sessions that match the last condition and no earlier one."""
    *earlier, last = matching
    rows = BrowserSession.objects.filter(last)
    for condition in earlier:
        rows = rows.exclude(condition)
    # The indexes have the order of last access.
    shown = rows.order_by("idle_since", "pk")
    return list(shown[:NAMES_SHOWN])


def _totals_by_step(matching: list[Q]) -> dict[int, tuple[int, int, int]]:
    """Count sessions, bytes and pinned sessions by the first step that matches each, in one query."""
    if not matching:
        return {}
    whens = (When(match, then=Value(number)) for number, match in enumerate(matching))
    groups = (
        BrowserSession.objects.filter(reduce(or_, matching))
        .order_by()
        .annotate(step_number=Case(*whens, output_field=IntegerField()))
        .values("step_number")
        .annotate(sessions=Count("*"), bytes=Sum("size_bytes"), pinned=Count("pk", filter=Q(is_pinned=True)))
    )
    return {row["step_number"]: (row["sessions"], row["bytes"], row["pinned"]) for row in groups}
