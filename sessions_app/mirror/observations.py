"""Records files that the syncs of a directory have seen but not read into sessions yet.

A file that has the same stamp in two observations some seconds apart is not being written. This does not
depend on the clocks of this machine, the database and a file server being the same. The observations are
stored in the database, because any worker may make the second one.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Iterable, Mapping
from datetime import datetime, timedelta
from functools import cached_property

from django.conf import settings
from django.db.models import QuerySet

from sessions_app.models import SessionDirectory, UnsettledFile
from sessions_app.models.clock import database_now
from sessions_app.session.files import FileStamp
from sessions_app.transactions import repeatable_transaction, retried_when_busy

BROKEN_TIME = timedelta(minutes=10)
"""A scheduled sync replaces a valid document with an invalid one only if it is the same after this time."""

ROWS_PER_STATEMENT = 500


class Observations:
    """The unsettled files of a directory, as earlier syncs and this one observed them."""

    def __init__(self, directory: SessionDirectory, *, renew_claim: Callable[[], None]) -> None:
        self._directory = directory
        self._settle_time = timedelta(seconds=settings.RAPTOR_SETTLE_SECONDS)
        self._renew_claim = renew_claim

    @cached_property
    def now(self) -> datetime:
        """The time of this observation, by the database's clock."""
        return database_now()

    @cached_property
    def _seen(self) -> dict[str, UnsettledFile]:
        return {file.file_name: file for file in self._rows()}

    def _rows(self) -> QuerySet[UnsettledFile]:
        return UnsettledFile.objects.filter(directory=self._directory)

    def is_settled(self, file_name: str, stamp: FileStamp) -> bool:
        """Check whether the file had the same stamp at least the settle time ago."""
        seen = self._seen.get(file_name)
        return seen is not None and _stamp(seen) == stamp and seen.seen_at <= self.now - self._settle_time

    def record(self, stamps: Mapping[str, FileStamp], *, among: Collection[str] = ()) -> None:
        """Record the current stamps of files, and forget all other unsettled files.

        Args:
            among: Names of other files to keep.
        """
        changed = [
            self._as_seen_now(name, stamp)
            for name, stamp in stamps.items()
            if (seen := self._seen.get(name)) is None or _stamp(seen) != stamp
        ]
        self._replace(changed)
        self.forget(name for name in list(self._seen) if name not in stamps and name not in among)

    def forget(self, file_names: Iterable[str]) -> None:
        """Delete the records of files that were read into sessions or are gone."""
        known = [self._seen.pop(name) for name in file_names if name in self._seen]
        for rows in _chunks(known):
            self._delete(rows)

    def holds_back(self, file_name: str, data: bytes) -> bool:
        """Check whether an invalid document is too new to replace a valid one."""
        seen = self._seen.get(file_name)
        is_known = seen is not None and seen.broken_digest == _digest(data)
        if seen is None or seen.broken_since is None or not is_known:
            return True
        return seen.broken_since > self.now - BROKEN_TIME

    def record_broken(self, files: Iterable[tuple[str, bytes, FileStamp]]) -> None:
        """Record the digests of the files that are held back."""
        changed = []
        for name, data, stamp in files:
            digest = _digest(data)
            seen = self._seen.get(name)
            if seen is None or seen.broken_digest != digest or _stamp(seen) != stamp:
                row = self._as_seen_now(name, stamp)
                if row.broken_digest != digest:
                    row.broken_digest, row.broken_since = digest, self.now
                changed.append(row)
        self._replace(changed)

    def _as_seen_now(self, file_name: str, stamp: FileStamp) -> UnsettledFile:
        """Return the record of a file; its digest is kept if only the stamp changed, as by ``touch``."""
        seen = self._seen.get(file_name)
        return UnsettledFile(
            directory=self._directory,
            file_name=file_name,
            inode=stamp.inode,
            size_bytes=stamp.size_bytes,
            modified_ns=stamp.modified_ns,
            changed_ns=stamp.changed_ns,
            seen_at=seen.seen_at if seen is not None and _stamp(seen) == stamp else self.now,
            broken_digest=seen.broken_digest if seen else "",
            broken_since=seen.broken_since if seen else None,
        )

    def _replace(self, files: list[UnsettledFile]) -> None:
        for rows in _chunks(files):
            self._replace_rows(rows)
            self._seen.update((row.file_name, row) for row in rows)

    @retried_when_busy
    def _replace_rows(self, rows: list[UnsettledFile]) -> None:
        known = [self._seen[row.file_name] for row in rows if row.file_name in self._seen]
        with repeatable_transaction():
            self._renew_claim()
            self._delete(known)
            UnsettledFile.objects.bulk_create(rows)

    @retried_when_busy
    def _delete(self, files: list[UnsettledFile]) -> None:
        if files:
            # Delete by name, because older versions of SQLite do not return the keys of new rows.
            self._rows().filter(file_name__in=[file.file_name for file in files]).delete()


def _stamp(seen: UnsettledFile) -> FileStamp:
    return FileStamp(seen.inode, seen.size_bytes, seen.modified_ns, seen.changed_ns)


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _chunks(files: list[UnsettledFile]) -> Iterable[list[UnsettledFile]]:
    for start in range(0, len(files), ROWS_PER_STATEMENT):
        yield files[start : start + ROWS_PER_STATEMENT]
