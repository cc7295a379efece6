from __future__ import annotations

from typing import Any

from django.core.management import CommandParser

from sessions_app.management.listing import Evaluation, write_json_list
from sessions_app.management.output import ReportingCommand, add_age_arguments, add_scope_arguments
from sessions_app.text import count_of


class Command(ReportingCommand):
    help = "List sessions with their problems. --expired and --invalid list sessions to which either applies."

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("--expired", action="store_true", help="only expired sessions")
        parser.add_argument("--invalid", action="store_true", help="only sessions with a problem")
        add_scope_arguments(parser)
        add_age_arguments(parser)

    def handle(self, *args: Any, **options: Any) -> None:
        filters = {key: options[key] for key in ("namespace", "browser_type", "expired", "invalid")}
        sessions = Evaluation.from_options(options).sessions(**filters)
        if options["format"] == "json":
            write_json_list(self.stdout, sessions)
            return
        count = 0
        for session in sessions:
            count += 1
            self.write(session.to_line())
        self.write(f"{count_of(count, 'session')}.")
