from __future__ import annotations

from datetime import timedelta
from typing import Any

from django.conf import settings
from django.core.management import CommandParser

from sessions_app.cleanup import count_kept_pins, empty_archive
from sessions_app.management.output import (
    ReportingCommand,
    WrongUsage,
    bytes_of,
    progress,
    stoppable,
)
from sessions_app.models.clock import database_now
from sessions_app.text import count_of


class Command(ReportingCommand):
    help = "Permanently delete sessions that were archived long ago, except those of protected runs."

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument(
            "--days",
            type=float,
            default=settings.RAPTOR_ARCHIVE_DAYS,
            help="delete sessions removed longer ago (default: %(default)s)",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        if not 0 <= options["days"] <= 36_525:
            raise WrongUsage(f"{options['days']} days are out of range: choose from 0 to 36,525.")
        before = database_now() - timedelta(days=options["days"])
        with stoppable(self.stderr) as deadline, progress(self.stderr, "sessions") as advance:
            deleted, size_bytes = empty_archive(before, deadline=deadline, progress=advance)
        kept = count_kept_pins(before)
        if options["format"] == "json":
            report = {"before": before.isoformat(), "deleted": deleted, "bytes": size_bytes}
            self.write_json(report | ({"pinned_kept": kept} if kept else {}))
        else:
            self.write(f"{count_of(deleted, 'session')} deleted permanently, {bytes_of(size_bytes)}.")
            if kept:
                self.write(f"{count_of(kept, 'pinned session')} kept: each pin comes back with its file.")
