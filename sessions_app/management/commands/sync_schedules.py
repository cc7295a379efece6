from __future__ import annotations

from typing import Any

from sessions_app import policies
from sessions_app.management.output import ReportingCommand
from sessions_app.models.clock import database_now
from sessions_app.queue.schedules import sync_schedules


class Command(ReportingCommand):
    help = "Install the tick of the worker, and plan when policies are due. Safe to repeat."

    def handle(self, *args: Any, **options: Any) -> None:
        now = database_now()
        done = sync_schedules(now=now)
        policies.plan_next_runs(now)
        if options["format"] == "json":
            self.write_json({"added": [], "changed": [], "unchanged": []} | {done: ["tick"]})
        else:
            self.write(f"{done.capitalize()}: tick.")
