"""One sync of a session directory: what has changed in the folder, brought into the database.

Files are told apart by their stamps, so an unchanged file is not opened. A session whose file has
vanished goes to the archive through ``cleanup``, as every removal does.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, TypeVar

from django.conf import settings
from django.db import IntegrityError, transaction
from django.db.models import F
from django.utils import timezone

from sessions_app import disk, documents
from sessions_app.bulk import Row, document_writer, insert_sessions
from sessions_app.cleanup import (
    describe_access,
    pinned_files,
    plan_cleanup,
    run_cleanup,
    write_owed_files,
)
from sessions_app.commits import repeatable_transaction, retried_when_busy
from sessions_app.criteria import SELECTION_LIMIT, Criteria
from sessions_app.deadline import Deadline
from sessions_app.models import ArchivedSession, BrowserSession, DatabaseClock, SessionDirectory
from sessions_app.session_files import (
    SUFFIX,
    FileFacts,
    SessionFolder,
    SkippedFile,
    stamp_of,
    stamp_values,
)
from sessions_app.sync_result import SyncResult
from sessions_app.vanished import Loss, release_loss

_T = TypeVar("_T")
_File = tuple[str, bytes, FileFacts]

# Rows of one transaction, and bytes of documents in memory, whichever is reached first.
BATCH_SIZE = 2_000
BATCH_BYTES = 16 * 1024 * 1024


class ClaimLost(Exception):
    """Another sync has taken the directory over, because this one was silent for too long."""


class Mirror:
    """A session directory, its open folder, and what this sync has done so far."""

    def __init__(
        self,
        directory: SessionDirectory,
        folder: SessionFolder,
        result: SyncResult,
        deadline: Deadline,
        progress: Callable[[int], None],
    ) -> None:
        self.directory = directory
        self.folder = folder
        self.result = result
        self.deadline = deadline
        self.progress = progress
        self.time_zone = timezone.get_default_timezone()
        self.max_bytes = settings.RAPTOR_MAX_DOCUMENT_BYTES
        self.written = document_writer()

    def sync(self, *, trigger: str, actor: str) -> None:
        added, changed, missing, owed = self._compare()
        left = self.result.unchanged + len(changed)
        loss = Loss(frozenset(missing), left, is_empty=not (left or added))
        missing = release_loss(self.directory, loss, self.result, trigger=trigger, actor=actor)
        self._settle_left_aside()
        self.folder.remove_abandoned()
        if owed:
            missing += self._pay(owed)
        for names in self._in_time(self._with_usable_names(added), BATCH_SIZE):
            self._add(self._without_left_behind(names))
        for pairs in self._in_time(sorted(changed.items(), key=lambda pair: pair[1]), BATCH_SIZE):
            self._update(dict(pairs))
        for ids in self._in_time(missing, SELECTION_LIMIT):
            self._archive_vanished(ids, trigger=trigger, actor=actor)

    def _in_time(self, items: Sequence[_T], size: int) -> Iterator[Sequence[_T]]:
        """Take items in batches until the deadline; what is left is as new to the next sync."""
        for start in range(0, len(items), size):
            if self.deadline.has_passed:
                return
            yield items[start : start + size]

    def _compare(self) -> tuple[list[str], dict[str, int], list[int], list[int]]:
        """Tell the new files, the changed ones with their sessions, and the sessions without a file:
        those that have lost it, and those that have come back and are owed one.

        This is all that a sync of an unchanged folder does, so its loop does nothing twice.
        """
        rows = (
            BrowserSession.objects.filter(directory=self.directory)
            .order_by()
            .values_list("file_name", "pk", "file_inode", "size_bytes", "file_modified_ns", "file_changed_ns")
        )
        known = {row[0]: row for row in rows.iterator()}
        owed = [row[1] for row in known.values() if row[5] is None]
        added: list[str] = []
        changed: dict[str, int] = {}
        unchanged = 0
        for entry in self.folder.entries():
            name = entry.name
            row = known.get(name)
            if row is None:
                added.append(name)
                continue
            try:
                stamp = stamp_values(entry.stat(follow_symlinks=False))
            except FileNotFoundError:
                continue
            del known[name]
            if row[2:] == stamp:
                unchanged += 1
            elif row[5] is not None:
                changed[name] = row[1]
        self.result.unchanged = unchanged
        # A folder that is written to while it is listed may leave out a file that is there: look again.
        missing = [row[1] for row in known.values() if row[5] is not None and not self.folder.has(row[0])]
        added.sort()  # so that the rows come into the index of names in its own order
        return added, changed, missing, owed

    def _pay(self, owed: list[int]) -> list[int]:
        """Write the files of sessions that came back; return those whose place another file has taken."""
        paid = write_owed_files(self.directory, self.folder)
        self.result.written += paid.written
        self.result.notes += describe_access(paid.changed_access)
        if paid.error:
            self.result.skip(str(self.folder.path), f"cannot be written to: {paid.error}")
        return list(set(owed).intersection(paid.taken))

    def _settle_left_aside(self) -> None:
        """End the removals that a crash cut off between setting a file aside and unlinking it."""
        for aside in self.folder.left_aside:
            owner_id = self.folder.owner_id(aside) or 0
            owner = ArchivedSession.objects.filter(directory=self.directory, pk=owner_id).first()
            if owner is None:
                continue
            try:
                self.result.left_behind += self.folder.settle(aside, owner.file_name, stamp_of(owner))
            except OSError as error:
                self.result.skip(aside, f"was cleaned up, but cannot be removed: {disk.reason(error)}")

    def _with_usable_names(self, names: list[str]) -> list[str]:
        usable = []
        for name in names:
            if name == SUFFIX:
                self.result.skip(name, f"has no name before {SUFFIX}")
            elif not name.isascii() and name != name.encode("utf-8", "ignore").decode():
                self.result.skip(name, "has a name that is not UTF-8")
            else:
                usable.append(name)
        return usable

    def _without_left_behind(self, names: Sequence[str]) -> Sequence[str]:
        """Remove the files of sessions that a cleanup archived before it was killed.

        The stamp holds the ctime, so a file that somebody put back is another one and comes in again.
        """
        removed = ArchivedSession.objects.filter(directory=self.directory, has_vanished=False)
        # Asked for each batch, after the known files were read: a cleanup may be at work.
        if not removed.exists():
            return names
        left_behind: dict[str, list[ArchivedSession]] = defaultdict(list)
        for session in removed.filter(file_name__in=names).defer("document"):
            left_behind[session.file_name].append(session)
        fresh = []
        for name in names:
            try:
                if not any(self._finish_removal(session) for session in left_behind.get(name, ())):
                    fresh.append(name)
            except OSError as error:
                self.result.skip(name, f"was cleaned up, but cannot be removed: {disk.reason(error)}")
        return fresh

    def _finish_removal(self, session: ArchivedSession) -> bool:
        stamp = stamp_of(session)
        if stamp is None or not self.folder.is_unchanged(session.file_name, stamp):
            return False
        is_removed = self.folder.remove(session.file_name, stamp, owner_id=session.pk)
        self.result.left_behind += is_removed
        return is_removed

    def _add(self, names: Sequence[str]) -> None:
        for lot in self._read(names):
            while lot:
                try:
                    self._insert(lot)
                    break
                except IntegrityError:
                    # Rare, so that the names are looked up only then; while they are, another may be taken.
                    free = self._without_taken(lot)
                    if len(free) == len(lot):
                        raise
                    lot = free

    @retried_when_busy
    def _insert(self, lot: list[_File]) -> None:
        with repeatable_transaction():
            self._renew_claim()
            insert_sessions(self._rows(lot))
            self._pin_again([name for name, _, _ in lot])
        self.result.added += len(lot)
        self.progress(len(lot))

    def _pin_again(self, names: list[str]) -> None:
        """Pin the sessions whose files are back, as on a volume that was away for a while."""
        if pinned := pinned_files(self.directory, names):
            own = BrowserSession.objects.filter(directory=self.directory)
            own.filter(file_name__in=pinned).update(is_pinned=True)

    def _rows(self, lot: list[_File]) -> Iterator[Row]:
        owner = (self.directory.namespace, self.directory.pk)
        for file_name, data, facts in lot:
            fields = documents.parse(data, time_zone=self.time_zone)
            yield (*owner, session_name(file_name), file_name, *facts, *self.written(fields, data))

    @retried_when_busy
    def _renew_claim(self) -> None:
        own = SessionDirectory.objects.filter(pk=self.directory.pk, sync_number=self.directory.sync_number)
        if not own.update(claimed_at=DatabaseClock()):
            raise ClaimLost

    def _without_taken(self, lot: list[_File]) -> list[_File]:
        """Leave out the files whose names are those of other sessions in the namespace, or of sessions
        that were saved to this folder meanwhile."""
        namespace = self.directory.namespace
        names = [session_name(file_name) for file_name, _, _ in lot]
        sessions = BrowserSession.objects.filter(namespace=namespace, name__in=names)
        taken = dict(sessions.values_list("name", "directory"))
        for name, owner in taken.items():
            if owner != self.directory.pk:
                self.result.skip(
                    name + SUFFIX,
                    f"has the name of another session in the namespace {namespace}; "
                    "mirror this folder into a namespace of its own",
                )
        return [file for file in lot if session_name(file[0]) not in taken]

    def _update(self, changed: dict[str, int]) -> None:
        for lot in self._read(changed):
            self.result.changed += self._update_rows([changed[name] for name, _, _ in lot], lot)
            self.progress(len(lot))

    @retried_when_busy
    def _update_rows(self, pks: list[int], lot: list[_File]) -> int:
        before = dict(BrowserSession.objects.filter(pk__in=pks).values_list("pk", "document"))
        updated = 0
        with transaction.atomic():
            self._renew_claim()
            for pk, (_, data, facts) in zip(pks, lot, strict=True):
                values = self._values(data, facts, is_same=bytes(before.get(pk, b"")) == data)
                updated += BrowserSession.objects.filter(pk=pk).update(**values)
        return updated

    def _values(self, data: bytes, facts: FileFacts, *, is_same: bool) -> dict[str, Any]:
        """What a file that was written again changes in its session."""
        values: dict[str, Any] = {**facts.as_columns()}
        if is_same:
            # The same bytes again: plans that list the session still hold.
            return {**values, "updated_at": F("updated_at")}
        fields = documents.parse(data, time_zone=self.time_zone)
        return {**values, **fields._asdict(), "document": data, "size_bytes": len(data)}

    def _read(self, names: Iterable[str]) -> Iterator[list[_File]]:
        """Read the documents, in lots of bounded bytes; what cannot be read is told and skipped."""
        lot: list[_File] = []
        lot_bytes = 0
        for name in names:
            try:
                data, facts = self.folder.read(name, max_bytes=self.max_bytes)
            except SkippedFile as reason:
                self.result.skip(name, reason)
            except FileNotFoundError:
                continue
            else:
                lot.append((name, data, facts))
                lot_bytes += len(data)
                if lot_bytes >= BATCH_BYTES:
                    yield lot
                    lot, lot_bytes = [], 0
        if lot:
            yield lot

    def _archive_vanished(self, ids: Sequence[int], *, trigger: str, actor: str) -> None:
        # Those that a cleanup took meanwhile are no news for the ledger.
        self._renew_claim()
        still_live = BrowserSession.objects.filter(pk__in=ids).values_list("pk", flat=True)
        if vanished := tuple(still_live):
            criteria = Criteria(session_ids=vanished, has_vanished=True, namespace=self.directory.namespace)
            plan = plan_cleanup(criteria, trigger=trigger, actor=actor)
            self.result.vanished += run_cleanup(plan, deadline=self.deadline).removed_count


def session_name(file_name: str) -> str:
    """The name of the session in a file."""
    return file_name.removesuffix(SUFFIX)
