"""Syncs a session directory: applies the changes in its folder to the database.

Changed files are recognized by their stamps, so unchanged files are not opened. Sessions whose files have
vanished are archived through ``cleanup``, like all removals.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from typing import Any, TypeVar

from django.db import IntegrityError, transaction
from django.db.models import F

from sessions_app.cleanup import (
    describe_access,
    pinned_files,
    plan_cleanup,
    restore_missing_files,
    run_cleanup,
)
from sessions_app.deadline import Deadline
from sessions_app.mirror.bulk_insert import Row, document_writer, insert_sessions
from sessions_app.mirror.leftovers import finish_interrupted_removals, finish_killed_removals
from sessions_app.mirror.observations import Observations
from sessions_app.mirror.reading import File, FileReader
from sessions_app.mirror.vanished import Loss, release_loss
from sessions_app.models import BrowserSession, CleanupRun, DatabaseClock, SessionDirectory
from sessions_app.search import index_session, read_text
from sessions_app.session.criteria import SELECTION_LIMIT, Criteria
from sessions_app.session.files import (
    SUFFIX,
    BusyFile,
    SessionFolder,
    stamp_values,
)
from sessions_app.session.problems import is_good
from sessions_app.session.search_text import SearchText
from sessions_app.session.sync_result import SyncResult
from sessions_app.transactions import repeatable_transaction, retried_when_busy

_T = TypeVar("_T")

# Maximum rows in one transaction. reading.CHUNK_BYTES limits the bytes of documents in memory.
BATCH_SIZE = 2_000


class ClaimLost(Exception):
    """Another sync has taken the directory over, because this one did not renew its claim."""


class Mirror:
    """One sync of a session directory: its open folder and the result so far."""

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
        self.convert_document = document_writer()
        self.is_scheduled = False

    def sync(self, *, trigger: str, actor: str) -> None:
        self.is_scheduled = trigger == CleanupRun.Trigger.SCHEDULE
        added, changed, vanished, unwritten = self._compare()
        left = self.result.unchanged + len(changed)
        loss = Loss(frozenset(vanished), left, is_empty=not (left or added))
        vanished = release_loss(self.directory, loss, self.result, trigger=trigger, actor=actor)
        added = self._with_usable_names(added)
        self.observations = Observations(self.directory, renew_claim=self._renew_claim)
        self.reader = FileReader(self.folder, self.observations, self.result, is_scheduled=self.is_scheduled)
        unsure = finish_interrupted_removals(self.directory, self.folder, self.observations, self.result)
        self.folder.remove_abandoned()
        if unwritten:
            vanished += self._restore_missing_files(unwritten)
        due = self.reader.choose((*added, *changed), unsure)
        added, changed = _among(due, added, changed)
        self._import_files(added, changed)
        if self.reader.undecided and not self.is_scheduled:
            self._import_after_waiting(added, changed)
        for ids in self._until_deadline(vanished, SELECTION_LIMIT):
            self._archive_vanished(ids, trigger=trigger, actor=actor)

    def _import_files(self, added: list[str], changed: dict[str, int]) -> None:
        for names in self._until_deadline(added, BATCH_SIZE):
            self._add(finish_killed_removals(self.directory, self.folder, names, self.result))
        for pairs in self._until_deadline(sorted(changed.items(), key=lambda pair: pair[1]), BATCH_SIZE):
            self._update(dict(pairs))

    def _import_after_waiting(self, added: list[str], changed: dict[str, int]) -> None:
        names = self.reader.wait(self._renew_claim, self.deadline)
        self._import_files(*_among(names, added, changed))
        for name in self.reader.undecided:
            self.result.skip(name, BusyFile())

    def _until_deadline(self, items: Sequence[_T], size: int) -> Iterator[Sequence[_T]]:
        """Yield items in batches until the deadline; the next sync processes the remaining items."""
        for start in range(0, len(items), size):
            if self.deadline.has_passed:
                return
            yield items[start : start + size]

    def _compare(self) -> tuple[list[str], dict[str, int], list[int], list[int]]:
        """Compare the files of the folder with the stamps of its sessions.

        A sync of an unchanged folder does nothing else, so the loop is optimized.

        Returns: The new files, the changed files with their sessions, the sessions whose files have vanished,
            and the restored sessions whose files have not been written yet.
        """
        rows = (
            BrowserSession.objects.filter(directory=self.directory)
            .order_by()
            .values_list("file_name", "pk", "file_inode", "size_bytes", "file_modified_ns", "file_changed_ns")
        )
        known = {row[0]: row for row in rows.iterator()}
        unwritten = [row[1] for row in known.values() if row[5] is None]
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
        # The listing of a folder may omit an existing file if other files are written during it. Check again.
        vanished = [row[1] for row in known.values() if row[5] is not None and not self.folder.has(row[0])]
        added.sort()  # Inserting rows in the order of the index of names is faster.
        return added, changed, vanished, unwritten

    def _restore_missing_files(self, unwritten: list[int]) -> list[int]:
        """Write the files of restored sessions; return the sessions whose file names are taken."""
        restored = restore_missing_files(self.directory, self.folder)
        self.result.written += restored.written
        self.result.notes += describe_access(restored.changed_access)
        if restored.error:
            self.result.skip(str(self.folder.path), f"cannot be written to: {restored.error}")
        return list(set(unwritten).intersection(restored.taken))

    def _with_usable_names(self, names: list[str]) -> list[str]:
        usable = []
        for name in names:
            if name == SUFFIX:
                self.result.skip(name, f"has only the suffix {SUFFIX} as its name")
            elif not name.isascii() and name != name.encode("utf-8", "ignore").decode():
                self.result.skip(name, "has a name that is not UTF-8")
            else:
                usable.append(name)
        return usable

    def _add(self, names: Sequence[str]) -> None:
        for chunk in self.reader.read(names):
            while chunk:
                try:
                    self._insert(chunk)
                    break
                except IntegrityError:
                    # Conflicts are rare, so names are looked up only now.
                    free = self._without_taken(chunk)
                    if len(free) == len(chunk):
                        raise
                    chunk = free

    @retried_when_busy
    def _insert(self, chunk: list[File]) -> None:
        with repeatable_transaction():
            self._renew_claim()
            insert_sessions(self._rows(chunk))
            self._pin_again([file.name for file in chunk])
        self.result.added += len(chunk)
        self.observations.forget(file.name for file in chunk)
        self.progress(len(chunk))

    def _pin_again(self, names: list[str]) -> None:
        """Pin the sessions whose files exist again, for example on a volume that was unmounted."""
        if pinned := pinned_files(self.directory, names):
            own = BrowserSession.objects.filter(directory=self.directory)
            own.filter(file_name__in=pinned).update(is_pinned=True)

    def _rows(self, chunk: list[File]) -> Iterator[Row]:
        owner = (self.directory.namespace, self.directory.pk)
        for name, data, facts, fields in chunk:
            yield (*owner, session_name(name), name, *facts, *self.convert_document(fields, data))

    @retried_when_busy
    def _renew_claim(self) -> None:
        own = SessionDirectory.objects.filter(pk=self.directory.pk, sync_number=self.directory.sync_number)
        if not own.update(claimed_at=DatabaseClock()):
            raise ClaimLost

    def _without_taken(self, chunk: list[File]) -> list[File]:
        """Exclude the files whose names are taken by sessions in the namespace.

        Sessions of this folder may have been saved since it was listed; only other sessions are reported.
        """
        namespace = self.directory.namespace
        names = [session_name(file.name) for file in chunk]
        sessions = BrowserSession.objects.filter(namespace=namespace, name__in=names)
        taken = dict(sessions.values_list("name", "directory"))
        for name, owner in taken.items():
            if owner != self.directory.pk:
                self.result.skip(
                    name + SUFFIX,
                    f"has the name of another session in the namespace {namespace}; "
                    "mirror this folder into a separate namespace",
                )
        return [file for file in chunk if session_name(file.name) not in taken]

    def _update(self, changed: dict[str, int]) -> None:
        for chunk in self.reader.read(changed):
            texts = [read_text(session_name(file.name), file.fields, file.data) for file in chunk]
            updated, held_back = self._update_rows([changed[file.name] for file in chunk], chunk, texts)
            self.result.changed += updated
            self.observations.record_broken((file.name, file.data, file.facts.stamp) for file in held_back)
            self.observations.forget(
                {file.name for file in chunk}.difference(file.name for file in held_back)
            )
            self.progress(len(chunk))

    @retried_when_busy
    def _update_rows(
        self, pks: list[int], chunk: list[File], texts: list[SearchText]
    ) -> tuple[int, list[File]]:
        """Update the sessions of changed files; return their number and the files held back."""
        rows = BrowserSession.objects.filter(pk__in=pks).values_list("pk", "content__document", "problems")
        before = {pk: (bytes(document or b""), problems) for pk, document, problems in rows}
        updated, held_back = 0, []
        with transaction.atomic():
            self._renew_claim()
            for pk, file, text in zip(pks, chunk, texts, strict=True):
                values = self._values(file, *before.get(pk, (b"", None)))
                if values is None:
                    held_back.append(file)
                else:
                    updated += BrowserSession.objects.write(pk, **values)
                    if "document" in values:
                        index_session(pk, text)
        return updated, held_back

    def _values(self, file: File, document_before: bytes, problems: int | None) -> dict[str, Any] | None:
        """Return the columns to update for a changed file; None if the file is held back."""
        values: dict[str, Any] = {**file.facts.as_columns()}
        if file.data == document_before:
            # The bytes are unchanged, so plans that list the session stay valid.
            return {**values, "updated_at": F("updated_at")}
        if is_good(file.fields):
            values["last_good_document"] = None
        elif problems == 0:
            if self.is_scheduled and self.observations.holds_back(file.name, file.data):
                return None
            values["last_good_document"] = document_before
        return {**values, **file.fields._asdict(), "document": file.data, "size_bytes": len(file.data)}

    def _archive_vanished(self, ids: Sequence[int], *, trigger: str, actor: str) -> None:
        # Exclude sessions that a cleanup has removed in the meantime, so that the history has no empty run.
        self._renew_claim()
        still_live = BrowserSession.objects.filter(pk__in=ids).values_list("pk", flat=True)
        if vanished := tuple(still_live):
            criteria = Criteria(session_ids=vanished, has_vanished=True, namespace=self.directory.namespace)
            plan = plan_cleanup(criteria, trigger=trigger, actor=actor)
            self.result.vanished += run_cleanup(plan, deadline=self.deadline).removed_count


def _among(
    names: Collection[str], added: list[str], changed: dict[str, int]
) -> tuple[list[str], dict[str, int]]:
    return [name for name in added if name in names], {
        name: pk for name, pk in changed.items() if name in names
    }


def session_name(file_name: str) -> str:
    """Return the name of the session in a file."""
    return file_name.removesuffix(SUFFIX)
