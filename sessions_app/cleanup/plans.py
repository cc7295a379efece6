"""Plans cleanups: stores which sessions a run will remove, before it removes any."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime, timedelta

from django.conf import settings
from django.db import IntegrityError, OperationalError, connection, transaction
from django.db.models import Count, Q, QuerySet

from sessions_app.cleanup.claims import CleanupInProgress, bound_lock_waits
from sessions_app.cleanup.limits import close_cleanup
from sessions_app.cleanup.marks import totals
from sessions_app.cleanup.newest import beyond_sealed, drop_newest, seal_newest
from sessions_app.models import BrowserSession, CleanupRun, CleanupStep, PlannedSessions, SessionDirectory
from sessions_app.models.clock import database_now
from sessions_app.search import SearchIncomplete, complete_index
from sessions_app.session.browser_states import RUNNING, BrowserState
from sessions_app.session.criteria import SELECTION_LIMIT, Criteria, count_reasons
from sessions_app.session.keeping import protected
from sessions_app.transactions import is_busy, retried_when_busy, retry_when_busy
from sessions_app.transactions.reserve import retry_with_room

IN_USE_INTERVALS = 2
"""Number of probe intervals for which a probe protects a session in use."""

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
    closes_browsers: bool = False,
) -> CleanupRun:
    """Store a sealed plan of a cleanup, which is also its preview.

    Needs a fixed number of queries for any number of sessions.

    Args:
        as_of: The instant at which sessions are evaluated; the database's current time by default.
        closes_browsers: Whether the run closes the browser of each session before removing the session.
        step, due_at: The planned step of a policy, and the instant at which its sweep was due.
    Raises:
        CleanupInProgress: another program keeps sessions locked for longer than a plan waits, the step of
            this sweep is already planned, or the texts of many sessions are not indexed yet.
    """
    if criteria.reads_texts:
        _complete_index()
    sealed_at = _seal()
    if trigger == CleanupRun.Trigger.SCHEDULE:
        criteria = without_unswept([criteria], as_of or sealed_at)[0]
    waits = trigger == CleanupRun.Trigger.SCHEDULE and not criteria.has_vanished
    # Stored in the plan, because approval changes its trigger but must not change which sessions match.
    criteria = replace(
        criteria, settle_seconds=settings.RAPTOR_SETTLE_SECONDS if waits else 0, spares_in_use=waits
    )
    criteria = seal_newest(criteria)
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
        closes_browsers=closes_browsers,
    )
    _save(run, _count_matches(run))
    return run


def _complete_index() -> None:
    """Index the texts of all sessions, so that a plan does not depend on the progress of the worker."""
    try:
        complete_index()
    except SearchIncomplete as reason:
        raise CleanupInProgress(str(reason)) from None


def without_unswept(scheduled: list[Criteria], as_of: datetime) -> list[Criteria]:
    """Exclude the directories that scheduled sweeps must not touch yet (``SessionDirectory.swept_from``)."""
    unswept = SessionDirectory.objects.filter(swept_from__gt=as_of).order_by("pk")
    ids = tuple(unswept.values_list("pk", flat=True))
    return [one if one.has_vanished or not ids else replace(one, not_directories=ids) for one in scheduled]


def replan(run: CleanupRun, *, trigger: str, actor: str) -> CleanupRun:
    """Replace an outdated plan with a current one for the same criteria.

    The old plan is deleted; a plan of a policy or an approved plan is closed and stays in the history.
    If the old run would have removed a directory, the new run removes it.
    """
    new = plan_cleanup(run.criteria, trigger=trigger, actor=actor, closes_browsers=run.closes_browsers)
    retry_when_busy(lambda: SessionDirectory.objects.filter(removal=run).update(removal=new))
    if run.policy_id or run.approved_at:
        # Without the old plan, a task that is delivered again would plan the step again.
        close_cleanup(run, actor=actor, reason=f"It was over a day old and was replaced by run {new.pk}.")
    else:
        unused = CleanupRun.objects.filter(pk=run.pk, state=CleanupRun.State.PLANNED, attempt=0)
        retry_when_busy(unused.delete)
        retry_when_busy(lambda: drop_newest(run))
    return new


def discard_plan(run: CleanupRun, *, actor: str) -> CleanupRun | None:
    """Delete an unconfirmed preview. Close the plan instead if a policy made it or a user approved it.

    Returns: The closed run; None if the plan was deleted.
    Raises: CleanupInProgress: the run is running or has ended.
    """
    previews = CleanupRun.objects.filter(is_preview(), pk=run.pk, attempt=run.attempt)
    if run.policy_id is None and retry_when_busy(lambda: previews.delete()[0]):
        return None
    return close_cleanup(run, actor=actor)


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
    run.matched_browsers = running_browsers(run)
    if run.criteria.protected:
        run.skipped_reasons = {"protected": _protected_by_rules(run).count()}
    return ids


def running_browsers(run: CleanupRun) -> dict[str, int]:
    """Count the matched sessions whose browsers are alive, and how many of these are in use."""
    if not run.matched_count:
        return {}
    running = BrowserSession.objects.filter(browser_state__in=RUNNING)
    # Few browsers are alive: read them through their index, instead of reading the whole plan.
    found = matching(run).filter(pk__in=running.values("pk")).order_by()
    counts = dict(found.values_list("browser_state").annotate(Count("pk")))
    in_use = counts.get(BrowserState.IN_USE, 0)
    alive = in_use + counts.get(BrowserState.ALIVE, 0)
    return {"alive": alive, "in_use": in_use} if alive else {}


def _protected_by_rules(run: CleanupRun) -> QuerySet[BrowserSession]:
    """Return the sessions that a plan would include if they were not protected by rules."""
    unprotected = _planned_condition(run, replace(run.criteria, protected=()))
    return BrowserSession.objects.filter(unprotected, protected(run.criteria.protected))


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
        raise CleanupInProgress(f"“{run.policy}” is already {twin.state_in_words}: run {twin.pk}.") from None


@retried_when_busy
def _insert(run: CleanupRun, ids: list[int]) -> None:
    # An earlier attempt may have set a key that was rolled back.
    run.pk, run._state.adding = None, True
    with transaction.atomic():
        run.save(force_insert=True)
        if ids:
            PlannedSessions.objects.create(run=run, ids_json=ids)


def is_preview() -> Q:
    """Match unconfirmed plans, which were neither approved nor queued nor started."""
    return Q(state=CleanupRun.State.PLANNED, attempt=0, queued_at=None, approved_at=None)


def matching(run: CleanupRun) -> QuerySet[BrowserSession]:
    """Return the sessions that a run removes: they match its criteria and have not changed since."""
    return BrowserSession.objects.filter(planned_condition(run))


def planned_condition(run: CleanupRun) -> Q:
    """Return the condition of ``matching``.

    A scheduled plan also excludes sessions whose browsers are in use, and mirrored sessions that changed
    within the settle time before it, because another program may still be writing their files.
    """
    return _planned_condition(run, run.criteria)


def _planned_condition(run: CleanupRun, criteria: Criteria) -> Q:
    matched = criteria.matching(run.as_of, beyond=beyond_sealed(criteria))
    condition = matched & Q(updated_at__lt=run.sealed_at)
    if criteria.settle_seconds:
        settled_at = run.sealed_at - timedelta(seconds=criteria.settle_seconds)
        condition &= Q(directory=None) | Q(updated_at__lt=settled_at)
    if criteria.reads_browsers and run.as_of > run.sealed_at:
        # ``as_of`` may be in the future.
        condition &= Q(browser_since=None) | Q(browser_since__lt=run.sealed_at)
    if criteria.spares_in_use:
        condition &= ~Q(pk__in=in_use(run.as_of).values("pk"))
    return condition


def in_use(as_of: datetime) -> QuerySet[BrowserSession]:
    """Return the sessions whose browsers were in use at a recent probe or after ``as_of``.

    An older probe protects no session: the worker that probes may have stopped. A session that was in use at
    ``as_of`` stays protected after its client disconnects, because the plan does not include it.
    """
    recent = as_of - timedelta(seconds=IN_USE_INTERVALS * settings.RAPTOR_PROBE_SECONDS)
    still = Q(browser_state=BrowserState.IN_USE) | Q(browser_since__gt=as_of) | Q(in_use_at__gte=as_of)
    return BrowserSession.objects.filter(still, browser_state__isnull=False, in_use_at__gte=recent)


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
        left = BrowserSession.objects.filter(_planned_condition(run, some))
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
