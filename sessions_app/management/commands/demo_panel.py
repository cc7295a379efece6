from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from django.core.management import CommandError, CommandParser
from django.core.management.base import BaseCommand

from sessions_app.management.demo_panel import build_demo, is_empty
from sessions_app.management.output import WrongUsage, progress
from sessions_app.models import BrowserSession, CleanupRun
from sessions_app.models.clock import database_now
from sessions_app.text import count_of
from sessions_app.transactions.disk import disk_full_message


class Command(BaseCommand):
    help = "Fill an empty panel with demo data: sessions, 90 days of history, policies, runs and an archive."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("folder", type=Path, metavar="FOLDER", help="folder to create for the documents")
        parser.add_argument(
            "--count", type=int, default=2500, help="approximate number of sessions (default: %(default)s)"
        )
        parser.add_argument("--seed", type=int, default=1, help="seed for the random documents")

    def handle(self, *args: Any, **options: Any) -> None:
        folder: Path = options["folder"]
        if options["count"] < 1:
            raise WrongUsage(f"--count must be at least 1, not {options['count']}.")
        if not is_empty():
            raise CommandError(
                "This panel has sessions, directories or runs. Only an empty panel can be filled."
            )
        values = {name: options[name] for name in ("count", "seed")}
        # Do not log the cleanups that create the history of the demo.
        logging.disable(logging.WARNING)
        try:
            with progress(self.stderr, "documents written") as advance:
                build_demo(folder, **values, as_of=database_now(), progress=advance)
        except OSError as error:
            raise CommandError(disk_full_message(error, folder=folder) or str(error)) from None
        finally:
            logging.disable(logging.NOTSET)
        sessions, runs = BrowserSession.objects.count(), CleanupRun.objects.count()
        self.stdout.write(f"The panel has {count_of(sessions, 'demo session')} and {count_of(runs, 'run')}.")
