"""Looks at the documents of a folder that is new, which may belong to another tool.

Another tool's documents are all invalid here, so the first sweep would remove them. Scheduled sweeps leave
them alone for a week, and the person who registered the folder is warned.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from datetime import timedelta

from django.conf import settings
from django.db import transaction
from django.utils import timezone

from sessions_app.cleanup.folders import open_folder
from sessions_app.models import ArchivedSession, BrowserSession, SessionDirectory
from sessions_app.models.clock import database_now
from sessions_app.session.document import parse_document
from sessions_app.session.files import SessionFolder, SkippedFile
from sessions_app.session.sync_result import SyncResult
from sessions_app.text import count_of

SWEPT_AFTER = timedelta(days=7)
DOCUMENTS_READ = 20
"""Maximum number of documents that are read while a folder is being registered."""


@dataclass(frozen=True)
class Inspection:
    """What a folder holds before its first sync. ``is_foreign``: all documents that were read are invalid."""

    document_count: int
    is_foreign: bool

    def describe(self) -> str:
        return f"{count_of(self.document_count, 'document')} found"

    def warning(self) -> str:
        """Warn about documents that seem to belong to another tool; blank where there is no need."""
        if not self.is_foreign:
            return ""
        return (
            f"{self.describe()}, and all that were read are invalid: they seem to belong to another tool. "
            f"If all of them are, scheduled sweeps leave them alone for {SWEPT_AFTER.days} days from the "
            "first sync. The page of the directory offers to sweep them earlier. Disable the directory if "
            "it was registered by mistake."
        )


def inspect_folder(directory: SessionDirectory) -> Inspection:
    """Count the documents of a folder, and read some of them; a folder that cannot be read has none."""
    try:
        with open_folder(directory) as folder:
            names = sorted(entry.name for entry in folder.entries())
            found = _read(folder, names[:DOCUMENTS_READ])
    except OSError:
        return Inspection(0, is_foreign=False)
    return Inspection(len(names), is_foreign=bool(found) and _are_invalid(found))


def protect_foreign(directory: SessionDirectory, result: SyncResult) -> None:
    """Put off the scheduled sweeps of a directory whose first documents are all invalid."""
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
    """Warn that the sessions of a directory are not swept yet; blank where they are."""
    if directory.swept_from is None or directory.swept_from <= database_now():
        return ""
    until = timezone.localtime(directory.swept_from).strftime("%Y-%m-%d %H:%M")
    return (
        f"All documents that were found in {directory.path} are invalid: they seem to belong to another "
        f"tool. Scheduled sweeps leave its sessions alone until {until}. The page of the directory offers "
        "to sweep them earlier, and to disable it."
    )


def sweep_from_now(directory: SessionDirectory) -> None:
    """Let scheduled sweeps take the sessions of a directory at once."""
    directory.swept_from = None
    SessionDirectory.objects.filter(pk=directory.pk).update(swept_from=None)


def _read(folder: SessionFolder, names: list[str]) -> list[bytes]:
    found = []
    for name in names:
        try:
            found.append(folder.read(name, max_bytes=settings.RAPTOR_MAX_DOCUMENT_BYTES)[0])
        except (SkippedFile, FileNotFoundError):
            continue
    return found


def _are_invalid(found: list[bytes]) -> bool:
    """Let the database evaluate documents by its own rules, and keep nothing of them."""
    namespace = f"inspected-{secrets.token_hex(16)}"
    time_zone = timezone.get_default_timezone()
    with transaction.atomic():
        BrowserSession.objects.bulk_create(
            BrowserSession(
                namespace=namespace, name=str(number), **parse_document(data, time_zone=time_zone)._asdict()
            )
            for number, data in enumerate(found)
        )
        is_any_valid = BrowserSession.objects.filter(namespace=namespace, problems=0).exists()
        transaction.set_rollback(True)
    return not is_any_valid
