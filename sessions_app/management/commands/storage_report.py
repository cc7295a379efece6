from __future__ import annotations

from typing import Any

from django.core.management import CommandParser

from sessions_app.liveness import living_browsers
from sessions_app.management.listing import Evaluation
from sessions_app.management.output import (
    ReportingCommand,
    add_age_arguments,
    bytes_of,
    local,
    printable_name,
)
from sessions_app.models import BrowserSession
from sessions_app.reports import AGES, StorageReport, Total, storage_report
from sessions_app.text import count_of

_GROUPS = ("namespace", "browser_type", "age", "problem")


class Command(ReportingCommand):
    help = "Show sessions and bytes by kind, and what a cleanup would free."

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        add_age_arguments(parser)

    def handle(self, *args: Any, **options: Any) -> None:
        as_of = Evaluation.from_options(options).as_of
        report = storage_report(as_of=as_of, max_age_days=options["max_age_days"])
        alive, memory_bytes = living_browsers(BrowserSession.objects.all(), as_of=as_of)
        if options["format"] == "json":
            browsers = {"alive": alive, "memory_bytes": memory_bytes}
            self.write_json({**report.to_json(), "browsers": browsers})
            return
        self.write("\n".join(_lines(report)))
        self.write(f"Live browsers: {alive:,}, {bytes_of(memory_bytes)} of memory at the last probe.")


def _lines(report: StorageReport) -> list[str]:
    disk = bytes_of(report.disk_bytes or 0)
    lines = [
        f"As of {local(report.as_of)}: {_describe(report.live)}.",
        f"  Expired (last accessed over {report.max_age_days:g} days ago): {report.expired.sessions:,}.",
        f"  Invalid: {report.invalid.sessions:,}. Pinned: {report.pinned.sessions:,}.",
        f"  A cleanup of expired and invalid sessions would free {_describe(report.would_free['either'])}.",
        f"  In the archive: {_describe(report.archived)}.",
        f"  On disk: {disk} for the whole database. A cleanup does not shrink it.",
    ]
    for group in _GROUPS:
        totals: dict[str, Total] = getattr(report, f"by_{group}")
        lines.append(f"By {group.replace('_', ' ')}:")
        lines += [
            f"  {printable_name(AGES.get(name, name)):30} {_describe(total)}"
            for name, total in totals.items()
            if total.sessions
        ]
    return lines


def _describe(total: Total) -> str:
    return f"{count_of(total.sessions, 'session')}, {bytes_of(total.bytes)}"
