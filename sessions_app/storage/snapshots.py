"""Snapshots of the report: taken by the worker, read by the screens."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from functools import partial
from typing import Any, NamedTuple

from django.db import transaction
from django.db.models import F, Model, QuerySet
from django.utils import timezone

from sessions_app.commits import retry_when_busy
from sessions_app.models import (
    ArchivedSession,
    BrowserSession,
    CleanupRun,
    LimitedNamespace,
    StorageSnapshot,
)
from sessions_app.storage.counting import largest, report_with_parts, storage_report
from sessions_app.storage.report import StorageReport

SMALL_COUNT = 20_000
"""So many sessions are counted while somebody waits for a page; more are counted by the worker."""

FINE_FOR = timedelta(days=2)
"""For so long each snapshot is kept; of the days before, the last one."""

KEPT_FOR = timedelta(days=730)
POINTS = 100
BARS = 50
"""More would be no use on a screen, and in the table beneath it."""


@dataclass(frozen=True)
class Figures:
    """The report that a page shows, and the instants of what in it is not of now."""

    report: StorageReport
    live_as_of: datetime | None = None
    archive_as_of: datetime | None = None

    @property
    def is_exact(self) -> bool:
        return self.live_as_of is None and self.archive_as_of is None


class Point(NamedTuple):
    """A point of the charts."""

    taken_at: datetime
    session_count: int
    size_bytes: int
    archived_count: int
    archived_bytes: int


class Freed(NamedTuple):
    """What a run has freed, less what an undo of it brought back."""

    run_id: int
    planned_at: datetime
    session_count: int
    size_bytes: int


def figures(*, as_of: datetime, max_age_days: float, hidden: Collection[str] = ()) -> Figures | None:
    """Give the numbers of now where they can be counted at once, else those of the latest snapshot.

    Eight queries at most, and none reads more than ``SMALL_COUNT`` sessions.

    Args:
        hidden: Namespaces that are left out.
    Returns: None where there is too much to be counted and no snapshot yet that can tell.
    """
    has_few_live, has_few_archived = _has_few(BrowserSession), _has_few(ArchivedSession)
    if has_few_live and has_few_archived:
        return Figures(storage_report(as_of=as_of, max_age_days=max_age_days, hidden=hidden))
    snapshot = StorageSnapshot.objects.filter(report__isnull=False).first()
    kept = None if snapshot is None else _kept_report(snapshot, hidden)
    if snapshot is None or kept is None:
        return None
    if has_few_live:
        report = storage_report(as_of=as_of, max_age_days=max_age_days, archived=kept.archived, hidden=hidden)
        return Figures(report, archive_as_of=snapshot.taken_at)
    # The archive is told as it was at the same instant: so the page is of one instant.
    return Figures(kept, live_as_of=snapshot.taken_at, archive_as_of=snapshot.taken_at)


def _kept_report(snapshot: StorageSnapshot, hidden: Collection[str]) -> StorageReport | None:
    """Give the report of a snapshot; None where it does not know what of it is of the hidden namespaces."""
    stored = snapshot.report or {}
    of_limited = stored.get("of_limited", {})
    if not of_limited.keys() >= set(hidden):
        return None
    report = StorageReport.from_stored(stored["whole"])
    if not hidden:
        return report
    report = report.without({name: StorageReport.from_stored(of_limited[name]) for name in hidden})
    return replace(report, largest=largest(hidden))


def _has_few(model: type[Model]) -> bool:
    """Look no further than there could be few; all in an index."""
    beyond: Any = model._default_manager.order_by()[SMALL_COUNT : SMALL_COUNT + 1]
    return not beyond.exists()


def take_snapshot(*, as_of: datetime, max_age_days: float) -> StorageSnapshot:
    """Count everything and keep the numbers.

    Reads all sessions, live and archived. Of older snapshots, what the charts do not need goes.

    Args:
        as_of: By the database's clock.
        max_age_days: Age above which a session counts as expired.
    """
    limited = list(LimitedNamespace.objects.values_list("namespace", flat=True))
    report, parts = report_with_parts(limited, as_of=as_of, max_age_days=max_age_days)
    return retry_when_busy(partial(_keep, report, parts, as_of))


def _keep(report: StorageReport, parts: dict[str, StorageReport], as_of: datetime) -> StorageSnapshot:
    reclaimable = report.would_free["either"]
    with transaction.atomic():
        snapshot = StorageSnapshot.objects.create(
            taken_at=as_of,
            session_count=report.live.sessions,
            size_bytes=report.live.bytes,
            expired_count=report.expired.sessions,
            invalid_count=report.invalid.sessions,
            pinned_count=report.pinned.sessions,
            reclaimable_count=reclaimable.sessions,
            reclaimable_bytes=reclaimable.bytes,
            archived_count=report.archived.sessions,
            archived_bytes=report.archived.bytes,
            disk_bytes=report.disk_bytes,
            of_limited={name: _point(part) for name, part in parts.items()},
            report={
                "whole": report.to_stored(),
                "of_limited": {name: part.to_stored() for name, part in parts.items()},
            },
        )
        StorageSnapshot.objects.filter(pk__lt=snapshot.pk, report__isnull=False).update(report=None)
        _thin_out(as_of)
    return snapshot


def _point(report: StorageReport) -> dict[str, int]:
    """The numbers of a point of the charts, but for its instant."""
    live, archived = report.live, report.archived
    numbers = (live.sessions, live.bytes, archived.sessions, archived.bytes)
    return dict(zip(Point._fields[1:], numbers, strict=True))


def _thin_out(now: datetime) -> None:
    """Keep the last snapshot of each day in ``TIME_ZONE`` that is over, and none of long ago."""
    StorageSnapshot.objects.filter(taken_at__lt=now - KEPT_FOR).delete()
    kept: set[date] = set()
    crowd = []
    fine = StorageSnapshot.objects.filter(taken_at__lt=now - FINE_FOR).order_by("-taken_at", "-pk")
    for key, taken_at in fine.values_list("pk", "taken_at"):
        day = timezone.localtime(taken_at).date()
        if day in kept:
            crowd.append(key)
        kept.add(day)
    StorageSnapshot.objects.filter(pk__in=crowd).delete()


def has_snapshot_since(instant: datetime) -> bool:
    return StorageSnapshot.objects.filter(taken_at__gt=instant).exists()


def history(*, since: datetime, hidden: Collection[str] = ()) -> list[Point]:
    """Give the snapshots from an instant on, the oldest first: at most ``POINTS``, and the latest.

    Args:
        hidden: Namespaces that are left out; a snapshot of before one of them was limited is, too.
    """
    rows = StorageSnapshot.objects.filter(taken_at__gte=since).order_by("taken_at", "pk")
    if hidden:
        known = rows.values_list("of_limited", *Point._fields)
        found = [
            _less(Point(*row), of_limited, hidden)
            for of_limited, *row in known
            if of_limited.keys() >= set(hidden)
        ]
    else:
        found = [Point(*row) for row in rows.values_list(*Point._fields)]
    if len(found) <= POINTS:
        return found
    apart = (found[-1].taken_at - found[0].taken_at) / POINTS
    chosen = [found[-1]]
    for point in reversed(found):
        if chosen[-1].taken_at - point.taken_at >= apart:
            chosen.append(point)
    return chosen[::-1]


def _less(point: Point, of_limited: dict[str, dict[str, int]], hidden: Collection[str]) -> Point:
    out = {name: sum(of_limited[namespace][name] for namespace in hidden) for name in Point._fields[1:]}
    return point._replace(**{name: getattr(point, name) - number for name, number in out.items()})


def freed_by_runs(runs: QuerySet[CleanupRun], *, since: datetime) -> list[Freed]:
    """Give those runs from an instant on that removed something, the oldest first: the last ``BARS``."""
    removed = runs.filter(planned_at__gte=since, removed_count__gt=0)
    left = (F("removed_count") - F("restored_count"), F("removed_bytes") - F("restored_bytes"))
    rows = removed.order_by("-planned_at", "-pk").values_list("pk", "planned_at", *left)[:BARS]
    return [Freed(*row) for row in rows][::-1]
