"""Inspects the documents of a new folder, which may belong to another tool.

Another tool's documents are all invalid here, so the first sweep would remove them. Scheduled sweeps
therefore skip them for a week, and the person who registered the folder is warned.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta

from django.conf import settings
from django.utils import timezone

from sessions_app.cleanup.folders import open_folder
from sessions_app.models import ArchivedSession, BrowserSession, CleanupRun, SessionDirectory
from sessions_app.models.clock import database_now
from sessions_app.models.directory import REMOVED
from sessions_app.session.document import DocumentFields, parse_document
from sessions_app.session.files import SessionFolder, SkippedFile
from sessions_app.session.problems import is_good
from sessions_app.session.sync_result import SyncResult
from sessions_app.text import count_of
from sessions_app.transactions import retry_when_busy

SWEPT_AFTER = timedelta(days=7)
DOCUMENTS_READ = 20
"""Maximum number of documents that are read while a folder is being registered."""


@dataclass(frozen=True)
class Inspection:
    """The documents of a folder before its first sync. ``is_foreign``: all documents read are invalid."""

    document_count: int
    is_foreign: bool

    def describe(self) -> str:
        return f"{count_of(self.document_count, 'document')} found"

    def warning(self) -> str:
        """Return a warning if the documents seem to belong to another tool; blank otherwise."""
        if not self.is_foreign:
            return ""
        return (
            f"{self.describe()}, and all that were read are invalid: they seem to belong to another tool. "
            f"If all documents are invalid, scheduled sweeps skip them for {SWEPT_AFTER.days} days after the "
            "first sync. You can allow sweeps earlier on the page of the directory. Disable the directory if "
            "it was registered by mistake."
        )


def inspect_folder(directory: SessionDirectory) -> Inspection:
    """Count the documents of a folder and read some of them; an unreadable folder counts as empty."""
    try:
        with open_folder(directory) as folder:
            names = sorted(entry.name for entry in folder.entries())
            found = _read(folder, names[:DOCUMENTS_READ])
    except OSError:
        return Inspection(0, is_foreign=False)
    return Inspection(len(names), is_foreign=bool(found) and not any(map(is_good, found)))


def protect_foreign(directory: SessionDirectory, result: SyncResult) -> None:
    """Postpone the scheduled sweeps of a directory whose first documents are all invalid."""
    if result.was_looked_at:
        return
    sessions = BrowserSession.objects.filter(directory=directory)
    if not sessions.exists():
        return
    result.was_looked_at = True
    is_ours = sessions.filter(problems=0).exists()
    if not is_ours and not ArchivedSession.objects.filter(directory=directory).exists():
        directory.swept_from = database_now() + SWEPT_AFTER
        SessionDirectory.objects.filter(pk=directory.pk).update(swept_from=directory.swept_from)


def foreign_warning(directory: SessionDirectory) -> str:
    """Return a warning if scheduled sweeps still skip the sessions of a directory; blank otherwise."""
    if directory.swept_from is None or directory.swept_from <= database_now():
        return ""
    until = timezone.localtime(directory.swept_from).strftime("%Y-%m-%d %H:%M")
    return (
        f"All documents that were found in {directory.path} are invalid: they seem to belong to another "
        f"tool. Scheduled sweeps skip its sessions until {until}. You can allow sweeps earlier, or disable "
        "the directory, on its page."
    )


def sweep_from_now(directory: SessionDirectory) -> None:
    """Allow scheduled sweeps of a directory immediately."""
    directory.swept_from = None
    SessionDirectory.objects.filter(pk=directory.pk).update(swept_from=None)


def _read(folder: SessionFolder, names: list[str]) -> list[DocumentFields]:
    time_zone = timezone.get_default_timezone()
    found = []
    for name in names:
        with suppress(SkippedFile, FileNotFoundError):
            content = folder.read(name, max_bytes=settings.RAPTOR_MAX_DOCUMENT_BYTES)
            found.append(parse_document(content.data, time_zone=time_zone))
    return found


def plan_removal(directory: SessionDirectory, run: CleanupRun) -> bool:
    """Let a planned run remove a directory; return False if another run has removed it already."""
    mirrored = SessionDirectory.objects.filter(pk=directory.pk).exclude(removal__state__in=REMOVED)
    is_planned = bool(retry_when_busy(lambda: mirrored.update(removal=run)))
    directory.refresh_from_db(fields=["removal"])
    return is_planned


def restore_directory(directory: SessionDirectory) -> None:
    """Mirror a removed directory again. Its removed sessions stay in the archive."""
    if directory.removal_id is not None:
        directory.removal = None
        retry_when_busy(lambda: directory.save(update_fields=["removal"]))
