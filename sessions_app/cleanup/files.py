"""The mirrored files of sessions that go; always after the commit, never before. See also ``owed``."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby
from typing import Any

from django.db.models import QuerySet

from sessions_app import disk
from sessions_app.cleanup.moves import MOVED_COLUMNS
from sessions_app.folders import open_folder
from sessions_app.models import ArchivedSession, BrowserSession
from sessions_app.session_files import FileStamp, SessionFolder, stamp_of

_DIRECTORY_COLUMNS = ("directory__path", "directory__device", "directory__inode")
_FILE_COLUMNS = tuple(name for name in MOVED_COLUMNS if name.startswith("file_"))


def remove_files(archived: QuerySet[ArchivedSession]) -> list[str]:
    """Remove the files of archived sessions, where they are still the ones that were judged.

    Returns: A sentence for each directory with files that could not be removed.
    """
    failures: dict[str, str] = {}
    for folder, session, stamp in in_folders(archived, failures):
        try:
            folder.remove(session.file_name, stamp, owner_id=session.pk)
        except OSError as error:
            failures[str(folder.path)] = disk.reason(error)
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
        .only(*_DIRECTORY_COLUMNS, "size_bytes", *_FILE_COLUMNS)
        .order_by("directory_id", "pk")
    )
    for directory, group in groupby(rows, key=lambda row: row.directory):
        try:
            folder = open_folder(directory)
        except OSError as error:
            failures[directory.path] = disk.reason(error)
            continue
        with folder:
            for session in group:
                if stamp := stamp_of(session):
                    yield folder, session, stamp
