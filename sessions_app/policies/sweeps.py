"""Sweeps: each step of a policy is planned, checked against the safety limits, and run."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import partial

from django.conf import settings

from sessions_app.cleanup import (
    CleanupInProgress,
    CleanupRefused,
    busy_reason,
    close_cleanup,
    hold,
    hold_reason,
    plan_cleanup,
    requires_confirmation,
    run_cleanup,
    scope_totals,
    summary,
)
from sessions_app.deadline import Deadline
from sessions_app.liveness import close_for_run
from sessions_app.models import CleanupPolicy, CleanupRun, CleanupStep, PolicyProtection
from sessions_app.session.criteria import Criteria
from sessions_app.text import count_of, part_of
from sessions_app.transactions import retry_when_busy

logger = logging.getLogger(__name__)
_State = CleanupRun.State
_GUIDED = (CleanupStep.Criterion.EXPIRED, CleanupStep.Criterion.INVALID)


@dataclass
class SweepResult:
    """The progress of a sweep, in this call and earlier ones."""

    policy: CleanupPolicy
    due_at: datetime
    runs: list[CleanupRun] = field(default_factory=list)
    is_interrupted: bool = False
    stop_reason: str = ""
    was_changed: bool = False
    made_progress: bool = False

    @property
    def held(self) -> CleanupRun | None:
        """The plan that needs approval, if there is one."""
        return self.runs[-1] if self.runs and self.runs[-1].state == _State.HELD else None

    @property
    def has_ended(self) -> bool:
        """True if the sweep is complete and nobody has to act."""
        is_stopped = self.is_interrupted or self.was_changed
        return not is_stopped and all(run.state not in (_State.HELD, _State.CLOSED) for run in self.runs)

    def removed_count(self, criterion: str) -> int:
        """Return the number of sessions that the steps with a criterion have removed."""
        return sum(run.removed_count for run in self.runs if run.criteria_json[criterion])

    def summary_line(self) -> str:
        """Summarize what was removed, in the guide's wording if a step is expired or invalid."""
        kinds = {step.criterion for step in self.policy.steps.all()}
        total = sum(run.removed_count for run in self.runs)
        removed = f"{count_of(total, 'session')} removed"
        if kinds.isdisjoint(_GUIDED):
            return f"Automatic cleanup complete: {removed}"
        expired, invalid = self.removed_count("expired"), self.removed_count("invalid")
        line = f"Automatic cleanup complete: {expired} expired, {invalid} invalid sessions removed"
        return line if kinds.issubset(_GUIDED) else f"{line}; with its other steps, {removed}"

    def describe(self) -> str:
        """Describe in sentences what was done and what was not."""
        lines = [f"{summary(run)}." for run in self.runs]
        lines += [run.error for run in self.runs if run.error]
        if self.held:
            lines.append(f"{self.held.held_because} It needs approval.")
        if self.is_interrupted:
            lines.append("It reached its deadline and will continue from there.")
        if self.stop_reason:
            lines.append(self.stop_reason)
        return " ".join((f"“{self.policy}”:", *(lines or ["nothing to do."])))


def conditions_hold(policy: CleanupPolicy) -> bool:
    """Check whether the scope of a policy meets its conditions; without conditions it always does."""
    if policy.over_count is None and policy.over_bytes is None:
        return True
    return meets_conditions(policy, *scope_totals(scope_of(policy)))


def meets_conditions(policy: CleanupPolicy, session_count: int, size_bytes: int) -> bool:
    """Check whether a scope of that size meets every condition of a policy."""
    is_over_count = policy.over_count is None or session_count > policy.over_count
    is_over_bytes = policy.over_bytes is None or size_bytes > policy.over_bytes
    return is_over_count and is_over_bytes


def approval_reason(
    run: CleanupRun, policy: CleanupPolicy, *, removed_count: int = 0, is_manual: bool = False
) -> str:
    """Return why the plan of a step needs approval; blank if it does not.

    The safety limits of the policy apply to every sweep. A manual sweep also needs approval where a cleanup
    without a policy would ask for the number of sessions.
    """
    reason = hold_reason(run, policy, removed_count=removed_count)
    if reason or not is_manual or not requires_confirmation(run):
        return reason
    matched = count_of(run.matched_count, "session")
    if run.before_count is not None:
        matched = part_of(run.matched_count, run.before_count, "session")
    return f"Started manually, this step would remove {matched}. A user must type the number to confirm."


def scope_of(policy: CleanupPolicy) -> Criteria:
    """Return the criteria that match every session in the scope of a policy."""
    return Criteria(all=True, namespace=policy.namespace)


def criteria_of(step: CleanupStep, rules: Iterable[PolicyProtection] | None = None) -> Criteria:
    """Return the criteria of a step. Without a maximum age, use the one from the settings.

    Args:
        rules: The protection rules of the policy, if they are already loaded.
    """
    found = step.policy.protections.all() if rules is None else rules
    protected = tuple(rule.protection() for rule in found)
    return step.criteria(max_age_days=settings.RAPTOR_MAX_AGE_DAYS, protected=protected)


def has_policy_changed(run: CleanupRun) -> bool:
    """Check whether the policy of a run would now plan something else in its place."""
    if run.policy is None or run.step_position is None:
        return False
    step = run.policy.steps.filter(position=run.step_position).first()
    return step is None or replace(run.criteria, not_directories=()) != criteria_of(step)


def sweep(
    policy: CleanupPolicy,
    *,
    due_at: datetime,
    trigger: str,
    actor: str = "",
    deadline: Deadline | None = None,
    progress: Callable[[int], None] = lambda sessions: None,
) -> SweepResult:
    """Run the steps of a policy, or continue where an earlier call for the same instant stopped.

    The conditions are checked again before each step. The sweep stops if a plan needs approval, because of a
    safety limit or because a manual sweep is large, and if the policy was changed in the meantime.

    Args:
        due_at: Identifies the sweep: the instant at which it was due or was requested.
        deadline: Instant after which no further batch starts; the sweep is then left resumable.
        progress: Called after each batch with the number of sessions that it removed.
    Raises: CleanupInProgress: another run of the policy is running.
    """
    deadline = deadline or Deadline()
    _refuse_concurrent(policy)
    _close_older_plans(policy, due_at)
    result = SweepResult(policy, due_at)
    for step in policy.steps.all():
        run = policy.runs.filter(due_at=due_at, step_position=step.position).first()
        if _stops_before(result, run, deadline):
            break
        if run is not None and _is_over(run):
            result.runs.append(run)
        elif not _run_step(result, step, run, _Origin(trigger, actor), deadline, progress):
            break
    _log(result)
    return result


def _stops_before(result: SweepResult, planned: CleanupRun | None, deadline: Deadline) -> bool:
    """Check whether a sweep stops before its next step, whose run is ``planned``, and store the reason."""
    if planned is not None and has_policy_changed(planned):
        result.runs.append(planned)
        result.was_changed = True
        result.stop_reason = "The policy was changed in the meantime; its next sweep runs the new steps."
        return True
    if planned is not None and _is_over(planned):
        return False
    if result.made_progress and deadline.has_passed:
        result.is_interrupted = True
        return True
    if planned is None and not conditions_hold(result.policy):
        result.stop_reason = "The scope does not meet the conditions of the policy."
        return True
    return False


@dataclass(frozen=True)
class _Origin:
    trigger: str
    actor: str

    @property
    def is_manual(self) -> bool:
        return self.trigger != CleanupRun.Trigger.SCHEDULE


def _run_step(
    result: SweepResult,
    step: CleanupStep,
    planned: CleanupRun | None,
    origin: _Origin,
    deadline: Deadline,
    progress: Callable[[int], None],
) -> bool:
    """Plan a step or reuse its plan, and run it; return whether the sweep continues with the next step."""
    run = planned or plan_cleanup(
        criteria_of(step),
        trigger=origin.trigger,
        actor=origin.actor,
        step=step,
        due_at=result.due_at,
        closes_browsers=result.policy.closes_browsers,
    )
    removed_count = _unapproved_count(result.runs)
    result.runs.append(run)
    # A killed worker may have left the plan before the safety limits were checked.
    is_unchecked = run.state == _State.PLANNED and run.attempt == 0 and run.approved_at is None
    if is_unchecked and (
        reason := approval_reason(run, result.policy, removed_count=removed_count, is_manual=origin.is_manual)
    ):
        hold(run, reason)
        result.made_progress = True
    if run.state == _State.HELD:
        return False
    if run.state == _State.CLOSED:
        result.stop_reason = f"Run {run.pk} was dismissed, so the sweep stopped."
        return False
    try:
        run_cleanup(
            run,
            deadline=deadline,
            before_removal=partial(close_for_run, run),
            progress=progress,
        )
    except CleanupRefused:
        if planned is None:
            unused = CleanupRun.objects.filter(pk=run.pk, state=_State.PLANNED, attempt=0)
            retry_when_busy(unused.delete)
        raise
    result.made_progress = True
    result.is_interrupted = run.state == _State.INTERRUPTED
    return not result.is_interrupted


def _unapproved_count(runs: list[CleanupRun]) -> int:
    """Count the sessions that steps after the last approval have removed."""
    count = 0
    for run in runs:
        count = 0 if run.approved_at is not None else count + run.removed_count
    return count


def _is_over(run: CleanupRun) -> bool:
    """Check whether a step was run, or its undo was started."""
    return run.state in (_State.SUCCEEDED, _State.UNDONE) or run.undo_started_at is not None


def _refuse_concurrent(policy: CleanupPolicy) -> None:
    # The database refuses two open runs of a policy. Checking first avoids a useless plan.
    if reason := busy_reason(policy):
        raise CleanupInProgress(reason)


def _close_older_plans(policy: CleanupPolicy, due_at: datetime) -> None:
    for plan in CleanupRun.objects.filter(policy=policy, state=_State.HELD, due_at__lt=due_at):
        # Someone may be approving the plan right now.
        with suppress(CleanupInProgress):
            close_cleanup(plan, reason="A later sweep of the policy replaced it.")


def _log(result: SweepResult) -> None:
    """Log the end of a sweep once, in the guide's wording."""
    if held := result.held:
        if result.made_progress:
            logger.warning("“%s”: run %s needs approval. %s", result.policy, held.pk, held.held_because)
    elif result.has_ended and (result.made_progress or not result.runs):
        logger.info("“%s”: %s", result.policy, result.summary_line())
