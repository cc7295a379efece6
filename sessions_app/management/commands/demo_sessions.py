from __future__ import annotations

from pathlib import Path
from typing import Any

from django.core.management import CommandError, CommandParser
from django.core.management.base import BaseCommand
from django.utils import timezone

from sessions_app.management.demo_documents import write_demo
from sessions_app.management.output import WrongUsage, progress, read_instant
from sessions_app.text import count_of
from sessions_app.transactions.disk import disk_full_message


class Command(BaseCommand):
    help = "Write generated session documents, some of them invalid, into a new or empty folder."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("folder", type=Path, metavar="FOLDER")
        parser.add_argument(
            "--count", type=int, default=2000, help="documents to write (default: %(default)s)"
        )
        parser.add_argument("--seed", type=int, default=1, help="seed of the random documents")
        parser.add_argument("--as-of", metavar="TIME", help="time from which ages are counted (default: now)")

    def handle(self, *args: Any, **options: Any) -> None:
        folder: Path = options["folder"]
        count: int = options["count"]
        if count < 1:
            raise WrongUsage(f"--count must be at least 1, not {count}.")
        as_of = read_instant(options["as_of"]) or timezone.now()
        try:
            with progress(self.stderr, "documents written", total=count) as advance:
                write_demo(folder, count=count, seed=options["seed"], as_of=as_of, progress=advance)
        except OSError as error:
            raise CommandError(disk_full_message(error, folder=folder) or str(error)) from None
        self.stdout.write(f"Wrote {count_of(count, 'session document')} into {folder}.")
