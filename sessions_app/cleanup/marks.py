"""Marks sessions as removed, and as live again: one UPDATE a batch."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from django.db import IntegrityError, connection, transaction
from django.db.models import Count, Exists, F, OuterRef, QuerySet, Sum, TextField, Value
from django.db.models.functions import Cast, Now

from sessions_app.models import ArchivedSession, BrowserSession, CleanupRun, DatabaseClock, SessionEvent
from sessions_app.session.files import STAMP_COLUMNS


def mark_removed(
    run: CleanupRun, parts: Iterable[QuerySet[BrowserSession]], archived: QuerySet[ArchivedSession]
) -> list[tuple[int, int, int]]:
    """Mark live sessions as removed by a run, with the reasons, in the caller's transaction.

    The statements wait for sessions that other transactions have locked, and skip those that were changed.

    Args:
        parts: Sessions to remove, one UPDATE each, filtered without joins; subqueries are allowed.
        archived: Matches the same sessions in the archive, and nothing before the removal.
    Returns: For each combination of reasons: its bits, sessions and bytes.
    """
    values = {
        "run": run.pk,
        "reasons": run.criteria.reasons(run.as_of),
        "removed_at": Now(),
        "has_vanished": run.criteria.has_vanished,
    }
    # The method of the base class, because a removal does not change the session.
    removed = sum(QuerySet.update(part.order_by(), **values) for part in parts)
    groups = totals(archived, "reasons")
    if removed != (count := sum(count for _, count, _ in groups)):
        raise RuntimeError(f"Marked {removed:,} sessions as removed but found {count:,}; rolled back.")
    return groups


def mark_restored(sessions: QuerySet[ArchivedSession], *, actor: str = "") -> tuple[int, int]:
    """Make removed sessions live again, in the caller's transaction; skip those with taken names.

    A mirrored session is restored without a file stamp until its file is written (``restore_missing_files``).
    ``updated_at`` is set, so that plans made while it was archived do not remove it. Of several removed
    sessions of one name, the newest is restored.

    Returns: Number of restored sessions, and bytes of their documents.
    """
    try:
        with transaction.atomic():
            return _restore(sessions, actor)
    except IntegrityError:
        # Two of the sessions have the same name, or another process has just taken a name.
        keys = list(sessions.order_by("-removed_at", "-pk").values_list("pk", flat=True))
    return _restore_singly(keys, actor)


def _restore_singly(keys: Iterable[int], actor: str) -> tuple[int, int]:
    count = size_bytes = 0
    for pk in keys:
        try:
            with transaction.atomic():
                one, its_bytes = _restore(ArchivedSession.objects.filter(pk=pk), actor)
        except IntegrityError:
            continue
        count, size_bytes = count + one, size_bytes + its_bytes
    return count, size_bytes


def _restore(sessions: QuerySet[ArchivedSession], actor: str) -> tuple[int, int]:
    namesake = BrowserSession.objects.filter(namespace=OuterRef("namespace"), name=OuterRef("name"))
    # Another undo, or the emptying of the archive, may process these sessions at the same time.
    locked = sessions.order_by("pk").select_for_update(of=("self",)).annotate(is_taken=Exists(namesake))
    rows = list(locked.values_list("pk", "size_bytes", "is_taken"))
    if taken := [pk for pk, _, is_taken in rows if is_taken]:
        sessions = sessions.exclude(pk__in=taken)
    free = [size_bytes for _, size_bytes, is_taken in rows if not is_taken]
    if not free:
        return 0, 0
    _record_events(sessions, actor)
    restored = QuerySet.update(
        sessions.order_by(),
        restored_from=F("run_id"),
        run=None,
        reasons=None,
        removed_at=None,
        has_vanished=False,
        updated_at=DatabaseClock(),
        browser_state=None,
        browser_since=None,
        in_use_at=None,
        **dict.fromkeys(STAMP_COLUMNS),
    )
    if restored != len(free):
        raise RuntimeError(f"Locked {len(free):,} sessions but restored {restored:,}; rolled back.")
    return restored, sum(free)


def _record_events(sessions: QuerySet[ArchivedSession], actor: str) -> None:
    """Store the restorations with the removals that they end, before the columns are cleared."""
    rows = sessions.order_by("pk").annotate(
        event_code=_text(SessionEvent.Code.RESTORED.value), by=_text(actor), no_details=_text("")
    )
    select, params = rows.values_list(
        "pk", "run_id", "removed_at", "event_code", "by", "no_details"
    ).query.sql_with_params()
    with connection.cursor() as cursor:
        cursor.execute(
            f"INSERT INTO {SessionEvent._meta.db_table} "
            f"(session_key, run_key, removed_at, code, actor, details) {select}",
            params,
        )


def _text(value: str) -> Cast:
    # PostgreSQL does not know the type of a bare parameter in a SELECT list.
    return Cast(Value(value), TextField())


def totals(sessions: QuerySet[Any], bits: str) -> list[tuple[int, int, int]]:
    """Count sessions and their bytes for each combination of reasons."""
    rows = (
        sessions.order_by()
        .values(bits)
        .annotate(sessions=Count("*"), bytes=Sum("size_bytes"))
        .values_list(bits, "sessions", "bytes")
    )
    # A constant reason needs no GROUP BY, and without GROUP BY the query returns a row even for no sessions.
    return [row for row in rows if row[1]]
