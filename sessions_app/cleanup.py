"""Plans and runs of cleanups: the only code that deletes sessions.

Nothing is deleted that is not archived: each batch first copies its rows to the archive and then
deletes what the archive holds of it, in one short transaction. So a session is live or archived
whenever the process dies, never both and never neither, and the run goes on where it stopped.
A run takes what matched its plan and was not written since; anything else stays.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime, timedelta
from itertools import groupby
from typing import Any, NamedTuple

from django.db import DatabaseError, connection, transaction
from django.db.models import BooleanField, Count, F, Max, QuerySet, Sum, Value
from django.db.models.functions import Coalesce, Now

from sessions_app.criteria import Criteria, count_reasons
from sessions_app.deadline import Deadline
from sessions_app.endpoints import mask_endpoints
from sessions_app.models import ArchivedSession, BrowserSession, CleanupRun, DatabaseClock, StoredSession
from sessions_app.models.clock import database_now
from sessions_app.session_files import SessionFolder, stamp_of

logger = logging.getLogger(__name__)

BATCH_SIZE = 500
HEARTBEAT_LIMIT = timedelta(minutes=2)
"""A running run that has not beaten its heart for so long is dead: a batch takes well under a second."""

_State = CleanupRun.State
# What moves: every stored column of a session, the generated ones being computed anew.
_MOVED_COLUMNS = ["id", *(f.attname for f in StoredSession._meta.local_concrete_fields if not f.generated)]


class CleanupInProgress(Exception):
    """The run is at work elsewhere, or has ended."""


def plan_cleanup(
    criteria: Criteria, *, trigger: str, actor: str = "", as_of: datetime | None = None
) -> CleanupRun:
    """Write down what a cleanup would take: a sealed plan, and the preview of it.

    Costs a fixed number of queries, whatever the size.

    Args:
        as_of: The instant at which sessions are judged; the database's clock where not given.
    """
    sealed_at = _seal()
    as_of = as_of or sealed_at
    run = CleanupRun(
        trigger=trigger, actor=actor, criteria_json=criteria.to_json(), as_of=as_of, sealed_at=sealed_at
    )
    groups = _totals(matching(run).annotate(bits=criteria.reasons(as_of)), "bits")
    run.matched_count = sum(count for _, count, _ in groups)
    run.matched_bytes = sum(size for _, _, size in groups)
    run.matched_reasons = count_reasons((bits, count) for bits, count, _ in groups)
    run.save()
    return run


def matching(run: CleanupRun) -> QuerySet[BrowserSession]:
    """The sessions that a run takes: those that its criteria matched and that nobody has written since."""
    return BrowserSession.objects.filter(run.criteria.matching(run.as_of), updated_at__lt=run.sealed_at)


def run_cleanup(
    run: CleanupRun,
    *,
    deadline: Deadline | None = None,
    batch_size: int = BATCH_SIZE,
    progress: Callable[[int], None] = lambda sessions: None,
) -> CleanupRun:
    """Move the sessions of a plan to the archive, in bounded batches.

    Each batch commits alone, so an interrupted run keeps what it did and can be run again.

    Args:
        deadline: After it no further batch starts, and the run is left *interrupted*, to be resumed.
        batch_size: Rows in one transaction.
        progress: Called after each batch with the number of sessions that it removed.
    Returns: The run, with ``removed_count`` in sessions and ``removed_bytes`` in bytes of documents.
    Raises: CleanupInProgress: the run is at work elsewhere, or has ended.
    """
    deadline = deadline or Deadline()
    _claim(run)
    try:
        while (batch := _archive_batch(run, batch_size)) is not None:
            _remove_files(run, after=batch.after)
            progress(batch.session_count)
            if deadline.has_passed:
                _end(run, _State.INTERRUPTED)
                return run
        _end(run, _State.SUCCEEDED)
    except CleanupInProgress:
        raise
    except Exception as error:
        # Where even this cannot be written, the heartbeat tells that the run is dead.
        with suppress(DatabaseError):
            _end(run, _State.FAILED, error=mask_endpoints(f"{type(error).__name__}: {error}"))
        raise
    logger.info("%s", summary(run))
    return run


def summary(run: CleanupRun) -> str:
    """Say in a line what a run did."""
    return (
        f"Run {run.pk} ({run.criteria.describe()}) {run.get_state_display().lower()}: "
        f"{run.removed_count:,} of {run.matched_count:,} sessions removed, "
        f"{run.removed_bytes:,} bytes, {run.skipped_count:,} skipped"
    )


def mark_dead_runs(*, as_of: datetime) -> int:
    """Mark as interrupted the running runs whose heart stopped, so that they can be resumed."""
    return CleanupRun.objects.filter(state=_State.RUNNING, heartbeat_at__lt=as_of - HEARTBEAT_LIMIT).update(
        state=_State.INTERRUPTED, finished_at=DatabaseClock()
    )


def _seal() -> datetime:
    """Take an instant of the database's clock that every committed write precedes and no later one does.

    On PostgreSQL a brief SHARE lock waits for the writers at work, whose changes are dated before it.
    SQLite has one writer at a time, but a clock of milliseconds: the seal waits for its next tick.
    """
    with transaction.atomic():
        if connection.vendor == "postgresql":
            with connection.cursor() as cursor:
                cursor.execute(f"LOCK TABLE {BrowserSession._meta.db_table} IN SHARE MODE")
            return database_now()
        began = now = database_now()
        while now == began:
            now = database_now()
        return now


def _totals(sessions: QuerySet[Any], bits: str) -> list[tuple[int, int, int]]:
    """Count sessions and their bytes for each combination of reasons."""
    return list(
        sessions.order_by()
        .values(bits)
        .annotate(sessions=Count("*"), bytes=Sum("size_bytes"))
        .values_list(bits, "sessions", "bytes")
    )


def _claim(run: CleanupRun) -> None:
    """Make the run ours, or tell that it is not to be had."""
    claimed = CleanupRun.objects.filter(
        pk=run.pk, attempt=run.attempt, state__in=(_State.PLANNED, _State.INTERRUPTED, _State.FAILED)
    ).update(
        state=_State.RUNNING,
        attempt=F("attempt") + 1,
        started_at=Coalesce("started_at", DatabaseClock()),
        heartbeat_at=DatabaseClock(),
        finished_at=None,
        error="",
    )
    run.refresh_from_db()
    if not claimed:
        raise CleanupInProgress(f"Run {run.pk} is {run.get_state_display().lower()} already.")


class _Batch(NamedTuple):
    """Sessions that were removed in one transaction: those of the run with an id above ``after``."""

    after: int
    session_count: int


def _archive_batch(run: CleanupRun, batch_size: int) -> _Batch | None:
    """Move the next sessions of a run to the archive, in one transaction; None where nothing is left."""
    after = run.position
    batch = matching(run).filter(pk__gt=after).order_by("pk")
    archived = ArchivedSession.objects.filter(run=run, pk__gt=after)
    with transaction.atomic():
        _copy_to_archive(run, batch[:batch_size])
        groups = _totals(archived, "reasons")
        if not groups:
            return None
        last = archived.aggregate(last=Max("pk"))["last"]
        # What the archive holds, and nothing else, is deleted.
        taken = BrowserSession.objects.filter(pk__gt=after, pk__lte=last, pk__in=archived.values("pk"))
        deleted, _ = taken.delete()
        count = sum(count for _, count, _ in groups)
        if deleted != count:
            raise RuntimeError(f"{count:,} sessions were archived but {deleted:,} deleted: all was undone.")
        reasons = Counter(run.removed_reasons)
        reasons.update(count_reasons((bits, count) for bits, count, _ in groups))
        _update_own(
            run,
            position=last,
            removed_count=run.removed_count + count,
            removed_bytes=run.removed_bytes + sum(size for _, _, size in groups),
            removed_reasons=dict(reasons),
        )
    run.refresh_from_db()
    return _Batch(after, count)


def _copy_to_archive(run: CleanupRun, batch: QuerySet[BrowserSession]) -> None:
    """Insert the sessions into the archive by one statement, so that no row passes through Python."""
    if connection.features.has_select_for_update_skip_locked:
        # A session that somebody is writing right now is one that changes: it stays.
        batch = batch.select_for_update(skip_locked=True)
    select = batch.annotate(
        to_run=Value(run.pk),
        to_reasons=run.criteria.reasons(run.as_of),
        to_removed_at=Now(),
        to_has_vanished=Value(run.criteria.has_vanished, output_field=BooleanField()),
    ).values_list(*_MOVED_COLUMNS, "to_run", "to_reasons", "to_removed_at", "to_has_vanished")
    sql, params = select.query.sql_with_params()
    names = (*_MOVED_COLUMNS, "run_id", "reasons", "removed_at", "has_vanished")
    columns = ", ".join(map(connection.ops.quote_name, names))
    table = connection.ops.quote_name(ArchivedSession._meta.db_table)
    with connection.cursor() as cursor:
        cursor.execute(f"INSERT INTO {table} ({columns}) {sql}", params)


def _update_own(run: CleanupRun, **values: Any) -> None:
    """Write to a run that this process has claimed, and beat its heart.

    Raises: CleanupInProgress: another process took it over meanwhile; a surrounding transaction is undone.
    """
    own = CleanupRun.objects.filter(pk=run.pk, attempt=run.attempt, state=_State.RUNNING)
    if not own.update(heartbeat_at=DatabaseClock(), **values):
        raise CleanupInProgress(f"Run {run.pk} was taken over by another process.")


def _end(run: CleanupRun, state: str, *, error: str = "") -> None:
    skipped = run.matched_count - run.removed_count if state == _State.SUCCEEDED else 0
    _update_own(
        run,
        state=state,
        finished_at=DatabaseClock(),
        skipped_count=skipped,
        **({"error": error} if error else {}),
    )
    run.refresh_from_db()


def _remove_files(run: CleanupRun, *, after: int) -> None:
    """Remove the mirrored files of the batch just committed; the next sync removes what is left of them."""
    files = ArchivedSession.objects.filter(
        run=run, pk__gt=after, directory__isnull=False, file_changed_ns__isnull=False, has_vanished=False
    ).select_related("directory")
    # only(): the documents stay in the database.
    rows = files.only("directory__path", "size_bytes", *(f for f in _MOVED_COLUMNS if f.startswith("file_")))
    failures: list[str] = []
    for directory, sessions in groupby(rows.order_by("directory_id", "pk"), key=lambda row: row.directory):
        path = directory.path if directory else ""
        try:
            with SessionFolder(path) as folder:
                for session in sessions:
                    if stamp := stamp_of(session):
                        folder.remove(session.file_name, stamp, owner_id=session.pk)
        except OSError as error:
            failures.append(
                f"Files in {path} could not be removed ({error.strerror}); each sync tries again."
            )
    if failures:
        _update_own(run, error=" ".join(failures))
        logger.warning("Run %s: %s", run.pk, " ".join(failures))
