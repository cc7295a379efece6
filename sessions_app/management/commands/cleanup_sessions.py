from __future__ import annotations

import sys
from typing import Any

from django.core.management import CommandError, CommandParser

from sessions_app.cleanup import CleanupInProgress, matching, plan_cleanup, run_cleanup
from sessions_app.criteria import Criteria, InvalidCriteria
from sessions_app.management.cleanup_report import CleanupReport
from sessions_app.management.output import (
    ReportingCommand,
    WrongUsage,
    add_age_arguments,
    add_scope_arguments,
    count_of,
    progress,
    read_instant,
    stoppable,
    user_name,
)
from sessions_app.models import CleanupRun


class Command(ReportingCommand):
    help = "Move sessions that meet any of the given criteria to the archive, and remove their files."

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("--expired", action="store_true", help="sessions past the maximum age")
        parser.add_argument("--invalid", action="store_true", help="sessions with a problem")
        parser.add_argument("--all", action="store_true", help="every session, pinned ones included")
        add_scope_arguments(parser)
        add_age_arguments(parser)
        parser.add_argument("--dry-run", action="store_true", help="tell what would go, and remove nothing")
        parser.add_argument("--yes", action="store_true", help="do not ask before --all")

    def handle(self, *args: Any, **options: Any) -> None:
        keys = ("expired", "invalid", "all", "max_age_days", "namespace", "browser_type")
        try:
            criteria = Criteria(**{key: options[key] for key in keys})
        except InvalidCriteria as reason:
            raise WrongUsage(reason) from None
        as_of = read_instant(options["as_of"])
        has_to_ask = criteria.all and not options["yes"] and not options["dry_run"]
        if has_to_ask and not sys.stdin.isatty():
            raise WrongUsage("--all removes every session: there is no terminal to ask on, so add --yes.")
        try:
            run = plan_cleanup(criteria, trigger="command", actor=user_name(), as_of=as_of)
        except CleanupInProgress as reason:
            raise CommandError(str(reason)) from None
        if has_to_ask and run.matched_count:
            self._ask(run)
        if not options["dry_run"]:
            bar = progress(self.stderr, "sessions", total=run.matched_count)
            with stoppable(self.stderr) as deadline, bar as advance:
                run = run_cleanup(run, deadline=deadline, progress=advance)
        report = CleanupReport(run, is_dry_run=options["dry_run"])
        if options["format"] == "json":
            self.write_json(report.to_json())
        else:
            self.stdout.write(report.to_text())
        if failure := report.failure:
            raise CommandError(failure)

    def _ask(self, run: CleanupRun) -> None:
        """Let the user type the number of sessions, and stop where it is another."""
        pinned = matching(run).filter(is_pinned=True).count()
        self.stderr.write(
            f"This removes {count_of(run.matched_count, 'session')}, {pinned:,} of them pinned "
            f"({run.criteria.describe()}).\nType the number of sessions to go on: ",
            self.style.WARNING,
            ending="",
        )
        self.stderr.flush()
        if sys.stdin.readline().strip().replace(",", "") != str(run.matched_count):
            raise CommandError("Nothing was removed: the number typed was not that of the sessions.")
