from __future__ import annotations

from typing import Any

from sessions_app.management.output import ReportingCommand
from sessions_app.models.clock import database_now
from sessions_app.queue.schedules import sync_schedules


class Command(ReportingCommand):
    help = "Install the schedules of the worker, and tell policies when they are due; repeat it at will."

    def handle(self, *args: Any, **options: Any) -> None:
        report = sync_schedules(now=database_now()).to_json()
        if options["format"] == "json":
            self.write_json(report)
            return
        for done, names in report.items():
            if names:
                self.stdout.write(f"{done.capitalize()}: {', '.join(names)}.")
