from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from django.core.management import CommandParser

from sessions_app.management.listing import Evaluation, Listed, write_json_list
from sessions_app.management.output import (
    ReportingCommand,
    add_age_arguments,
    add_scope_arguments,
    printable_name,
)
from sessions_app.text import count_of


class Command(ReportingCommand):
    help = "Check all sessions, and list the invalid ones with each rule that they break."

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        add_scope_arguments(parser)
        add_age_arguments(parser)

    def handle(self, *args: Any, **options: Any) -> None:
        scope = {key: options[key] for key in ("namespace", "browser_type")}
        sessions = Evaluation.from_options(options).sessions(**scope)
        if options["format"] == "json":
            write_json_list(self.stdout, sessions)
        else:
            self._print(sessions)

    def _print(self, sessions: Iterable[Listed]) -> None:
        checked = invalid = expired = warned = 0
        for session in sessions:
            checked += 1
            invalid += bool(session.problems)
            expired += session.is_expired
            warned += bool(session.warnings)
            if session.problems:
                self.write(printable_name(f"{session.namespace}/{session.name}"))
                for problem in session.problems:
                    self.write(f"  {problem.sentence} ({problem.code})")
        self.write(
            f"{count_of(checked, 'session')} checked: {checked - invalid:,} valid, {invalid:,} invalid; "
            f"{expired:,} expired, {warned:,} with warnings."
        )
