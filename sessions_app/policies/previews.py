"""What a sweep of a policy would do now; read-only."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from functools import reduce
from operator import or_

from django.conf import settings
from django.db.models import Case, Count, Exists, IntegerField, Q, Sum, Value, When

from sessions_app.cleanup import scope_totals, without_unswept
from sessions_app.criteria import Criteria
from sessions_app.models import BrowserSession, CleanupPolicy, CleanupRun, CleanupStep, SessionDirectory
from sessions_app.models.clock import database_now
from sessions_app.policies.sweeps import criteria_of, meets_conditions, scope_of, why_to_wait


@dataclass(frozen=True)
class StepPreview:
    """What a step would take of what the steps before it leave."""

    step: CleanupStep
    criteria: Criteria
    session_count: int
    size_bytes: int
    pinned_count: int
    held_because: str = ""
    is_reached: bool = True


@dataclass(frozen=True)
class Preview:
    """The scope of a policy as of an instant, and its steps."""

    as_of: datetime
    scope_count: int
    scope_bytes: int
    conditions_hold: bool
    keeps_archive: bool = True
    steps: list[StepPreview] = field(default_factory=list)

    @property
    def session_count(self) -> int:
        """Sessions that would go, before a brake or a condition stops the sweep."""
        return sum(step.session_count for step in self.steps if step.is_reached and not step.held_because)


def preview(policy: CleanupPolicy, *, as_of: datetime | None = None, is_by_hand: bool = False) -> Preview:
    """Tell what each step of a policy would take now, in three queries or four.

    The conditions are weighed before each step against what the steps before it leave, as a sweep does.

    Args:
        is_by_hand: Whether a person starts it, and has to type the number of what is large.
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
    # Asked with the steps, because there is rarely such a directory.
    has_unswept = Exists(SessionDirectory.objects.filter(swept_from__gt=as_of))
    steps = list(policy.steps.annotate(has_unswept=has_unswept))
    asked = [criteria_of(step) for step in steps]
    if not is_by_hand and steps and steps[0].has_unswept:
        asked = without_unswept(asked, as_of)
    taken = _taken_by(asked, as_of)
    gone_count = gone_bytes = 0
    is_going_on = True
    for number, (step, criteria) in enumerate(zip(steps, asked, strict=True)):
        count, size, pinned = taken.get(number, (0, 0, 0))
        left = (scope_count - gone_count, scope_bytes - gone_bytes)
        is_going_on = is_going_on and meets_conditions(policy, *left)
        because = ""
        if is_going_on:
            plan = CleanupRun(
                criteria_json=criteria.to_json(), matched_count=count, before_count=left[0], policy=policy
            )
            because = why_to_wait(plan, policy, taken_count=gone_count, is_by_hand=is_by_hand)
        result.steps.append(StepPreview(step, criteria, count, size, pinned, because, is_going_on))
        is_going_on = is_going_on and not because
        gone_count, gone_bytes = gone_count + count, gone_bytes + size
    return result


def _taken_by(steps: list[Criteria], as_of: datetime) -> dict[int, tuple[int, int, int]]:
    """Count sessions, bytes and pinned sessions for the first step that takes each, in one query."""
    if not steps:
        return {}
    # An empty Q, which matches all, is lost in an OR.
    matching = [criteria.matching(as_of) or Q(pk__isnull=False) for criteria in steps]
    whens = (When(match, then=Value(number)) for number, match in enumerate(matching))
    first = Case(*whens, output_field=IntegerField())
    groups = (
        BrowserSession.objects.filter(reduce(or_, matching))
        .order_by()
        .annotate(taken_by=first)
        .values("taken_by")
        .annotate(sessions=Count("*"), bytes=Sum("size_bytes"), pinned=Count("pk", filter=Q(is_pinned=True)))
    )
    return {row["taken_by"]: (row["sessions"], row["bytes"], row["pinned"]) for row in groups}
