from __future__ import annotations

import asyncio
import shlex
from typing import Any

from django.core.management import CommandError, CommandParser

from sessions_app.client.manager import SessionManager
from sessions_app.exceptions import SessionException
from sessions_app.management.output import ReportingCommand
from sessions_app.session.endpoint import Endpoint
from sessions_app.session.info import SessionInfo
from sessions_app.text import manage_command, printable


class Command(ReportingCommand):
    help = "Start a Chromium with its own profile that keeps running, and save it as a session."

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("name", metavar="NAME", help="name of the session")
        parser.add_argument("--namespace", default=None, help="its namespace (default: RAPTOR_NAMESPACE)")
        parser.add_argument("--headless", action="store_true", help="without a window")
        parser.add_argument("--url", default="", help="the page to open first")

    def handle(self, *args: Any, **options: Any) -> None:
        name = options["name"]
        try:
            manager = SessionManager(namespace=options["namespace"])
            asyncio.run(_open(manager, name, url=options["url"], headless=options["headless"]))
        except SessionException as reason:
            raise CommandError(reason.message) from None
        info = manager.get_session_info(name) or SessionInfo()
        report = {
            "namespace": manager.namespace,
            "name": name,
            "browser_version": info.ours.get("browser_version"),
            # Only host and port: the whole endpoint is a password.
            "endpoint": str(Endpoint.parse(info.cdp_url)),
            "profile": info.ours.get("profile_dir"),
        }
        if options["format"] == "json":
            self.write_json(report)
            return
        closing = shlex.join(("close_browser", name, "--namespace", report["namespace"]))
        self.write(
            f"Session {printable(name)} in the namespace {report['namespace']}: Chromium "
            f"{report['browser_version']} listens at {report['endpoint']}.\n"
            f"Its profile is {report['profile']}. To end it, run\n  {manage_command(closing)}"
        )


async def _open(manager: SessionManager, name: str, *, url: str, headless: bool) -> None:
    async with manager:
        await manager.launch_session(name, url=url, headless=headless)
