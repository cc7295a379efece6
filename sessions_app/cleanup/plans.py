"""Plans cleanups: stores which sessions a run will remove, before it removes any."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime, timedelta

from django.conf import settings
from django.db import IntegrityError, OperationalError, connection, transaction
from django.db.models import Q, QuerySet

from sessions_app.cleanup.claims import CleanupInProgress, bound_lock_waits
from sessions_app.cleanup.limits import close_cleanup
from sessions_app.cleanup.moves import totals
from sessions_app.models import BrowserSession, CleanupRun, CleanupStep, PlannedSessions, SessionDirectory
from sessions_app.models.clock import database_now
from sessions_app.session.criteria import SELECTION_LIMIT, Criteria, count_reasons
from sessions_app.transactions import is_busy, retried_when_busy, retry_when_busy
from sessions_app.transactions.reserve import retry_with_room

SEAL_SECONDS = 10.0
"""Maximum time to wait for a seal. On PostgreSQL all writers queue behind its lock while it waits."""


@retry_with_room
def plan_cleanup(
    criteria: Criteria,
    *,
    trigger: str,
    actor: str = "",
    as_of: datetime | None = None,
    step: CleanupStep | None = None,
    due_at: datetime | None = None,
) -> CleanupRun:
    """Store a sealed plan of a cleanup, which is also its preview.

    Needs a fixed number of queries for any number of sessions.

    Args:
        as_of: The instant at which sessions are evaluated; the database's current time by default.
        step, due_at: The step of a policy that is planned, and the instant at which the sweep was due.
    Raises:
        CleanupInProgress: another program keeps sessions locked for longer than a plan waits, or the step of
            this sweep is already planned.
    """
    sealed_at = _seal()
    if trigger == CleanupRun.Trigger.SCHEDULE:
        criteria = without_unswept([criteria], as_of or sealed_at)[0]
    waits = trigger == CleanupRun.Trigger.SCHEDULE and not criteria.has_vanished
    # Stored in the plan, because approval changes its trigger but must not change which sessions match.
    criteria = replace(criteria, settle_seconds=settings.RAPTOR_SETTLE_SECONDS if waits else 0)
    run = CleanupRun(
        trigger=trigger,
        actor=actor,
        criteria_json=criteria.to_json(),
        as_of=as_of or sealed_at,
        sealed_at=sealed_at,
        # A file may be missing by mistake, so its session is archived even if other cleanups are not.
        keeps_archive=settings.RAPTOR_ARCHIVE_DAYS > 0 or criteria.has_vanished,
        policy=step.policy if step else None,
        step_position=step.position if step else None,
        due_at=due_at,
    )
    _save(run, _count_matches(run))
    return run


def without_unswept(scheduled: list[Criteria], as_of: datetime) -> list[Criteria]:
    """Exclude the directories that scheduled sweeps must not touch yet (``SessionDirectory.swept_from``)."""
    unswept = SessionDirectory.objects.filter(swept_from__gt=as_of).order_by("pk")
    ids = tuple(unswept.values_list("pk", flat=True))
    return [one if one.has_vanished or not ids else replace(one, not_directories=ids) for one in scheduled]


def replan(run: CleanupRun, *, trigger: str, actor: str) -> CleanupRun:
    """Replace an outdated plan with a current one for the same criteria.

    The old plan is deleted; a plan of a policy or an approved plan is closed and stays in the history.
    """
    new = plan_cleanup(run.criteria, trigger=trigger, actor=actor)
    if run.policy_id or run.approved_at:
        # Without the old plan, a task that is delivered again would plan the step again.
        close_cleanup(run, actor=actor, reason=f"It was over a day old and was replaced by run {new.pk}.")
    else:
        unused = CleanupRun.objects.filter(pk=run.pk, state=CleanupRun.State.PLANNED, attempt=0)
        retry_when_busy(unused.delete)
    return new


def _count_matches(run: CleanupRun) -> list[int]:
    """Count the sessions that a plan matches; return their ids, or none if there are too many to list."""
    matched = matching(run).annotate(bits=run.criteria.reasons(run.as_of))
    groups = totals(matched, "bits")
    ids: list[int] = []
    if 0 < sum(count for _, count, _ in groups) <= PlannedSessions.LIMIT:
        # Count from the list, so that both describe the same instant.
        rows = matched.order_by("pk").values_list("pk", "bits", "size_bytes")
        ids, groups = _listed(rows.iterator())
    run.matched_count = sum(count for _, count, _ in groups)
    run.matched_bytes = sum(size_bytes for _, _, size_bytes in groups)
    run.matched_reasons = count_reasons((bits, count) for bits, count, _ in groups)
    if run.criteria.all:
        run.matched_pinned_count = matching(run).filter(is_pinned=True).count()
    return ids


def _listed(rows: Iterable[tuple[int, int, int]]) -> tuple[list[int], list[tuple[int, int, int]]]:
    ids: list[int] = []
    sizes: defaultdict[int, list[int]] = defaultdict(list)
    for pk, bits, size_bytes in rows:
        ids.append(pk)
        sizes[bits].append(size_bytes)
    return ids, [(bits, len(group), sum(group)) for bits, group in sizes.items()]


def _save(run: CleanupRun, ids: list[int]) -> None:
    try:
        _insert(run, ids)
    except IntegrityError:
        twin = CleanupRun.objects.get(policy=run.policy, due_at=run.due_at, step_position=run.step_position)
        state = twin.get_state_display().lower()
        raise CleanupInProgress(f"“{run.policy}” is already {state}: run {twin.pk}.") from None


@retried_when_busy
def _insert(run: CleanupRun, ids: list[int]) -> None:
    # An earlier attempt may have set a key that was rolled back.
    run.pk, run._state.adding = None, True
    with transaction.atomic():
        run.save(force_insert=True)
        if ids:
            PlannedSessions.objects.create(run=run, ids_json=ids)


def matching(run: CleanupRun) -> QuerySet[BrowserSession]:
    """Return the sessions that a run removes: they match its criteria and have not changed since."""
    return BrowserSession.objects.filter(planned_condition(run))


def planned_condition(run: CleanupRun) -> Q:
    """Return the condition of ``matching``.

    A scheduled plan also excludes mirrored sessions that changed within the settle time before it, because
    another program may still be writing their files.
    """
    criteria = run.criteria
    condition = criteria.matching(run.as_of) & Q(updated_at__lt=run.sealed_at)
    if criteria.settle_seconds:
        settled_at = run.sealed_at - timedelta(seconds=criteria.settle_seconds)
        condition &= Q(directory=None) | Q(updated_at__lt=settled_at)
    return condition


def remaining(run: CleanupRun) -> QuerySet[BrowserSession]:
    """Return the sessions that a run has yet to remove, in order; of a long list of ids only the next ones.

    The cost of a batch then does not depend on the length of the list.
    """
    criteria = run.criteria
    ids = criteria.session_ids
    if ids is None or len(ids) <= SELECTION_LIMIT:
        return matching(run).filter(pk__gt=run.position).order_by("pk")
    following = sorted(pk for pk in ids if pk > run.position)
    for start in range(0, len(following), SELECTION_LIMIT):
        some = replace(criteria, session_ids=tuple(following[start : start + SELECTION_LIMIT]))
        left = BrowserSession.objects.filter(some.matching(run.as_of), updated_at__lt=run.sealed_at)
        if left.exists():
            return left.order_by("pk")
    return BrowserSession.objects.none()


def _seal() -> datetime:
    """Return an instant of the database's clock after all committed writes and before all later ones.

    On PostgreSQL a brief SHARE lock waits for the active writers, whose changes are dated before it. SQLite
    has one writer at a time, but its clock has a resolution of milliseconds. The seal waits for the next
    tick and is half a tick before it, an instant that no row can have.

    Raises: CleanupInProgress: another program keeps sessions locked for longer than a plan waits.
    """
    try:
        return retry_when_busy(_take_seal, seconds=SEAL_SECONDS)
    except OperationalError as error:
        if not is_busy(error):
            raise
        raise CleanupInProgress(
            "The database is busy: another program keeps sessions locked. Nothing was planned. Try again. If "
            "this happens again, look for a transaction that was left open."
        ) from error


def _take_seal() -> datetime:
    with transaction.atomic():
        if connection.vendor == "postgresql":
            bound_lock_waits()
            with connection.cursor() as cursor:
                cursor.execute(f"LOCK TABLE {BrowserSession._meta.db_table} IN SHARE MODE")
            return database_now()
        began = now = database_now()
        while now == began:
            now = database_now()
        return now - timedelta(microseconds=500)
