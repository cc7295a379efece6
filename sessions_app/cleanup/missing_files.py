"""Restores the mirrored files of restored sessions, after the commit or in a later sync.

A restored session has no file stamp until its file is written.
"""

from __future__ import annotations

import errno
from collections import Counter
from dataclasses import dataclass, field
from typing import NamedTuple

from django.db.models import F, QuerySet

from sessions_app.cleanup.batches import BatchSize, last_of_batch
from sessions_app.models import BrowserSession, CleanupRun, SessionDirectory
from sessions_app.session.files import BusyFile, FileFacts, SessionFolder, access_of
from sessions_app.text import count_of
from sessions_app.transactions import disk, repeatable_transaction, retried_when_busy

CHUNK_ROWS = 200
COUNTED_LIMIT = 10_000
"""Maximum number of missing files that are counted for a page."""

_SINGLE_FILE_ERRNOS = frozenset({errno.EINVAL, errno.EILSEQ, errno.ENAMETOOLONG, errno.EFBIG})
"""Errors that concern one file only, such as a name that the file system refuses."""

_WRITTEN_COLUMNS = (
    "file_name",
    "file_mode",
    "file_owner",
    "file_group",
    "restored_from",
    "content__document",
)

_ACCESS = {
    "owner": "with another owner, because only root can change the owner of a file",
    "group": "with another group, because the panel is not a member of the group",
    "mode": "with other permissions, which give no user more access than before",
}


@dataclass
class RestoredFiles:
    """The result of restoring the missing files of a folder.

    ``taken`` lists the sessions whose file names are taken by other files. ``changed_access`` counts the
    files that were restored with another owner, group or mode. ``error`` is why files could not be written.
    """

    written: int = 0
    taken: list[int] = field(default_factory=list)
    changed_access: Counter[str] = field(default_factory=Counter)
    error: str = ""


class UnwrittenFiles(NamedTuple):
    """Restored sessions of a folder whose files have not been written yet."""

    folder: str
    file_count: int
    is_truncated: bool
    reason: str

    @property
    def message(self) -> str:
        count = f"Over {self.file_count:,} files" if self.is_truncated else count_of(self.file_count, "file")
        verb = "is" if self.file_count == 1 else "are"
        return (
            f"{count} {verb} still to be written to {self.folder}: {self.reason}. "
            "The next sync of the folder tries again."
        )

    def to_json(self) -> dict[str, str | int | bool]:
        more = {"is_truncated": True} if self.is_truncated else {}
        return {"folder": self.folder, "files": self.file_count, "reason": self.reason, **more}


def sessions_missing_files() -> QuerySet[BrowserSession]:
    """Return the restored sessions whose files have not been written yet."""
    return BrowserSession.objects.filter(directory__isnull=False, file_changed_ns__isnull=True)


def sessions_missing_files_of(run: CleanupRun) -> QuerySet[BrowserSession]:
    """Return the sessions restored from a run whose files have not been written yet."""
    return sessions_missing_files().filter(restored_from=run.pk)


def unwritten_files(sessions: QuerySet[BrowserSession]) -> list[UnwrittenFiles]:
    """Count the files that have not been written yet, for each folder, with the reason."""
    ids = list(sessions.order_by().values_list("directory_id", flat=True)[: COUNTED_LIMIT + 1])
    is_truncated = len(ids) > COUNTED_LIMIT
    counts = Counter(ids[:COUNTED_LIMIT])
    directories = SessionDirectory.objects.filter(pk__in=counts).order_by("path")
    return [
        UnwrittenFiles(
            directory.path,
            counts[directory.pk],
            is_truncated,
            directory.write_error or "they have not been written yet",
        )
        for directory in directories
    ]


def describe_access(changed: dict[str, int]) -> list[str]:
    """Describe how the access of restored files differs from before."""
    return [
        f"{count_of(changed[kind], 'file')} restored {how}."
        for kind, how in _ACCESS.items()
        if changed.get(kind)
    ]


def restore_missing_files(directory: SessionDirectory, folder: SessionFolder) -> RestoredFiles:
    """Write the missing files of restored sessions; never replace another file."""
    result = RestoredFiles()
    sessions = (
        sessions_missing_files()
        .filter(directory=directory)
        .order_by("pk")
        .select_related("content")
        .only(*_WRITTEN_COLUMNS)
    )
    left, can_continue = sessions, True
    while can_continue and (last := last_of_batch(left, BatchSize(CHUNK_ROWS))) is not None:
        # Read the whole chunk first: SQLite refuses to write while the connection has an open cursor.
        can_continue = _restore_chunk(list(left.filter(pk__lte=last)), folder, result)
        left = sessions.filter(pk__gt=last)
    note_error(directory, result.error)
    return result


def _restore_chunk(chunk: list[BrowserSession], folder: SessionFolder, result: RestoredFiles) -> bool:
    """Write some files, then store their facts; return whether more files can be written."""
    facts: dict[int, FileFacts] = {}
    changed: dict[int, Counter[str]] = {}
    can_continue = True
    for session in chunk:
        wanted = access_of(session)
        try:
            found = folder.create(session.file_name, session.document, access=wanted)
        except BusyFile as reason:
            result.error = f"{session.file_name} {reason}"
        except OSError as error:
            result.error = disk.reason(error)
            if error.errno not in _SINGLE_FILE_ERRNOS:
                can_continue = False
                break
        else:
            if found is None:
                result.taken.append(session.pk)
                continue
            facts[session.pk] = found
            if wanted and (losses := wanted.losses(found.access)):
                changed.setdefault(session.restored_from or 0, Counter()).update(losses)
    _save_facts(facts, changed)
    result.written += len(facts)
    for counts in changed.values():
        result.changed_access.update(counts)
    return can_continue


@retried_when_busy
def _save_facts(facts: dict[int, FileFacts], changed: dict[int, Counter[str]]) -> None:
    if not facts:
        return
    # If a power failure undoes this commit, the next call finds the files already written.
    with repeatable_transaction():
        for pk, found in facts.items():
            # The session itself is unchanged, so plans that list it stay valid.
            still_missing = BrowserSession.objects.filter(pk=pk, file_changed_ns=None)
            still_missing.update(**found.as_columns(), updated_at=F("updated_at"))
        for run_id, counts in sorted(changed.items()):
            run = CleanupRun.objects.select_for_update().only("changed_access").filter(pk=run_id).first()
            if run is not None:
                total = dict(Counter(run.changed_access) + counts)
                CleanupRun.objects.filter(pk=run_id).update(changed_access=total)


@retried_when_busy
def note_error(directory: SessionDirectory, error: str) -> None:
    """Store why files could not be written, for the pages of runs; skip the update if nothing changed."""
    SessionDirectory.objects.filter(pk=directory.pk).exclude(write_error=error).update(write_error=error)
