from __future__ import annotations

from typing import Any

from django.core.management import CommandError, CommandParser

from sessions_app.access.actors import user_name
from sessions_app.cleanup import (
    CannotUndo,
    CleanupInProgress,
    UnwrittenFiles,
    describe_access,
    sessions_missing_files_of,
    undo_cleanup,
    unwritten_files,
)
from sessions_app.management.output import (
    ReportingCommand,
    bytes_of,
    progress,
    stoppable,
)
from sessions_app.models import CleanupRun
from sessions_app.text import count_of


class Command(ReportingCommand):
    help = "Restore every session that a cleanup removed, while the archive holds it."

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("run", type=int, metavar="RUN", help="number of the cleanup run")

    def handle(self, *args: Any, **options: Any) -> None:
        run = CleanupRun.objects.filter(pk=options["run"]).first()
        if run is None:
            raise CommandError(f"There is no run {options['run']}.")
        bar = progress(self.stderr, "sessions", total=run.removed_count)
        try:
            with stoppable(self.stderr) as deadline, bar as advance:
                run = undo_cleanup(run, actor=user_name(), deadline=deadline, progress=advance)
        except (CannotUndo, CleanupInProgress) as reason:
            raise CommandError(str(reason)) from None
        run.refresh_from_db(fields=("changed_access",))
        unwritten = unwritten_files(sessions_missing_files_of(run))
        if options["format"] == "json":
            self.write_json(_report(run, unwritten))
        else:
            self.write(_describe(run))
        if run.state == CleanupRun.State.INTERRUPTED:
            raise CommandError(f"The undo of run {run.pk} was interrupted. Run the command again.")
        if unwritten:
            raise CommandError(" ".join(files.message for files in unwritten))


def _report(run: CleanupRun, unwritten: list[UnwrittenFiles]) -> dict[str, Any]:
    report: dict[str, Any] = {
        "run": run.pk,
        "state": run.state,
        "removed": run.removed_count,
        "restored": run.restored_count,
        "left": _left(run),
        "bytes": run.restored_bytes,
    }
    if run.changed_access:
        report["changed_access"] = run.changed_access
    if unwritten:
        report["unwritten"] = [files.to_json() for files in unwritten]
    return report


def _describe(run: CleanupRun) -> str:
    restored = f"{run.restored_count:,} of {count_of(run.removed_count, 'session')} restored"
    lines = [f"Run {run.pk}: {restored}, {bytes_of(run.restored_bytes)}."]
    if left := _left(run):
        lines.append(f"Still in the archive, because names or files are taken: {count_of(left, 'session')}.")
    if run.emptied_count:
        lines.append(f"Already deleted from the archive: {count_of(run.emptied_count, 'session')}.")
    return "\n".join((*lines, *describe_access(run.changed_access)))


def _left(run: CleanupRun) -> int:
    return run.removed_count - run.restored_count - run.emptied_count
