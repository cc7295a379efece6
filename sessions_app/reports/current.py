"""Current totals for metrics and alerts: counted if that is fast, otherwise from the last snapshot."""

from __future__ import annotations

from datetime import datetime
from typing import Any, NamedTuple, Self

from django.conf import settings
from django.db.models import Count, Model

from sessions_app.models import ArchivedSession, BrowserSession, Probe, StorageSnapshot
from sessions_app.reports.aggregate import storage_report
from sessions_app.reports.report import StorageReport

COUNTED = 5_000
"""Maximum rows to count in a table. Counting them takes 20 ms."""


class Totals(NamedTuple):
    """Numbers and sizes of live and archived sessions, named like the columns of a snapshot."""

    taken_at: datetime
    session_count: int
    size_bytes: int
    expired_count: int
    invalid_count: int
    pinned_count: int
    reclaimable_count: int
    reclaimable_bytes: int
    archived_count: int
    archived_bytes: int

    @classmethod
    def of(cls, report: StorageReport) -> Self:
        reclaimable = report.would_free["either"]
        return cls(
            report.as_of,
            report.live.sessions,
            report.live.bytes,
            report.expired.sessions,
            report.invalid.sessions,
            report.pinned.sessions,
            reclaimable.sessions,
            reclaimable.bytes,
            report.archived.sessions,
            report.archived.bytes,
        )


def current_totals(now: datetime) -> Totals | None:
    """Return the totals without reading more than ``COUNTED`` rows of a table.

    Returns: None if there are more sessions than are counted and there is no snapshot yet.
    """
    if has_at_most(COUNTED, BrowserSession) and has_at_most(COUNTED, ArchivedSession):
        return Totals.of(storage_report(as_of=now, max_age_days=settings.RAPTOR_MAX_AGE_DAYS))
    row = StorageSnapshot.objects.order_by("-pk").values_list(*Totals._fields).first()
    return None if row is None else Totals(*row)


def probe_counts() -> dict[str, int]:
    """Return the number of sessions by the result of their last probe; for many, from the last snapshot."""
    if has_at_most(COUNTED, Probe):
        return count_probes()
    row = StorageSnapshot.objects.order_by("-pk").values_list("probes", flat=True).first()
    return row or {}


def count_probes() -> dict[str, int]:
    """Count the sessions by the result of their last probe."""
    answered = Probe.objects.exclude(result="").order_by()
    return dict(answered.values_list("result").annotate(Count("pk")))


def stored_bytes(now: datetime) -> int | None:
    """Return the size of all documents, live and archived; None if it is not known yet."""
    totals = current_totals(now)
    return None if totals is None else totals.size_bytes + totals.archived_bytes


def has_at_most(count: int, model: type[Model]) -> bool:
    """Check whether a table has at most this number of rows. Reads only an index."""
    beyond: Any = model._default_manager.order_by()[count : count + 1]
    return not beyond.exists()
