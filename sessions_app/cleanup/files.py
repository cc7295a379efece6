"""The mirrored files of sessions that go and come back; always after the commit, never before."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Any, NamedTuple

from django.db import connection
from django.db.models import F, QuerySet

from sessions_app.cleanup.moves import MOVED_COLUMNS
from sessions_app.models import ArchivedSession, BrowserSession, SessionDirectory
from sessions_app.removals import remove
from sessions_app.session_files import SessionFolder, SkippedFile, file_columns, stamp_of

_FILE_COLUMNS = tuple(name for name in MOVED_COLUMNS if name.startswith("file_"))

# Sessions whose documents are in memory at once, and bytes of these, whichever is reached first.
LOT_SIZE = 500
LOT_BYTES = 8 * 1024 * 1024


def remove_files(archived: QuerySet[ArchivedSession]) -> list[str]:
    """Remove the files of archived sessions, where they still hold the archived bytes.

    Returns: A sentence for each directory, or file, that somebody should look at.
    """
    denied: dict[str, str] = {}
    recovered: list[str] = []
    for folder, sessions in in_folders(archived, denied):
        # Most of the archive has no files any more: read the documents of the others only.
        for lot in _lots([row for row in sessions if is_unchanged(folder, row)]):
            documents = _documents(ArchivedSession, lot)
            for session in lot:
                try:
                    # A session that was brought back in the meantime keeps its file.
                    if session.pk in documents:
                        recovered += _remove_file(folder, session, documents[session.pk])
                except OSError as error:
                    denied[str(folder.path)] = str(error.strerror)
    failures = [
        f"Files in {path} could not be removed ({reason}); each sync tries again."
        for path, reason in denied.items()
    ]
    return failures + recovered


def _remove_file(folder: SessionFolder, session: ArchivedSession, document: bytes) -> list[str]:
    stamp = stamp_of(session)
    if stamp is None:
        return []
    outcome = remove(folder, session.file_name, stamp, document, owner_id=session.pk)
    if not outcome.recovered_as:
        return []
    written = f"{folder.path / session.file_name} was written during its removal, and written anew since."
    return [f"{written} Both files are kept, the older one as {outcome.recovered_as}."]


def is_unchanged(folder: SessionFolder, session: Any) -> bool:
    """Report whether the file of a mirrored session is the one that the session was read from."""
    stamp = stamp_of(session)
    return stamp is not None and folder.is_unchanged(session.file_name, stamp)


class FileCheck(NamedTuple):
    """How the files of live sessions compare with their documents.

    Args:
        stays: Sessions (primary keys) whose files hold other bytes, are being written, or cannot be read.
        touched: Sessions with the columns of their files, which hold the same bytes in another state.
        unseen: Those of the first whose files changed without a trace in their stamps.
    """

    stays: list[int]
    touched: list[tuple[int, dict[str, int]]]
    unseen: list[int]

    def save(self) -> None:
        """Write the states of the files to the sessions, in the caller's transaction.

        The sessions are the same as before: plans that list them still hold.
        """
        if self.touched:
            table = connection.ops.quote_name(BrowserSession._meta.db_table)
            assignments = ", ".join(f"{name} = %s" for name in self.touched[0][1])
            rows = [(*columns.values(), pk) for pk, columns in self.touched]
            with connection.cursor() as cursor:
                cursor.executemany(f"UPDATE {table} SET {assignments} WHERE id = %s", rows)  # noqa: S608
        if self.unseen:
            # No file has this stamp, so the next sync reads them.
            unseen = BrowserSession.objects.filter(pk__in=self.unseen)
            unseen.update(file_changed_ns=F("file_changed_ns") - 1, updated_at=F("updated_at"))


def check_files(sessions: QuerySet[BrowserSession], *, is_scheduled: bool) -> FileCheck:
    """Read the files of live sessions, and compare them with their documents.

    A file that is gone counts as equal: nothing in it could be lost.

    Args:
        is_scheduled: A file that was written again with the same bytes is not taken: somebody uses it.
    """
    check = FileCheck([], [], [])
    for folder, mirrored_here in in_folders(sessions, {}):
        for lot in _lots(mirrored_here):
            documents = _documents(BrowserSession, lot)
            for session in lot:
                document = documents.get(session.pk, b"")
                _check_file(folder, session, document, check, is_scheduled=is_scheduled)
    return check


def _check_file(
    folder: SessionFolder, session: BrowserSession, document: bytes, check: FileCheck, *, is_scheduled: bool
) -> None:
    stamp = stamp_of(session)
    try:
        content = folder.read(session.file_name, max_bytes=len(document))
    except FileNotFoundError:
        return
    except SkippedFile:
        check.stays.append(session.pk)
        return
    if content.data != document:
        check.stays.append(session.pk)
        if content.stamp == stamp:
            check.unseen.append(session.pk)
    elif stamp is not None and content.stamp != stamp:
        # A change of mode or owner leaves all but the ctime as it was.
        is_touched_only = content.stamp.is_same_content(stamp)
        if is_touched_only or (content.is_closed and not is_scheduled):
            check.touched.append((session.pk, file_columns(content.status)))
        else:
            check.stays.append(session.pk)


def mirrored(sessions: QuerySet[Any]) -> QuerySet[Any]:
    """Those of live or archived sessions that were read from a file."""
    return sessions.filter(directory__isnull=False, file_changed_ns__isnull=False)


def in_folders(
    sessions: QuerySet[Any], failures: dict[str, str]
) -> Iterator[tuple[SessionFolder, list[Any]]]:
    """Give the mirrored sessions of each folder, which is open; folders that fail are noted."""
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
            yield folder, list(group)


def _lots(sessions: Sequence[Any]) -> Iterator[list[Any]]:
    lot: list[Any] = []
    lot_bytes = 0
    for session in sessions:
        lot.append(session)
        lot_bytes += session.size_bytes
        if len(lot) >= LOT_SIZE or lot_bytes >= LOT_BYTES:
            yield lot
            lot, lot_bytes = [], 0
    if lot:
        yield lot


def _documents(model: type[ArchivedSession] | type[BrowserSession], lot: Sequence[Any]) -> dict[int, bytes]:
    rows = model._default_manager.filter(pk__in=[session.pk for session in lot]).order_by()
    return {pk: bytes(document) for pk, document in rows.values_list("pk", "document")}


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
