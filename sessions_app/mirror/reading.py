"""Reads the files of a session directory that no process is writing.

A scheduled sync reads files whose stamps have not changed for the settle time. A manual sync reads all closed
files; if the operating system does not show whether a file is closed, it waits for the settle time once.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import suppress
from typing import NamedTuple

from django.conf import settings
from django.utils import timezone

from sessions_app.deadline import Deadline
from sessions_app.mirror.observations import Observations
from sessions_app.session.document import DocumentFields, parse_document
from sessions_app.session.files import FileContent, FileFacts, FileStamp, SessionFolder, SkippedFile
from sessions_app.session.sync_result import SyncResult


class File(NamedTuple):
    """A file of a session directory, and the columns that its document has.

    Documents are parsed here, because other writers would wait for a transaction that parses them.
    """

    name: str
    data: bytes
    facts: FileFacts
    fields: DocumentFields


CHUNK_BYTES = 16 * 1024 * 1024
"""Maximum bytes of documents in memory at once."""

WAIT_STEP_SECONDS = 2
"""Interval at which the claim is renewed while waiting."""


class FileReader:
    """Reads the files of one sync.

    Args:
        is_scheduled: Whether a schedule started the sync.
    """

    def __init__(
        self, folder: SessionFolder, observations: Observations, result: SyncResult, *, is_scheduled: bool
    ) -> None:
        self.folder = folder
        self.observations = observations
        self.result = result
        self.is_scheduled = is_scheduled
        self.time_zone = timezone.get_default_timezone()
        self.max_bytes = settings.RAPTOR_MAX_DOCUMENT_BYTES
        self.settle_seconds: float = settings.RAPTOR_SETTLE_SECONDS
        self.undecided: dict[str, FileStamp] = {}
        # Stamps that have not changed for the settle time.
        self._settled: Mapping[str, FileStamp] = {}

    def choose(self, names: Iterable[str], unsure: Mapping[str, FileStamp]) -> Collection[str]:
        """Return the files that can be read now, and record the others for the next sync.

        Args:
            names: New and changed files.
            unsure: Files that were set aside and are observed in the same way.
        """
        if not self.is_scheduled or self.settle_seconds == 0:
            due = set(names)
            if due or unsure:
                self.observations.record(unsure, among=due)
            return due
        # Read the clock before the stamps, so that the time between two observations is not overestimated.
        _ = self.observations.now
        stamps = {}
        for name in names:
            with suppress(FileNotFoundError):
                stamps[name] = self.folder.stamp(name)
        self._settled = {
            name: stamp for name, stamp in stamps.items() if self.observations.is_settled(name, stamp)
        }
        self.observations.record({**stamps, **unsure})
        self.result.waiting = len(stamps) - len(self._settled)
        return self._settled

    def read(self, names: Iterable[str]) -> Iterator[list[File]]:
        """Read documents in chunks of limited bytes; report and skip unreadable files."""
        chunk: list[File] = []
        chunk_bytes = 0
        for name in names:
            try:
                content = self.folder.read(name, max_bytes=self.max_bytes)
            except SkippedFile as reason:
                self.result.skip(name, reason)
                continue
            except FileNotFoundError:
                continue
            if not self._is_complete(name, content):
                self.undecided[name] = content.stamp
                continue
            fields = parse_document(content.data, time_zone=self.time_zone)
            chunk.append(File(name, content.data, content.facts, fields))
            chunk_bytes += len(content.data)
            if chunk_bytes >= CHUNK_BYTES:
                yield chunk
                chunk, chunk_bytes = [], 0
        if chunk:
            yield chunk

    def wait(self, renew_claim: Callable[[], None], deadline: Deadline) -> Collection[str]:
        """Wait for the settle time and return the undecided files, which can be read again after it."""
        self._settled, self.undecided = self.undecided, {}
        until = Deadline.after(self.settle_seconds)
        while not until.has_passed and not deadline.has_passed:
            renew_claim()
            time.sleep(min(WAIT_STEP_SECONDS, self.settle_seconds))
        return self._settled

    def _is_complete(self, name: str, content: FileContent) -> bool:
        if self.settle_seconds == 0 or (content.is_closed and not self.is_scheduled):
            return True
        return self._settled.get(name) == content.stamp
