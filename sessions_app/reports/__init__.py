"""What is stored, and what a cleanup would free: the report of now, and snapshots of it over time.

Nothing here changes a session. No page reads a large table: above ``SMALL_COUNT`` sessions it has the
numbers of the latest snapshot, which the worker takes by schedule, or when somebody asks for one.
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
