"""When policies are due, by cron expressions in ``TIME_ZONE``, and the start of those that are."""

from __future__ import annotations

import logging
from datetime import datetime, timedelta

from cronsim import CronSimError
from django.core.exceptions import ValidationError
from django.db import transaction
from django.db.models import QuerySet
from django.utils import timezone

from sessions_app.models import CleanupPolicy, CleanupRun
from sessions_app.queue.enqueue import Task
from sessions_app.queue.outbox import enqueue
from sessions_app.queue.schedules import next_instant
from sessions_app.transactions import retried_when_busy

FIELD_COUNT = 5
RETRY_PERIOD = timedelta(hours=1)
"""Time after the due instant for which a refused sweep is retried, every minute."""

EXAMPLE = "for example “0 2 * * *” for 02:00 each day, or “30 6 * * 1-5” for 06:30 from Monday to Friday"

logger = logging.getLogger(__name__)


def next_run(policy: CleanupPolicy, *, after: datetime) -> datetime | None:
    """Return when a policy is due next; None if it has no schedule or is disabled."""
    if not policy.is_enabled or not policy.schedule:
        return None
    try:
        return next_instant(policy.schedule, after)
    except CronSimError:
        # The form refuses such a schedule, so it was written directly into the database.
        logger.warning("The schedule of policy “%s” cannot be read: %s", policy, policy.schedule)
        return None


def validate_schedule(text: str) -> None:
    """Refuse a text that is not a cron expression of five fields, or that never matches.

    Raises: ValidationError: the message contains an example.
    """
    if not text:
        return
    fields = text.split()
    if len(fields) != FIELD_COUNT:
        raise ValidationError(
            f"Write five fields (minute, hour, day, month, day of the week), {EXAMPLE}. "
            f"This has {len(fields)}."
        )
    try:
        is_possible = next_instant(text, timezone.now()) is not None
    except CronSimError as error:
        reason = str(error).replace("Bad ", "").replace("-", " ")
        raise ValidationError(f"The {reason} cannot be read. Write a cron expression, {EXAMPLE}.") from None
    if not is_possible:
        raise ValidationError(f"This time never occurs. Write a cron expression, {EXAMPLE}.")


def start_due(now: datetime) -> list[CleanupPolicy]:
    """Queue a sweep of each due policy, and advance its next run.

    The sweep is queued first, because starting it twice is harmless and losing it is not. One sweep replaces
    all that were missed while no worker ran.
    """
    plan_next_runs(now)
    started = []
    for policy in _scheduled().filter(next_run_at__lte=now):
        if due_at := policy.next_run_at:
            _start(policy, due_at, next_run(policy, after=now))
            started.append(policy)
    return started


@retried_when_busy
def _start(policy: CleanupPolicy, due_at: datetime, next_run_at: datetime | None) -> None:
    # One transaction makes both visible together. A sweep that is refused at once then finds the advanced
    # policy and can move it back.
    with transaction.atomic():
        enqueue(Task.SWEEP, policy.pk, due_at.isoformat())
        _move(policy, next_run_at)


def retry_in_a_minute(policy: CleanupPolicy, due_at: datetime, *, now: datetime) -> bool:
    """Make a refused sweep due again, under the same due instant.

    Returns: True if it will start again; False after RETRY_PERIOD, or if the policy was disabled.
    """
    current = _scheduled().filter(pk=policy.pk, next_run_at__gt=due_at).first()
    if current is None or now > due_at + RETRY_PERIOD:
        return False
    return _move(current, due_at) == 1


def postpone(policy: CleanupPolicy, due_at: datetime, *, trigger: str, reason: str, now: datetime) -> str:
    """Retry a refused sweep in a minute if a schedule started it; return and log the outcome."""
    own_runs = CleanupRun.objects.filter(policy=policy, due_at=due_at, state=CleanupRun.State.RUNNING)
    if trigger != CleanupRun.Trigger.SCHEDULE or own_runs.exists():
        logger.info("%s", reason)
        return reason
    is_due_again = retry_in_a_minute(policy, due_at, now=now)
    message = f"{reason} The sweep is {'retried in a minute' if is_due_again else 'not retried'}."
    logger.warning("“%s”: %s", policy, message)
    return message


def plan_next_runs(now: datetime) -> int:
    """Recalculate when policies are due next, for example after a change of ``TIME_ZONE``.

    A policy that is due stays due.

    Returns: The number of policies changed.
    """
    changed = 0
    for policy in _scheduled():
        if policy.next_run_at is None or policy.next_run_at > now:
            right = next_run(policy, after=now)
            if right != policy.next_run_at:
                changed += _move(policy, right)
    return changed


def _scheduled() -> QuerySet[CleanupPolicy]:
    return CleanupPolicy.objects.filter(is_enabled=True).exclude(schedule="")


@retried_when_busy
def _move(policy: CleanupPolicy, next_run_at: datetime | None) -> int:
    """Store the next run of a policy unless it was changed in the meantime."""
    unmoved = CleanupPolicy.objects.filter(pk=policy.pk, next_run_at=policy.next_run_at)
    return unmoved.update(next_run_at=next_run_at)
