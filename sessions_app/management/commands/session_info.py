from __future__ import annotations

from typing import Any

from django.conf import settings
from django.core.management import CommandError, CommandParser

from sessions_app.management.details import SessionDetails, find_similar
from sessions_app.management.listing import Evaluation
from sessions_app.management.output import ReportingCommand, add_age_arguments
from sessions_app.models import BrowserSession


class Command(ReportingCommand):
    help = "Show one session: facts, problems with advice, and metadata, but never its endpoint."

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("name", metavar="NAME")
        parser.add_argument(
            "--namespace",
            default=settings.RAPTOR_NAMESPACE,
            help="its namespace (default: %(default)s)",
        )
        add_age_arguments(parser)

    def handle(self, *args: Any, **options: Any) -> None:
        evaluation = Evaluation.from_options(options)
        name, namespace = options["name"], options["namespace"]
        sessions = BrowserSession.objects.select_related("directory", "probe", "content")
        session = sessions.filter(namespace=namespace, name=name).first()
        if session is None:
            hint = find_similar(name, namespace)
            raise CommandError(f"There is no session {name} in the namespace {namespace}. {hint}".strip())
        details = SessionDetails(session, evaluation)
        if options["format"] == "json":
            self.write_json(details.to_json())
        else:
            self.write("\n".join(details.to_lines()))
