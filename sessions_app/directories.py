"""Mirrors session directories into the database: files that were added, changed or have vanished.

Files are told apart by their stamps, so an unchanged file is not opened. A session whose file has
vanished goes to the archive through ``cleanup``, as every removal does.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from django.conf import settings
from django.db import transaction
from django.db.models import F, Q
from django.utils import timezone

from sessions_app import documents
from sessions_app.bulk import insert_sessions, mirrored_row
from sessions_app.cleanup import plan_cleanup, run_cleanup
from sessions_app.criteria import SELECTION_LIMIT, Criteria
from sessions_app.models import ArchivedSession, BrowserSession, DatabaseClock, SessionDirectory
from sessions_app.models.clock import database_now
from sessions_app.session_files import (
    SUFFIX,
    FileStamp,
    SessionFolder,
    SkippedFile,
    check_is_document,
    stamp_of,
)

logger = logging.getLogger(__name__)

_T = TypeVar("_T")

BATCH_SIZE = 500
CLAIM_LAPSES_AFTER = timedelta(minutes=5)
SKIPPED_FILES_KEPT = 100


class DirectoryError(Exception):
    """A session directory cannot be registered or mirrored; the message says why and what to do."""


@dataclass
class SyncResult:
    """What a sync did, in files; ``skipped`` has names with the reason for each."""

    added: int = 0
    changed: int = 0
    unchanged: int = 0
    vanished: int = 0
    left_behind: int = 0
    skipped: list[tuple[str, str]] = field(default_factory=list)

    def skip(self, file_name: str, reason: object) -> None:
        readable = file_name.encode("utf-8", "backslashreplace").decode()
        self.skipped.append((readable, str(reason)))

    def to_json(self) -> dict[str, Any]:
        return {
            "added": self.added,
            "changed": self.changed,
            "unchanged": self.unchanged,
            "vanished": self.vanished,
            "left_behind": self.left_behind,
            "skipped": len(self.skipped),
            "skipped_files": [
                {"file": name, "reason": reason} for name, reason in self.skipped[:SKIPPED_FILES_KEPT]
            ],
        }


def register_directory(path: str | Path, *, namespace: str = "") -> SessionDirectory:
    """Register a folder to be mirrored; one that is registered already is given back.

    Args:
        namespace: Where its sessions are listed; ``RAPTOR_NAMESPACE`` where blank.
    Raises: DirectoryError: it is no folder, or is mirrored into another namespace.
    """
    folder = Path(path).expanduser().resolve()
    if not folder.is_dir():
        raise DirectoryError(f"{folder} is not a folder on this machine. Check the path.")
    directory, is_new = SessionDirectory.objects.get_or_create(
        path=str(folder), defaults={"namespace": namespace or settings.RAPTOR_NAMESPACE}
    )
    if not is_new and namespace and directory.namespace != namespace:
        raise DirectoryError(
            f"{folder} is mirrored into the namespace {directory.namespace}, not {namespace}. "
            "Leave --namespace out, or name that one."
        )
    return directory


def sync_directory(
    directory: SessionDirectory,
    *,
    trigger: str,
    actor: str = "",
    progress: Callable[[int], None] = lambda files: None,
) -> SyncResult:
    """Bring the sessions of a directory in step with its files.

    Args:
        trigger, actor: Who the ledger names for sessions whose files have vanished.
        progress: Called with the number of files just read.
    Raises: DirectoryError: the folder cannot be read, or a sync of it is at work; no row was touched.
    """
    _claim(directory)
    result, error = SyncResult(), ""
    try:
        try:
            folder = SessionFolder(directory.path)
        except OSError as failure:
            raise DirectoryError(
                f"{directory.path} cannot be read: {failure.strerror}. Its sessions are kept as they are."
            ) from None
        with folder:
            _Sync(directory, folder, result, progress).run(trigger=trigger, actor=actor)
    except Exception as failure:
        error = str(failure) if isinstance(failure, DirectoryError) else f"{type(failure).__name__}: {failure}"
        raise
    finally:
        _release(directory, result, error)
    return result


def _claim(directory: SessionDirectory) -> None:
    lapsed = Q(claimed_at=None) | Q(claimed_at__lt=database_now() - CLAIM_LAPSES_AFTER)
    if not SessionDirectory.objects.filter(lapsed, pk=directory.pk).update(claimed_at=DatabaseClock()):
        raise DirectoryError(f"A sync of {directory.path} is at work already. Try again when it has ended.")


def _release(directory: SessionDirectory, result: SyncResult, error: str) -> None:
    directory.synced_at, directory.error, directory.report = database_now(), error, result.to_json()
    directory.claimed_at = None
    directory.save(update_fields=["synced_at", "error", "report", "claimed_at"])


class _Change(NamedTuple):
    """A file that is new, or not the one that was read before."""

    name: str
    status: Any
    session_pk: int | None


class _Sync:
    """One sync at work: what it compares, and what it has found so far."""

    def __init__(
        self,
        directory: SessionDirectory,
        folder: SessionFolder,
        result: SyncResult,
        progress: Callable[[int], None],
    ) -> None:
        self.directory = directory
        self.folder = folder
        self.result = result
        self.progress = progress
        self.time_zone = timezone.get_default_timezone()
        self.max_bytes = settings.RAPTOR_MAX_DOCUMENT_BYTES

    def run(self, *, trigger: str, actor: str) -> None:
        changes, missing = self._compare()
        self._settle_left_aside()
        for batch in _batches(changes, BATCH_SIZE):
            self._add([change for change in batch if change.session_pk is None])
            self._update({change.session_pk: change for change in batch if change.session_pk is not None})
            SessionDirectory.objects.filter(pk=self.directory.pk).update(claimed_at=DatabaseClock())
            self.progress(len(batch))
        for ids in _batches(missing, SELECTION_LIMIT):
            criteria = Criteria(session_ids=tuple(ids), has_vanished=True)
            run = run_cleanup(plan_cleanup(criteria, trigger=trigger, actor=actor))
            self.result.vanished += run.removed_count

    def _compare(self) -> tuple[list[_Change], list[int]]:
        """Tell the changed files, and the sessions whose files are missing.

        This is all that a sync of an unchanged folder does, so its loop does nothing twice.
        """
        rows = BrowserSession.objects.filter(directory=self.directory).order_by().values_list(
            "file_name", "pk", "file_inode", "size_bytes", "file_modified_ns", "file_changed_ns"
        )
        known = {row[0]: row for row in rows.iterator()}
        changes: list[_Change] = []
        unchanged = 0
        for entry in self.folder.entries():
            row = known.get(entry.name)
            try:
                status = entry.stat(follow_symlinks=False)
            except FileNotFoundError:
                continue
            if row is None:
                changes.append(_Change(entry.name, status, None))
                continue
            del known[entry.name]
            if row[2:] == FileStamp.of(status):
                unchanged += 1
            else:
                changes.append(_Change(entry.name, status, row[1]))
        self.result.unchanged = unchanged
        # A folder that is written to while it is listed may leave out a file that is there: look again.
        # A session without a stamp waits for its file to be written.
        missing = [row[1] for row in known.values() if row[5] is not None and not self.folder.has(row[0])]
        return changes, missing

    def _settle_left_aside(self) -> None:
        """End the removals that a crash cut off between setting a file aside and unlinking it."""
        for aside in self.folder.left_aside:
            owner = ArchivedSession.objects.filter(
                directory=self.directory, pk=self.folder.owner_id(aside)
            ).first()
            if owner is not None:
                self.result.left_behind += self.folder.settle(aside, owner.file_name, stamp_of(owner))

    def _add(self, added: list[_Change]) -> None:
        added = self._without_left_behind(self._without_taken(added))
        rows = []
        for change, data, stamp in self._read(added):
            fields = documents.parse(data, time_zone=self.time_zone)
            rows.append(
                mirrored_row(
                    self.directory.namespace, self.directory.pk,
                    session_name(change.name), change.name, stamp, fields, data,
                )
            )  # fmt: skip
        with transaction.atomic():
            insert_sessions(rows)
        self.result.added += len(rows)

    def _without_taken(self, added: list[_Change]) -> list[_Change]:
        """Leave out the files whose names cannot be sessions, or are other sessions' already."""
        named = [change for change in added if self._has_usable_name(change.name)]
        names = [session_name(change.name) for change in named]
        taken = set(
            BrowserSession.objects.filter(namespace=self.directory.namespace, name__in=names).values_list(
                "name", flat=True
            )
        )
        free = []
        for change in named:
            if session_name(change.name) in taken:
                self.result.skip(
                    change.name,
                    f"has the name of another session in the namespace {self.directory.namespace}; "
                    "mirror this folder into a namespace of its own",
                )
            else:
                free.append(change)
        return free

    def _has_usable_name(self, file_name: str) -> bool:
        if not session_name(file_name):
            self.result.skip(file_name, "has no name before .json")
        elif not file_name.isascii() and file_name != file_name.encode("utf-8", "ignore").decode():
            self.result.skip(file_name, "has a name that is not UTF-8")
        else:
            return True
        return False

    def _without_left_behind(self, added: list[_Change]) -> list[_Change]:
        """Remove the files of sessions that a cleanup archived before it was killed.

        The stamp holds the ctime, so a file that somebody put back is another one and comes in again.
        """
        archived = ArchivedSession.objects.filter(
            directory=self.directory, file_name__in=[change.name for change in added], has_vanished=False
        )
        left_behind = {
            (session.file_name, stamp): session
            for session in archived.defer("document")
            if (stamp := stamp_of(session)) is not None
        }
        fresh = []
        for change in added:
            session = left_behind.get((change.name, FileStamp.of(change.status)))
            if session is None:
                fresh.append(change)
                continue
            try:
                self.result.left_behind += self.folder.remove(
                    change.name, FileStamp.of(change.status), owner_id=session.pk
                )
            except OSError as error:
                self.result.skip(
                    change.name,
                    f"was cleaned up by run {session.run_id}, but cannot be removed: {error.strerror}",
                )
        return fresh

    def _update(self, changed: dict[int, _Change]) -> None:
        before = dict(BrowserSession.objects.filter(pk__in=changed).values_list("pk", "document"))
        contents = {change.session_pk: (data, stamp) for change, data, stamp in self._read(changed.values())}
        with transaction.atomic():
            for pk, (data, stamp) in sorted(contents.items()):
                values: dict[str, Any] = {
                    "file_inode": stamp.inode,
                    "file_modified_ns": stamp.modified_ns,
                    "file_changed_ns": stamp.changed_ns,
                }
                if bytes(before.get(pk, b"")) == data:
                    # Touched or copied, not changed: plans that list it still hold.
                    values["updated_at"] = F("updated_at")
                else:
                    fields = documents.parse(data, time_zone=self.time_zone)
                    values |= fields._asdict() | {"document": data, "size_bytes": len(data)}
                self.result.changed += BrowserSession.objects.filter(pk=pk).update(**values)

    def _read(self, changes: Iterable[_Change]) -> Iterator[tuple[_Change, bytes, FileStamp]]:
        """Read the documents; what is none, or cannot be read, is told and skipped."""
        for change in changes:
            try:
                check_is_document(change.status, max_bytes=self.max_bytes)
                data, stamp = self.folder.read(change.name, max_bytes=self.max_bytes)
            except SkippedFile as reason:
                self.result.skip(change.name, reason)
            except FileNotFoundError:
                continue
            else:
                yield change, data, stamp


def session_name(file_name: str) -> str:
    """The name of the session in a file."""
    return file_name.removesuffix(SUFFIX)


def _batches(items: Sequence[_T], size: int) -> Iterator[Sequence[_T]]:
    for start in range(0, len(items), size):
        yield items[start : start + size]
