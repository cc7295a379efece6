"""Previews of sweeps: what a policy would remove now; read-only."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from functools import reduce
from operator import or_

from django.conf import settings
from django.db.models import Case, Count, Exists, IntegerField, Q, Sum, Value, When

from sessions_app.cleanup import scope_totals, without_unswept
from sessions_app.models import BrowserSession, CleanupPolicy, CleanupRun, CleanupStep, SessionDirectory
from sessions_app.models.clock import database_now
from sessions_app.policies.sweeps import approval_reason, criteria_of, meets_conditions, scope_of
from sessions_app.session.criteria import Criteria


@dataclass(frozen=True)
class StepPreview:
    """What a step would remove of the sessions that the earlier steps leave."""

    step: CleanupStep
    criteria: Criteria
    session_count: int
    size_bytes: int
    pinned_count: int
    hold_reason: str = ""
    is_reached: bool = True


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
    """Return what each step of a policy would remove now; this takes at most four queries.

    As in a sweep, the conditions are checked before each step, against what the earlier steps leave.

    Args:
        is_manual: A person starts the sweep, and has to confirm large steps by typing their number.
    """
    as_of = as_of or database_now()
    scope_count, scope_bytes = scope_totals(scope_of(policy))
    result = Preview(
        as_of,
        scope_count,
        scope_bytes,
        meets_conditions(policy, scope_count, scope_bytes),
        keeps_archive=settings.RAPTOR_ARCHIVE_DAYS > 0,
    )
    # The subquery is part of the query of the steps, because such a directory is rare.
    has_unswept = Exists(SessionDirectory.objects.filter(swept_from__gt=as_of))
    steps = list(policy.steps.annotate(has_unswept=has_unswept))
    asked = [criteria_of(step) for step in steps]
    if not is_manual and steps and steps[0].has_unswept:
        asked = without_unswept(asked, as_of)
    totals = _totals_by_step(asked, as_of)
    removed_count = removed_bytes = 0
    is_reached = True
    for number, (step, criteria) in enumerate(zip(steps, asked, strict=True)):
        count, size, pinned = totals.get(number, (0, 0, 0))
        left = (scope_count - removed_count, scope_bytes - removed_bytes)
        is_reached = is_reached and meets_conditions(policy, *left)
        reason = ""
        if is_reached:
            plan = CleanupRun(
                criteria_json=criteria.to_json(), matched_count=count, before_count=left[0], policy=policy
            )
            reason = approval_reason(plan, policy, removed_count=removed_count, is_manual=is_manual)
        result.steps.append(StepPreview(step, criteria, count, size, pinned, reason, is_reached))
        is_reached = is_reached and not reason
        removed_count, removed_bytes = removed_count + count, removed_bytes + size
    return result


def _totals_by_step(steps: list[Criteria], as_of: datetime) -> dict[int, tuple[int, int, int]]:
    """Count sessions, bytes and pinned sessions by the first step that matches each, in one query."""
    if not steps:
        return {}
    # An empty Q matches every row, but an OR drops it.
    matching = [criteria.matching(as_of) or Q(pk__isnull=False) for criteria in steps]
    whens = (When(match, then=Value(number)) for number, match in enumerate(matching))
    groups = (
        BrowserSession.objects.filter(reduce(or_, matching))
        .order_by()
        .annotate(step_number=Case(*whens, output_field=IntegerField()))
        .values("step_number")
        .annotate(sessions=Count("*"), bytes=Sum("size_bytes"), pinned=Count("pk", filter=Q(is_pinned=True)))
    )
    return {row["step_number"]: (row["sessions"], row["bytes"], row["pinned"]) for row in groups}
