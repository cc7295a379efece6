from __future__ import annotations

from typing import Any

from django.core.management import CommandError, CommandParser
from django.db import DatabaseError

from sessions_app.access.actors import user_name
from sessions_app.management.cleanup_report import HELD
from sessions_app.management.output import ReportingCommand, WrongUsage, progress
from sessions_app.mirror.arrivals import foreign_warning, inspect_folder
from sessions_app.mirror.registry import (
    DirectoryError,
    accept_other_folder,
    register_directory,
    sync_directory,
)
from sessions_app.models import SessionDirectory
from sessions_app.session.masking import safe_message
from sessions_app.session.sync_result import SyncResult
from sessions_app.text import count_of, manage_command, printable


class Command(ReportingCommand):
    help = "Mirror the given folders, which are registered first, or all enabled session directories."

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("paths", nargs="*", metavar="PATH", help="folder of session documents")
        parser.add_argument(
            "--namespace",
            default="",
            help="namespace of the sessions of a new PATH; without PATH, only directories of this namespace",
        )
        parser.add_argument(
            "--accept-folder",
            action="store_true",
            help="accept the folder that is at PATH now in place of the one that was registered",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        if options["accept_folder"] and not options["paths"]:
            raise WrongUsage("--accept-folder needs a PATH.")
        reports = [
            self._mirror(path, directory, options)
            for path, directory in self._directories(options["paths"], options["namespace"])
        ]
        if options["format"] == "json":
            self.write_json({"directories": reports})
        elif not reports:
            self.write(
                "No enabled session directory is registered. To add one, run\n"
                f"  {manage_command('sync_directories PATH')}"
            )
        if failed := sum(1 for report in reports if report["error"]):
            raise CommandError(f"{failed} of {count_of(len(reports), 'directory', 'directories')} failed.")
        if held := sum(report.get("held", 0) for report in reports):
            raise CommandError(
                f"The files of {count_of(held, 'session')} are gone. Is the disk mounted? The sessions are "
                "kept until a user approves their removal in the panel.",
                returncode=HELD,
            )

    def _mirror(
        self, path: str, directory: SessionDirectory | None, options: dict[str, Any]
    ) -> dict[str, Any]:
        result, error = SyncResult(), ""
        is_text = options["format"] == "text"
        try:
            directory = directory or register_directory(path, namespace=options["namespace"])
            if options["accept_folder"]:
                accept_other_folder(directory)
            if directory.synced_at is None and is_text:
                found = inspect_folder(directory).describe()
                self.write(f"{directory.path} is registered: {found}.")
            result = self._sync(directory)
        except (DirectoryError, DatabaseError, OSError) as failure:
            error = safe_message(failure)
            self.warn(error)
        namespace = directory.namespace if directory else options["namespace"]
        report = _report(directory.path if directory else path, namespace, result, error)
        if is_text and not error:
            self._print(report)
        return report

    def _sync(self, directory: SessionDirectory) -> SyncResult:
        was_looked_at = directory.report.get("was_looked_at")
        with progress(self.stderr, "files read") as advance:
            result = sync_directory(directory, trigger="command", actor=user_name(), progress=advance)
        if not was_looked_at and (warning := foreign_warning(directory)):
            self.warn(warning)
        return result

    def _directories(self, paths: list[str], namespace: str) -> list[tuple[str, SessionDirectory | None]]:
        if paths:
            return [(path, None) for path in paths]
        enabled = SessionDirectory.objects.mirrored()
        if namespace:
            enabled = enabled.filter(namespace=namespace)
        return [(directory.path, directory) for directory in enabled]

    def _print(self, report: dict[str, Any]) -> None:
        counts = ", ".join(
            f"{report[key]:,} {words}"
            for key, words in (_COUNTS | _RARE_COUNTS).items()
            if report.get(key) or key in ("added", "changed", "unchanged", "vanished")
        )
        self.write(f"{report['path']} (namespace {report['namespace']}): {counts}.")
        for note in report.get("notes", ()):
            self.write(f"  note: {note}")
        if held_run := report.get("held_run"):
            gone = count_of(report["held"], "session")
            self.write(f"  needs approval: the files of {gone} are gone, see run {held_run}")
        if report.get("kept"):
            kept = count_of(report["kept"], "session")
            self.write(f"  kept: {kept} without a file, because the removal was dismissed")
        for skipped in report["skipped"]:
            self.write(f"  skipped: {printable(skipped['file'])} {skipped['reason']}")


_COUNTS = {
    "added": "added",
    "changed": "changed",
    "unchanged": "unchanged",
    "vanished": "vanished",
    "left_behind": "left behind by a cleanup and removed now",
}
_RARE_COUNTS = {"written": "written for restored sessions"}
"""Left out of the report when zero."""

_LOSS = ("held", "held_run", "kept")


def _report(path: str, namespace: str, result: SyncResult, error: str) -> dict[str, Any]:
    return {
        "path": path,
        "namespace": namespace,
        **{key: getattr(result, key) for key in _COUNTS},
        **{key: count for key in (*_RARE_COUNTS, "notes") if (count := getattr(result, key))},
        "skipped": [{"file": name, "reason": reason} for name, reason in result.skipped],
        "error": error or None,
        **{name: value for name in _LOSS if (value := getattr(result, name))},
    }
