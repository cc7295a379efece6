"""The mirrored files of sessions that go and come back; always after the commit, never before."""

from __future__ import annotations

from itertools import groupby

from django.db.models import F, QuerySet

from sessions_app.cleanup.moves import MOVED_COLUMNS
from sessions_app.models import ArchivedSession, BrowserSession, SessionDirectory
from sessions_app.session_files import SessionFolder, stamp_of

_FILE_COLUMNS = tuple(name for name in MOVED_COLUMNS if name.startswith("file_"))


def remove_files(archived: QuerySet[ArchivedSession]) -> list[str]:
    """Remove the files of archived sessions, where they are still the ones that were judged.

    Returns: A sentence for each directory whose files could not be removed.
    """
    rows = (
        archived.filter(directory__isnull=False, file_changed_ns__isnull=False)
        .select_related("directory")
        # The documents stay in the database.
        .only("directory__path", "size_bytes", *_FILE_COLUMNS)
        .order_by("directory_id", "pk")
    )
    failures: list[str] = []
    for directory, sessions in groupby(rows, key=lambda row: row.directory):
        path = directory.path if directory else ""
        try:
            with SessionFolder(path) as folder:
                for session in sessions:
                    if stamp := stamp_of(session):
                        folder.remove(session.file_name, stamp, owner_id=session.pk)
        except OSError as error:
            failures.append(
                f"Files in {path} could not be removed ({error.strerror}); each sync tries again."
            )
    return failures


def write_owed_files(directory: SessionDirectory, folder: SessionFolder) -> int:
    """Write the files of sessions that came back without one; a file that is there is left alone.

    Returns: How many were written.
    """
    owed = BrowserSession.objects.filter(directory=directory, file_changed_ns=None)
    written = 0
    for session in owed.only("file_name", "document").iterator(chunk_size=100):
        stamp = folder.create(session.file_name, bytes(session.document))
        if stamp is not None:
            # The row is the same as before: plans that list it still hold.
            written += BrowserSession.objects.filter(pk=session.pk).update(
                file_inode=stamp.inode,
                file_modified_ns=stamp.modified_ns,
                file_changed_ns=stamp.changed_ns,
                updated_at=F("updated_at"),
            )
    return written
