"""The charts of the storage report, with their numbers as tables for screen readers."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from django.template.defaultfilters import filesizeformat
from django.urls import reverse
from django.utils import timezone
from django.utils.html import format_html

from sessions_app.admin.formatting import moment
from sessions_app.reports import Freed, Point

TICKS = 8
_STEPS = [
    *(timedelta(minutes=minutes) for minutes in (5, 15, 60, 180, 360, 720)),
    *(timedelta(days=days) for days in (1, 2, 7, 14, 28)),
]


class Column(NamedTuple):
    """A column of the table below a chart."""

    head: str
    is_number: bool = True


class Chart(NamedTuple):
    """A chart: ``data`` is for charts.js, and ``empty`` is the text shown without data."""

    id: str
    title: str
    empty: str
    columns: list[Column]
    rows: list[list[str]]
    data: dict[str, Any]

    @property
    def is_empty(self) -> bool:
        return not self.rows


def growth(points: list[Point], days: int) -> Chart:
    """Return the chart of sessions, live bytes and archived bytes over time."""
    # Chart.js draws nothing for a single point.
    shown = points if len(points) > 1 else []
    columns = ("session_count", "size_bytes", "archived_bytes")
    names = ("Sessions", "Live size", "Archive size")
    return Chart(
        id="growth",
        title=f"Sessions and bytes over the last {days} days",
        empty="The worker takes a snapshot every 15 minutes. The chart appears with the second one.",
        columns=[Column("As of", is_number=False), *(Column(name) for name in names)],
        rows=[
            [
                moment(point.taken_at),
                f"{point.session_count:,}",
                filesizeformat(point.size_bytes),
                filesizeformat(point.archived_bytes),
            ]
            for point in shown
        ],
        data={
            "kind": "line",
            "at": [_milliseconds(point.taken_at) for point in shown],
            "labels": [_label(point.taken_at) for point in shown],
            "ticks": list(_ticks(shown[0].taken_at, shown[-1].taken_at)) if shown else [],
            "series": [
                {
                    "label": name,
                    "unit": "sessions" if column == "session_count" else "bytes",
                    "values": [getattr(point, column) for point in shown],
                }
                for name, column in zip(names, columns, strict=True)
            ],
        },
    )


def freed(runs: list[Freed], days: int) -> Chart:
    """Return the chart of the bytes that each cleanup freed."""
    return Chart(
        id="freed",
        title=f"Freed by each cleanup of the last {days} days",
        empty="No cleanup removed sessions in this period.",
        columns=[
            Column("Run", is_number=False),
            Column("When", is_number=False),
            Column("Sessions"),
            Column("Freed"),
        ],
        rows=[
            [
                format_html(
                    '<a href="{}">Run {}</a>',
                    reverse("admin:sessions_app_cleanuprun_change", args=[run.run_id]),
                    run.run_id,
                ),
                moment(run.planned_at),
                f"{run.session_count:,}",
                filesizeformat(run.size_bytes),
            ]
            for run in runs
        ],
        data={
            "kind": "bar",
            "at": [f"Run {run.run_id}" for run in runs],
            "labels": [f"Run {run.run_id}, {_label(run.planned_at)}" for run in runs],
            "series": [{"label": "Freed", "unit": "bytes", "values": [run.size_bytes for run in runs]}],
        },
    )


def _milliseconds(instant: datetime) -> int:
    return int(instant.timestamp() * 1000)


def _label(instant: datetime) -> str:
    return timezone.localtime(instant).strftime("%Y-%m-%d %H:%M")


def _ticks(first: datetime, last: datetime) -> Iterator[dict[str, Any]]:
    """Yield labels for round times between two instants, in ``TIME_ZONE`` rather than the browser's zone."""
    step = next((step for step in _STEPS if (last - first) / step <= TICKS), (last - first) / TICKS)
    local = timezone.localtime(first)
    # Wall time: a step of a day keeps the time of day when the clocks change.
    wall = local.replace(hour=0, minute=0, second=0, microsecond=0, tzinfo=None)
    text = "%d %b" if step >= timedelta(days=1) else "%H:%M"
    while (instant := wall.replace(tzinfo=local.tzinfo)) <= last:
        if instant >= first:
            yield {"value": _milliseconds(instant), "label": wall.strftime(text)}
        wall += step
