from __future__ import annotations

from typing import Any

from django.core.management import CommandParser
from django.db import connection

from sessions_app.management.output import ReportingCommand, WrongUsage
from sessions_app.migrations.one_row.finishing import drop_old_tables
from sessions_app.migrations.one_row.tables import PROGRESS, is_done, tables_of


class Command(ReportingCommand):
    help = "Drop the tables that an upgrade has copied, after you have checked the panel and made a backup."

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("--yes", action="store_true", help="drop them without a question")

    def handle(self, *args: Any, **options: Any) -> None:
        has_tables = PROGRESS in tables_of(connection)
        if has_tables and not is_done(connection, "all"):
            raise WrongUsage("The upgrade has not finished. Run the command “migrate” first.")
        if has_tables and not options["yes"]:
            raise WrongUsage(
                "The old tables are the only copy from before the upgrade. Add --yes to drop them."
            )
        was_dropped = drop_old_tables(connection)
        if options["format"] == "json":
            self.write_json({"dropped": was_dropped})
        else:
            self.write("The old tables were dropped." if was_dropped else "There are no old tables.")
