"""The mirrored files of sessions that go and come back; always after the commit, never before."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby
from typing import Any

from django.db.models import F, QuerySet

from sessions_app.cleanup.moves import MOVED_COLUMNS
from sessions_app.commits import repeatable_transaction, retried_when_busy
from sessions_app.models import ArchivedSession, BrowserSession, SessionDirectory
from sessions_app.session_files import FileStamp, SessionFolder, stamp_of

_FILE_COLUMNS = tuple(name for name in MOVED_COLUMNS if name.startswith("file_"))
KEYS_AT_ONCE = 500


def remove_files(archived: QuerySet[ArchivedSession]) -> list[str]:
    """Remove the files of archived sessions, where they are still the ones that were judged.

    Returns: A sentence for each directory with files that could not be removed.
    """
    failures: dict[str, str] = {}
    for folder, session, stamp in in_folders(archived, failures):
        try:
            folder.remove(session.file_name, stamp, owner_id=session.pk)
        except OSError as error:
            failures[str(folder.path)] = str(error.strerror)
    return [
        f"Files in {path} could not be removed ({reason}); each sync tries again."
        for path, reason in failures.items()
    ]


def rewritten(sessions: QuerySet[BrowserSession]) -> list[int]:
    """The live sessions in whose place another file lies than the one that they were read from.

    A file that is gone, or that cannot be looked at, does not count: nothing new would be lost.
    """
    return [
        session.pk
        for folder, session, stamp in in_folders(sessions, {})
        if folder.has(session.file_name) and not folder.is_unchanged(session.file_name, stamp)
    ]


def mirrored(sessions: QuerySet[Any]) -> QuerySet[Any]:
    """Those of live or archived sessions that were read from a file."""
    return sessions.filter(directory__isnull=False, file_changed_ns__isnull=False)


def in_folders(
    sessions: QuerySet[Any], failures: dict[str, str]
) -> Iterator[tuple[SessionFolder, Any, FileStamp]]:
    """Give the mirrored sessions with their open folders and stamps; folders that fail are noted."""
    rows = (
        mirrored(sessions)
        .select_related("directory")
        # The documents stay in the database.
        .only("directory__path", "size_bytes", *_FILE_COLUMNS)
        .order_by("directory_id", "pk")
    )
    for path, group in groupby(rows, key=lambda row: row.directory.path):
        try:
            folder = SessionFolder(path)
        except OSError as error:
            failures[path] = str(error.strerror)
            continue
        with folder:
            for session in group:
                if stamp := stamp_of(session):
                    yield folder, session, stamp


def write_owed_files(directory: SessionDirectory, folder: SessionFolder) -> int:
    """Write the files of sessions that came back without one; a file that is there is left alone.

    Returns: How many were written.
    """
    owed = BrowserSession.objects.filter(directory=directory, file_changed_ns=None)
    written = 0
    for pk in _keys_in_chunks(owed):
        session = owed.filter(pk=pk).only("file_name", "document").first()
        if session is None:
            continue
        stamp = folder.create(session.file_name, bytes(session.document))
        if stamp is not None:
            written += _note_stamp(session.pk, stamp)
    return written


@retried_when_busy
def _note_stamp(pk: int, stamp: FileStamp) -> int:
    # A power cut may take it back: the next sync finds the same bytes in the file and notes the stamp again.
    with repeatable_transaction():
        # The row is the same as before: plans that list it still hold.
        return BrowserSession.objects.filter(pk=pk).update(
            file_inode=stamp.inode,
            file_modified_ns=stamp.modified_ns,
            file_changed_ns=stamp.changed_ns,
            updated_at=F("updated_at"),
        )


def _keys_in_chunks(sessions: QuerySet[BrowserSession]) -> Iterator[int]:
    """Yield the primary keys of sessions, of which the caller may write each.

    No cursor stays open between two chunks: on SQLite a write beside one fails with "database is locked"
    as soon as another process has committed, whatever the busy timeout.
    """
    last = 0
    keys = sessions.order_by("pk").values_list("pk", flat=True)
    while chunk := list(keys.filter(pk__gt=last)[:KEYS_AT_ONCE]):
        yield from chunk
        last = chunk[-1]
