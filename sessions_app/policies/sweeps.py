"""A sweep: the steps of a policy in order, each planned, weighed against the brakes, and taken."""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import datetime

from django.conf import settings

from sessions_app.cleanup import (
    CleanupInProgress,
    CleanupRefused,
    close_cleanup,
    hold,
    needs_number,
    plan_cleanup,
    run_cleanup,
    scope_totals,
    summary,
    why_busy,
    why_to_hold,
)
from sessions_app.commits import retry_when_busy
from sessions_app.criteria import Criteria
from sessions_app.deadline import Deadline
from sessions_app.models import CleanupPolicy, CleanupRun, CleanupStep
from sessions_app.wording import count_of

logger = logging.getLogger(__name__)
_State = CleanupRun.State
_GUIDED = (CleanupStep.Criterion.EXPIRED, CleanupStep.Criterion.INVALID)


@dataclass
class SweepResult:
    """How far a sweep has come, in this call and those before it."""

    policy: CleanupPolicy
    due_at: datetime
    runs: list[CleanupRun] = field(default_factory=list)
    is_interrupted: bool = False
    stopped_because: str = ""
    was_changed: bool = False
    has_worked: bool = False

    @property
    def held(self) -> CleanupRun | None:
        """The plan that waits for a person, if one does."""
        return self.runs[-1] if self.runs and self.runs[-1].state == _State.HELD else None

    @property
    def has_ended(self) -> bool:
        """Whether it has come to its own end, and nobody has to do anything."""
        is_stopped = self.is_interrupted or self.was_changed
        return not is_stopped and all(run.state not in (_State.HELD, _State.CLOSED) for run in self.runs)

    def removed_count(self, criterion: str) -> int:
        """How many sessions its steps of a kind have removed."""
        return sum(run.removed_count for run in self.runs if run.criteria_json[criterion])

    def closing_line(self) -> str:
        """Say what has gone: in the words of the guide, where the policy does what the guide is about."""
        kinds = {step.criterion for step in self.policy.steps.all()}
        total = sum(run.removed_count for run in self.runs)
        in_all = f"{count_of(total, 'session')} removed"
        if kinds.isdisjoint(_GUIDED):
            return f"Automatic cleanup complete: {in_all}"
        expired, invalid = self.removed_count("expired"), self.removed_count("invalid")
        line = f"Automatic cleanup complete: {expired} expired, {invalid} invalid sessions removed"
        return line if kinds.issubset(_GUIDED) else f"{line}; with its other steps, {in_all}"

    def describe(self) -> str:
        """Say in a few sentences what was done, and what was not."""
        lines = [f"{summary(run)}." for run in self.runs]
        lines += [run.error for run in self.runs if run.error]
        if self.held:
            lines.append(f"{self.held.held_because} It waits for a person.")
        if self.is_interrupted:
            lines.append("Its time was up; it goes on from there.")
        if self.stopped_because:
            lines.append(self.stopped_because)
        return " ".join((f"“{self.policy}”:", *(lines or ["nothing to do."])))


def conditions_hold(policy: CleanupPolicy) -> bool:
    """Whether the scope of a policy is as large as it must be for a step; a policy may ask for nothing."""
    if policy.over_count is None and policy.over_bytes is None:
        return True
    return meets_conditions(policy, *scope_totals(scope_of(policy)))


def meets_conditions(policy: CleanupPolicy, session_count: int, size_bytes: int) -> bool:
    """Whether a scope of that size meets the conditions of a policy; all of them, where it has two."""
    is_over_count = policy.over_count is None or session_count > policy.over_count
    is_over_bytes = policy.over_bytes is None or size_bytes > policy.over_bytes
    return is_over_count and is_over_bytes


def why_to_wait(
    run: CleanupRun, policy: CleanupPolicy, *, taken_count: int = 0, is_by_hand: bool = False
) -> str:
    """Say why a person has to look at the plan of a step first; blank where nobody has to.

    A schedule is held by the brakes of its policy. Who starts a sweep by hand is held besides where a
    cleanup without a policy asks for the number: its plan asks for it.
    """
    because = why_to_hold(run, policy, taken_count=taken_count)
    if because or not is_by_hand or not needs_number(run):
        return because
    scope = "" if run.before_count is None else f" of {run.before_count:,}"
    return (
        f"Started by hand, it would take {run.matched_count:,}{scope} sessions: "
        "somebody has to type the number."
    )


def scope_of(policy: CleanupPolicy) -> Criteria:
    """Every session that a policy is about."""
    return Criteria(all=True, namespace=policy.namespace)


def criteria_of(step: CleanupStep) -> Criteria:
    """What a step takes now, by the age of the settings where it names none."""
    return step.criteria(max_age_days=settings.RAPTOR_MAX_AGE_DAYS)


def has_policy_changed(run: CleanupRun) -> bool:
    """Whether the policy that planned a run would plan something else in its place now."""
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
    """Take the steps of a policy, or go on where an earlier call for the same instant stopped.

    Before each step the conditions are asked again. A plan past a brake is held, and the sweep waits; so
    is one by hand for which a number has to be typed. It stops where the policy was changed meanwhile.

    Args:
        due_at: Names the sweep: the instant at which it was due, or was asked for.
        deadline: After it no further batch starts, and the sweep is left to be gone on with.
        progress: Called after each batch with the number of sessions that it removed.
    Raises: CleanupInProgress: a run of the policy is at work elsewhere.
    """
    deadline = deadline or Deadline()
    _refuse_beside_another(policy)
    _close_older_plans(policy, due_at)
    result = SweepResult(policy, due_at)
    for step in policy.steps.all():
        run = policy.runs.filter(due_at=due_at, step_position=step.position).first()
        if _stops_before(result, run, deadline):
            break
        if run is not None and _is_over(run):
            result.runs.append(run)
        elif not _take_step(result, step, run, _Origin(trigger, actor), deadline, progress):
            break
    _tell(result)
    return result


def _stops_before(result: SweepResult, planned: CleanupRun | None, deadline: Deadline) -> bool:
    """Tell whether a sweep stops before its next step, and note why; ``planned`` is the run of that step."""
    if planned is not None and has_policy_changed(planned):
        result.runs.append(planned)
        result.was_changed = True
        result.stopped_because = "The policy was changed meanwhile; its next sweep takes the new steps."
        return True
    if planned is not None and _is_over(planned):
        return False
    if result.has_worked and deadline.has_passed:
        result.is_interrupted = True
        return True
    if planned is None and not conditions_hold(result.policy):
        result.stopped_because = "Its scope is within the limits of the policy."
        return True
    return False


@dataclass(frozen=True)
class _Origin:
    trigger: str
    actor: str

    @property
    def is_by_hand(self) -> bool:
        return self.trigger != CleanupRun.Trigger.SCHEDULE


def _take_step(
    result: SweepResult,
    step: CleanupStep,
    planned: CleanupRun | None,
    origin: _Origin,
    deadline: Deadline,
    progress: Callable[[int], None],
) -> bool:
    """Plan a step, or take up its plan, and run it; tells whether the sweep goes on to the next one."""
    run = planned or plan_cleanup(
        criteria_of(step),
        trigger=origin.trigger,
        actor=origin.actor,
        step=step,
        due_at=result.due_at,
    )
    taken_count = sum(earlier.removed_count for earlier in result.runs)
    result.runs.append(run)
    # One that a killed worker has left unweighed is weighed now.
    is_unweighed = run.state == _State.PLANNED and run.attempt == 0 and run.approved_at is None
    if is_unweighed and (
        because := why_to_wait(run, result.policy, taken_count=taken_count, is_by_hand=origin.is_by_hand)
    ):
        hold(run, because)
        result.has_worked = True
    if run.state == _State.HELD:
        return False
    if run.state == _State.CLOSED:
        result.stopped_because = f"Run {run.pk} was closed, and the sweep with it."
        return False
    try:
        run_cleanup(run, deadline=deadline, progress=progress)
    except CleanupRefused:
        if planned is None:
            unused = CleanupRun.objects.filter(pk=run.pk, state=_State.PLANNED, attempt=0)
            retry_when_busy(unused.delete)
        raise
    result.has_worked = True
    result.is_interrupted = run.state == _State.INTERRUPTED
    return not result.is_interrupted


def _is_over(run: CleanupRun) -> bool:
    """Whether a step has been taken, or somebody has taken it back."""
    return run.state in (_State.SUCCEEDED, _State.UNDONE) or run.undo_started_at is not None


def _refuse_beside_another(policy: CleanupPolicy) -> None:
    # The database refuses two runs of a policy at work: asked before, nothing is planned in vain.
    if because := why_busy(policy):
        raise CleanupInProgress(because)


def _close_older_plans(policy: CleanupPolicy, due_at: datetime) -> None:
    for plan in CleanupRun.objects.filter(policy=policy, state=_State.HELD, due_at__lt=due_at):
        # Somebody may be approving it at this moment.
        with suppress(CleanupInProgress):
            close_cleanup(plan, because="A later sweep of the policy took its place.")


def _tell(result: SweepResult) -> None:
    """Log the end of a sweep in the words of the guide, once."""
    if held := result.held:
        if result.has_worked:
            logger.warning("“%s”: run %s is held. %s", result.policy, held.pk, held.held_because)
    elif result.has_ended and (result.has_worked or not result.runs):
        logger.info("“%s”: %s", result.policy, result.closing_line())
