"""Removes the mirrored files of archived sessions, only after the commit. See also ``missing_files``."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby
from operator import itemgetter
from typing import Any, NamedTuple

from django.db import connection
from django.db.models import F, QuerySet

from sessions_app.cleanup.folders import open_folder
from sessions_app.models import ArchivedSession, BrowserSession, SessionDirectory
from sessions_app.session.files import FileStamp, SessionFolder, SkippedFile
from sessions_app.session.removals import remove
from sessions_app.transactions import disk

# Maximum number and bytes of documents in memory at once.
CHUNK_SIZE = 500
CHUNK_BYTES = 8 * 1024 * 1024


class MirroredFile(NamedTuple):
    """The file of a session, as it was when the session was read from it.

    Building model instances instead took longer than checking the files.
    """

    pk: int
    name: str
    stamp: FileStamp


def remove_files(archived: QuerySet[ArchivedSession]) -> list[str]:
    """Remove the files of archived sessions if they still contain the archived bytes.

    Returns: A sentence for each directory or file that needs attention.
    """
    denied: dict[str, str] = {}
    recovered: list[str] = []
    for folder, files in files_by_folder(archived, denied):
        # Most archived sessions no longer have files. Read only the documents of those that do.
        for chunk in _chunks([file for file in files if folder.is_unchanged(file.name, file.stamp)]):
            documents = _documents(ArchivedSession, chunk)
            for file in chunk:
                try:
                    # A session that was restored in the meantime keeps its file.
                    if file.pk in documents:
                        recovered += _remove_file(folder, file, documents[file.pk])
                except OSError as error:
                    denied[str(folder.path)] = disk.reason(error)
    failures = [
        f"Files in {path} could not be removed ({reason}); each sync tries again."
        for path, reason in denied.items()
    ]
    return failures + recovered


def _remove_file(folder: SessionFolder, file: MirroredFile, document: bytes) -> list[str]:
    outcome = remove(folder, file.name, file.stamp, document, owner_id=file.pk)
    if not outcome.recovered_as:
        return []
    written = f"{folder.path / file.name} was written during its removal, and a new file has its name."
    return [f"{written} Both files are kept, the older one as {outcome.recovered_as}."]


class FileCheck(NamedTuple):
    """How the files of live sessions compare with their documents.

    Args:
        changed: Primary keys of the sessions whose files have other bytes, are being written or are
            unreadable.
        touched: Primary keys and file columns of the sessions whose files have a new stamp but the same
            bytes.
        unseen: The keys in ``changed`` whose files have the same stamp as before.
    """

    changed: list[int]
    touched: list[tuple[int, dict[str, int]]]
    unseen: list[int]

    def save(self) -> None:
        """Store the new file columns of the sessions, in the caller's transaction.

        The sessions themselves are unchanged, so plans that list them stay valid.
        """
        if self.touched:
            table = connection.ops.quote_name(BrowserSession._meta.db_table)
            assignments = ", ".join(f"{name} = %s" for name in self.touched[0][1])
            rows = [(*columns.values(), pk) for pk, columns in self.touched]
            with connection.cursor() as cursor:
                cursor.executemany(
                    f"UPDATE {table} SET {assignments} WHERE id = %s AND run_id IS NULL",  # noqa: S608
                    rows,
                )
        if self.unseen:
            # No file has this stamp, so the next sync reads these files.
            unseen = BrowserSession.objects.filter(pk__in=self.unseen)
            unseen.update(file_changed_ns=F("file_changed_ns") - 1, updated_at=F("updated_at"))


def check_files(sessions: QuerySet[BrowserSession], *, is_scheduled: bool) -> FileCheck:
    """Compare the files of live sessions with their documents.

    A missing file counts as equal, because nothing in it could be lost.

    Args:
        is_scheduled: Whether to keep sessions whose files another program has rewritten with the same bytes.
    """
    check = FileCheck([], [], [])
    for folder, files in files_by_folder(sessions, {}):
        for chunk in _chunks(files):
            documents = _documents(BrowserSession, chunk)
            for file in chunk:
                _check_file(folder, file, documents.get(file.pk, b""), check, is_scheduled=is_scheduled)
    return check


def _check_file(
    folder: SessionFolder, file: MirroredFile, document: bytes, check: FileCheck, *, is_scheduled: bool
) -> None:
    try:
        content = folder.read(file.name, max_bytes=len(document))
    except FileNotFoundError:
        return
    except SkippedFile:
        check.changed.append(file.pk)
        return
    stamp = content.stamp
    if content.data != document:
        check.changed.append(file.pk)
        if stamp == file.stamp:
            check.unseen.append(file.pk)
    elif stamp != file.stamp:
        # A change of mode or owner changes only the ctime.
        is_touched_only = stamp.is_same_content(file.stamp)
        if is_touched_only or (content.is_closed and not is_scheduled):
            check.touched.append((file.pk, content.facts.as_columns()))
        else:
            check.changed.append(file.pk)


def mirrored(sessions: QuerySet[Any]) -> QuerySet[Any]:
    """Return the live or archived sessions that were read from a file."""
    return sessions.filter(directory__isnull=False, file_changed_ns__isnull=False)


def files_by_folder(
    sessions: QuerySet[Any], failures: dict[str, str]
) -> Iterator[tuple[SessionFolder, list[MirroredFile]]]:
    """Yield each open folder with its mirrored files; add the folders that fail to ``failures``."""
    columns = ("file_name", "file_inode", "size_bytes", "file_modified_ns", "file_changed_ns")
    rows = mirrored(sessions).order_by("directory_id", "pk").values_list("directory_id", "pk", *columns)
    # Read all rows first, so that no cursor is open while files are processed.
    for directory_id, group in groupby(list(rows), key=itemgetter(0)):
        directory = SessionDirectory.objects.get(pk=directory_id)
        try:
            folder = open_folder(directory)
        except OSError as error:
            # The worker on the directory's machine removes the files at its next sync.
            if not directory.is_elsewhere:
                failures[directory.path] = disk.reason(error)
            continue
        with folder:
            yield folder, [MirroredFile(pk, name, FileStamp(*stamp)) for _, pk, name, *stamp in group]


def _chunks(files: Sequence[MirroredFile]) -> Iterator[list[MirroredFile]]:
    chunk: list[MirroredFile] = []
    chunk_bytes = 0
    for file in files:
        chunk.append(file)
        chunk_bytes += file.stamp.size_bytes
        if len(chunk) >= CHUNK_SIZE or chunk_bytes >= CHUNK_BYTES:
            yield chunk
            chunk, chunk_bytes = [], 0
    if chunk:
        yield chunk


def _documents(
    model: type[ArchivedSession] | type[BrowserSession], chunk: Sequence[MirroredFile]
) -> dict[int, bytes]:
    rows = model._default_manager.filter(pk__in=[file.pk for file in chunk]).order_by()
    return {pk: bytes(document or b"") for pk, document in rows.values_list("pk", "content__document")}
