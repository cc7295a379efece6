"""Reports on stored sessions and on what a cleanup would free: the current report, and snapshots.

Nothing here changes a session. Pages do not read large tables: above ``SMALL_COUNT`` sessions they show the
latest snapshot, which the worker takes on a schedule or on request.
"""

from sessions_app.reports.aggregate import disk_bytes, storage_report
from sessions_app.reports.report import AGES, LargeSession, StorageReport, Total
from sessions_app.reports.snapshots import (
    SMALL_COUNT,
    Figures,
    Freed,
    Point,
    figures,
    freed_by_runs,
    has_snapshot_since,
    history,
    take_snapshot,
)

__all__ = [
    "AGES",
    "SMALL_COUNT",
    "Figures",
    "Freed",
    "LargeSession",
    "Point",
    "StorageReport",
    "Total",
    "disk_bytes",
    "figures",
    "freed_by_runs",
    "has_snapshot_since",
    "history",
    "storage_report",
    "take_snapshot",
]
