from __future__ import annotations

from typing import Any

from django.core.management.base import CommandError

from sessions_app.alerts.health import check_health
from sessions_app.management.output import FAILED, ReportingCommand


class Command(ReportingCommand):
    help = "Report what needs attention. The exit status is 1 if there is a critical finding."
    requires_system_checks: list[str] = []
    opens_database = False

    def handle(self, *args: Any, **options: Any) -> None:
        found = check_health()
        is_healthy = not any(finding.is_critical for finding in found)
        if options["format"] == "json":
            findings = [finding.to_json() for finding in found]
            self.write_json({"healthy": is_healthy, "findings": findings})
        else:
            lines = [f"{finding.severity} {finding.code}: {finding.text}" for finding in found]
            self.write("\n".join(lines) or "healthy")
        if not is_healthy:
            raise CommandError("Something needs attention.", returncode=FAILED)
