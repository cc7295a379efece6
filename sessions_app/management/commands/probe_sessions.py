from __future__ import annotations

from typing import Any

from django.core.management import CommandParser

from sessions_app import liveness
from sessions_app.management.output import ReportingCommand, add_scope_arguments, stoppable
from sessions_app.models import BrowserSession
from sessions_app.models.clock import database_now
from sessions_app.text import count_of


class Command(ReportingCommand):
    help = "Probe the browsers of sessions on this machine, and store which are alive, in use or gone."

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        add_scope_arguments(parser)

    def handle(self, *args: Any, **options: Any) -> None:
        scope = {key: options[key] for key in ("namespace", "browser_type") if options[key]}
        while liveness.enrol_sessions(database_now()):
            pass
        sessions = BrowserSession.objects.filter(**scope).order_by("probe__probed_at", "pk")
        found = list(liveness.targets(sessions, liveness.announced_machines()))
        ours = [one for one in found if one.is_ours]
        with stoppable(self.stderr) as deadline:
            counts = liveness.probe_all(ours, deadline=deadline)
        if options["format"] == "json":
            self.write_json(counts.to_json())
            return
        self.write(f"{counts.describe()}.")
        if others := len(found) - len(ours):
            self.write(f"{count_of(others, 'session')} on other machines, whose workers probe them.")
