from __future__ import annotations

import asyncio
from typing import Any

from django.core.management import CommandError, CommandParser

from sessions_app.client.browsing import ALL, UNRESPONSIVE
from sessions_app.client.manager import SessionManager
from sessions_app.exceptions import SessionException
from sessions_app.management.output import ReportingCommand
from sessions_app.text import printable


class Command(ReportingCommand):
    help = "End the browser of a session if it is still the one that was saved. The session is kept."

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("name", metavar="NAME", help="name of the session")
        parser.add_argument("--namespace", default=None, help="its namespace (default: RAPTOR_NAMESPACE)")
        parser.add_argument(
            "--unresponsive-tabs",
            action="store_true",
            help="close only its tabs that hang or have crashed; the browser keeps running",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        name = options["name"]
        try:
            manager = SessionManager(namespace=options["namespace"])
            tabs = UNRESPONSIVE if options["unresponsive_tabs"] else ALL
            asyncio.run(_close(manager, name, tabs))
        except SessionException as reason:
            raise CommandError(reason.message) from None
        if options["format"] == "json":
            self.write_json({"namespace": manager.namespace, "name": name, "closed": tabs == ALL})
        elif tabs == UNRESPONSIVE:
            self.stdout.write(f"The browser of {printable(name)} no longer has unresponsive tabs.")
        else:
            self.write(f"The browser of {printable(name)} is closed. Its session is kept.")


async def _close(manager: SessionManager, name: str, tabs: str) -> None:
    async with manager:
        await manager.close_session(name, tabs=tabs)
