"""When policies are due, and their start: cron expressions, read in ``TIME_ZONE``."""

from __future__ import annotations

import logging
from datetime import UTC, datetime, timedelta

from cronsim import CronSim, CronSimError
from django.core.exceptions import ValidationError
from django.db import transaction
from django.db.models import QuerySet
from django.utils import timezone
from django_q.tasks import async_task

from sessions_app.commits import retried_when_busy
from sessions_app.models import CleanupPolicy, CleanupRun

FIELD_COUNT = 5
TRIED_FOR = timedelta(hours=1)
"""For so long after it was due a sweep that is refused is started again, each minute."""

EXAMPLE = "for example “0 2 * * *” for 02:00 each day, or “30 6 * * 1-5” for 06:30 from Monday to Friday"

logger = logging.getLogger(__name__)


def next_run(policy: CleanupPolicy, *, after: datetime) -> datetime | None:
    """Tell when a policy is due next; None where it has no schedule, or is disabled.

    A time of day that the clocks skip is made up for when they have gone on; one that comes twice
    counts once, as Debian's cron has it.
    """
    if not policy.is_enabled or not policy.schedule:
        return None
    try:
        return _next(policy.schedule, after)
    except CronSimError:
        # The form refuses it: somebody has written it into the database.
        logger.warning("The schedule of policy “%s” cannot be read: %s", policy, policy.schedule)
        return None


def validate_schedule(text: str) -> None:
    """Refuse what is no cron expression of five fields, or never comes.

    Raises: ValidationError: with an example.
    """
    if not text:
        return
    fields = text.split()
    if len(fields) != FIELD_COUNT:
        raise ValidationError(
            f"Write five fields (minute, hour, day, month, day of the week), {EXAMPLE}. "
            f"There {'is' if len(fields) == 1 else 'are'} {len(fields)} here."
        )
    try:
        is_possible = _next(text, timezone.now()) is not None
    except CronSimError as error:
        reason = str(error).replace("Bad ", "").replace("-", " ")
        raise ValidationError(f"The {reason} cannot be read. Write it as cron has it, {EXAMPLE}.") from None
    if not is_possible:
        raise ValidationError(f"That time never comes. Write it as cron has it, {EXAMPLE}.")


def in_words(schedule: str) -> str:
    """Say when a schedule starts; as it stands where it has no plain words."""
    try:
        return str(CronSim(schedule, timezone.now()).explain())
    except CronSimError:
        return schedule


def start_due(now: datetime) -> list[CleanupPolicy]:
    """Put a sweep of each policy that is due into the queue, and move its next run on.

    First queued, then moved: started twice is harmless, not at all is not. What was missed while no
    worker ran is made up for once.
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
    # One transaction where the database carries the tasks: a sweep that is refused at once finds
    # its policy moved on, and can move it back.
    with transaction.atomic():
        async_task("sessions_app.tasks.sweep", policy.pk, due_at.isoformat())
        _move(policy, next_run_at)


def try_again(policy: CleanupPolicy, due_at: datetime, *, now: datetime) -> bool:
    """Let a sweep that was refused be due again, under the instant that names it.

    Returns: Whether it will be started again; not over an hour after it was due, nor where its policy
        was disabled meanwhile.
    """
    current = _scheduled().filter(pk=policy.pk, next_run_at__gt=due_at).first()
    if current is None or now > due_at + TRIED_FOR:
        return False
    return _move(current, due_at) == 1


def put_off(policy: CleanupPolicy, due_at: datetime, *, trigger: str, because: str, now: datetime) -> str:
    """Let a sweep that was refused be tried again, where a schedule has started it, and say so."""
    itself = CleanupRun.objects.filter(policy=policy, due_at=due_at, state=CleanupRun.State.RUNNING)
    if trigger != CleanupRun.Trigger.SCHEDULE or itself.exists():
        logger.info("%s", because)
        return because
    is_due_again = try_again(policy, due_at, now=now)
    told = f"{because} The sweep is {'tried again in a minute' if is_due_again else 'not tried again'}."
    logger.warning("“%s”: %s", policy, told)
    return told


def plan_next_runs(now: datetime) -> int:
    """Put right when policies are due next, as after a change of ``TIME_ZONE``; what is due stays due.

    Returns: How many were changed.
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
    """Write the next run of a policy, unless somebody has written another one meanwhile."""
    unmoved = CleanupPolicy.objects.filter(pk=policy.pk, next_run_at=policy.next_run_at)
    return unmoved.update(next_run_at=next_run_at)


def _next(schedule: str, after: datetime) -> datetime | None:
    instants = CronSim(schedule, timezone.localtime(after, timezone.get_default_timezone()))
    # In the hour that comes twice, the first instant found may be that of the first time round.
    return next((utc for utc in (instant.astimezone(UTC) for instant in instants) if utc > after), None)
