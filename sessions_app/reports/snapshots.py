"""Snapshots of the storage report. The worker takes them and the screens read them."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from functools import partial
from typing import NamedTuple

from django.db import transaction
from django.db.models import F, QuerySet
from django.utils import timezone

from sessions_app.models import (
    ArchivedSession,
    BrowserSession,
    CleanupRun,
    LimitedNamespace,
    StorageSnapshot,
)
from sessions_app.reports.aggregate import largest, report_with_parts, storage_report
from sessions_app.reports.current import Totals, count_probes, has_at_most
from sessions_app.reports.report import StorageReport
from sessions_app.transactions import retry_when_busy

SMALL_COUNT = 20_000
"""Maximum number of sessions that a page counts; above it, the worker counts."""

FULL_PERIOD = timedelta(days=2)
"""Time for which every snapshot is kept; of each earlier day, only the last one is."""

DAILY_PERIOD = timedelta(days=730)
POINTS = 100
BARS = 50
"""Maximum numbers that are readable on a chart and in the table below it."""


@dataclass(frozen=True)
class Figures:
    """The report that a page shows, and the instants of its parts that come from a snapshot."""

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
    """The sessions and bytes that a run removed, without those that its undo restored."""

    run_id: int
    planned_at: datetime
    session_count: int
    size_bytes: int


def figures(*, as_of: datetime, max_age_days: float, hidden: Collection[str] = ()) -> Figures | None:
    """Return the current numbers if counting is fast, otherwise those of the latest snapshot.

    There are at most eight queries, and none reads more than ``SMALL_COUNT`` sessions.

    Args:
        hidden: Namespaces to leave out.
    Returns: None if there are too many sessions to count and no suitable snapshot.
    """
    has_few_live = has_at_most(SMALL_COUNT, BrowserSession)
    has_few_archived = has_at_most(SMALL_COUNT, ArchivedSession)
    if has_few_live and has_few_archived:
        return Figures(storage_report(as_of=as_of, max_age_days=max_age_days, hidden=hidden))
    snapshot = StorageSnapshot.objects.filter(report__isnull=False).first()
    kept = None if snapshot is None else _kept_report(snapshot, hidden)
    if snapshot is None or kept is None:
        return None
    if has_few_live:
        report = storage_report(as_of=as_of, max_age_days=max_age_days, archived=kept.archived, hidden=hidden)
        return Figures(report, archive_as_of=snapshot.taken_at)
    # Show the archive of the snapshot too, so that all numbers of the page belong to one instant.
    return Figures(kept, live_as_of=snapshot.taken_at, archive_as_of=snapshot.taken_at)


def _kept_report(snapshot: StorageSnapshot, hidden: Collection[str]) -> StorageReport | None:
    """Return the report of a snapshot without hidden namespaces; None if it lacks their parts."""
    stored = snapshot.report or {}
    of_limited = stored.get("of_limited", {})
    if not of_limited.keys() >= set(hidden):
        return None
    report = StorageReport.from_stored(stored["whole"])
    if not hidden:
        return report
    report = report.without({name: StorageReport.from_stored(of_limited[name]) for name in hidden})
    return replace(report, largest=largest(hidden))


def take_snapshot(*, as_of: datetime, max_age_days: float) -> StorageSnapshot:
    """Count all live and archived sessions and store the numbers.

    Older snapshots lose what the charts do not need.

    Args:
        as_of: Instant by the database's clock.
        max_age_days: Age above which a session counts as expired.
    """
    limited = list(LimitedNamespace.objects.values_list("namespace", flat=True))
    report, parts = report_with_parts(limited, as_of=as_of, max_age_days=max_age_days)
    return retry_when_busy(partial(_keep, report, parts))


def _keep(report: StorageReport, parts: dict[str, StorageReport]) -> StorageSnapshot:
    with transaction.atomic():
        snapshot = StorageSnapshot.objects.create(
            **Totals.of(report)._asdict(),
            disk_bytes=report.disk_bytes or 0,
            probes=count_probes(),
            of_limited={name: _point(part) for name, part in parts.items()},
            report={
                "whole": report.to_stored(),
                "of_limited": {name: part.to_stored() for name, part in parts.items()},
            },
        )
        StorageSnapshot.objects.filter(pk__lt=snapshot.pk, report__isnull=False).update(report=None)
        _thin_out(report.as_of)
    return snapshot


def _point(report: StorageReport) -> dict[str, int]:
    """Return the numbers of a point of the charts, without its instant."""
    totals = Totals.of(report)
    return {name: getattr(totals, name) for name in Point._fields[1:]}


def _thin_out(now: datetime) -> None:
    """Delete old snapshots; of each day in ``TIME_ZONE`` before FULL_PERIOD, keep the last one."""
    StorageSnapshot.objects.filter(taken_at__lt=now - DAILY_PERIOD).delete()
    kept: set[date] = set()
    excess = []
    older = StorageSnapshot.objects.filter(taken_at__lt=now - FULL_PERIOD).order_by("-taken_at", "-pk")
    for key, taken_at in older.values_list("pk", "taken_at"):
        day = timezone.localtime(taken_at).date()
        if day in kept:
            excess.append(key)
        kept.add(day)
    StorageSnapshot.objects.filter(pk__in=excess).delete()


def has_snapshot_since(instant: datetime) -> bool:
    # SQLite's clock ticks in milliseconds: a snapshot can be requested and taken in the same one.
    return StorageSnapshot.objects.filter(taken_at__gte=instant).exists()


def history(*, since: datetime, hidden: Collection[str] = ()) -> list[Point]:
    """Return the snapshots since an instant, oldest first: at most ``POINTS``, and the latest.

    Args:
        hidden: Namespaces to leave out. Snapshots from before one of them was limited are left out too.
    """
    rows = StorageSnapshot.objects.filter(taken_at__gte=since).order_by("taken_at", "pk")
    if hidden:
        known = rows.values_list("of_limited", *Point._fields)
        found = [
            _subtract(Point(*row), of_limited, hidden)
            for of_limited, *row in known
            if of_limited.keys() >= set(hidden)
        ]
    else:
        found = [Point(*row) for row in rows.values_list(*Point._fields)]
    if len(found) <= POINTS:
        return found
    spacing = (found[-1].taken_at - found[0].taken_at) / POINTS
    chosen = [found[-1]]
    for point in reversed(found):
        if chosen[-1].taken_at - point.taken_at >= spacing:
            chosen.append(point)
    return chosen[::-1]


def _subtract(point: Point, of_limited: dict[str, dict[str, int]], hidden: Collection[str]) -> Point:
    out = {name: sum(of_limited[namespace][name] for namespace in hidden) for name in Point._fields[1:]}
    return point._replace(**{name: getattr(point, name) - number for name, number in out.items()})


def freed_by_runs(runs: QuerySet[CleanupRun], *, since: datetime) -> list[Freed]:
    """Return the last ``BARS`` runs since an instant that removed sessions, oldest first."""
    removed = runs.filter(planned_at__gte=since, removed_count__gt=0)
    left = (F("removed_count") - F("restored_count"), F("removed_bytes") - F("restored_bytes"))
    rows = removed.order_by("-planned_at", "-pk").values_list("pk", "planned_at", *left)[:BARS]
    return [Freed(*row) for row in rows][::-1]
