"""A worker renews its claim on a directory while it works; the claim of a killed worker lapses."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.db import OperationalError, connection
from django.db.models import QuerySet

from sessions_app.mirror import heartbeats, registry
from sessions_app.mirror.registry import DirectoryBusy, sync_directory
from sessions_app.models import SessionDirectory
from sessions_app.models.clock import database_now
from sessions_app.session.files import SessionFolder
from tests.factories import live, put
from tests.integration.mirror.test_crashes import environment

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("no_settle_time")]

PATIENCE_SECONDS = 60


def until(condition: Callable[[], bool]) -> None:
    """Wait until another thread or process has met a condition."""
    last = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < last, "the condition was not met in time"
        threading.Event().wait(0.01)


class SlowListing:
    """A folder whose listing blocks until ``may_end`` is set."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.has_begun, self.may_end = threading.Event(), threading.Event()
        self.count = 0
        entries = SessionFolder.entries

        def listed(folder: SessionFolder) -> Iterator[os.DirEntry[str]]:
            self.count += 1
            self.has_begun.set()
            assert self.may_end.wait(PATIENCE_SECONDS)
            yield from entries(folder)

        monkeypatch.setattr(SessionFolder, "entries", listed)


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch, settings: Any) -> SlowListing:
    settings.RAPTOR_SETTLE_SECONDS = 0
    monkeypatch.setattr(heartbeats, "RENEW_SECONDS", 0.05)
    monkeypatch.setattr(registry, "CLAIM_LAPSES_AFTER", timedelta(seconds=3))
    return SlowListing(monkeypatch)


class Worker(threading.Thread):
    """A thread that syncs a directory once."""

    def __init__(self, pk: int) -> None:
        super().__init__(daemon=True)
        self.pk = pk
        self.outcome: Any = None

    def run(self) -> None:
        try:
            directory = SessionDirectory.objects.get(pk=self.pk)
            self.outcome = sync_directory(directory, trigger="schedule")
        except BaseException as error:
            self.outcome = error
        finally:
            connection.close()


def claimed_at(pk: int) -> Any:
    return SessionDirectory.objects.values_list("claimed_at", flat=True).get(pk=pk)


def test_a_slow_listing_is_never_taken_over(
    directory: SessionDirectory, folder: Path, slow: SlowListing
) -> None:
    put(folder, "a")
    first = Worker(directory.pk)
    first.start()
    assert slow.has_begun.wait(PATIENCE_SECONDS)
    began = claimed_at(directory.pk)
    until(lambda: claimed_at(directory.pk) - began > registry.CLAIM_LAPSES_AFTER)
    second = Worker(directory.pk)
    second.start()
    second.join(PATIENCE_SECONDS)
    assert isinstance(second.outcome, DirectoryBusy)
    slow.may_end.set()
    first.join(PATIENCE_SECONDS)
    assert first.outcome.added == 1
    assert (slow.count, live()) == (1, ["a"])
    found = SessionDirectory.objects.get()
    assert (found.claimed_at, found.error) == (None, "")


def test_a_locked_database_does_not_end_the_renewals(
    directory: SessionDirectory, folder: Path, slow: SlowListing, monkeypatch: pytest.MonkeyPatch
) -> None:
    update = QuerySet.update
    failures: list[dict[str, Any]] = []

    def locked_twice(rows: Any, **values: Any) -> int:
        if threading.current_thread().name == "renew-claim" and len(failures) < 2:
            failures.append(values)
            raise OperationalError("database is locked")
        return update(rows, **values)

    monkeypatch.setattr(QuerySet, "update", locked_twice)
    worker = Worker(directory.pk)
    worker.start()
    assert slow.has_begun.wait(PATIENCE_SECONDS)
    began = claimed_at(directory.pk)
    until(lambda: bool(claimed_at(directory.pk) > began))
    assert len(failures) == 2
    slow.may_end.set()
    worker.join(PATIENCE_SECONDS)
    assert worker.outcome.added == 0


def test_a_sync_that_has_ended_renews_nothing_and_leaves_no_thread(
    directory: SessionDirectory, folder: Path, slow: SlowListing
) -> None:
    slow.may_end.set()
    sync_directory(directory, trigger="schedule")
    assert "renew-claim" not in {thread.name for thread in threading.enumerate()}
    has_ended = threading.Event()
    renewal = threading.Thread(
        target=heartbeats._renew, args=(directory.pk, directory.sync_number, has_ended)
    )
    renewal.start()
    renewal.join(PATIENCE_SECONDS)
    assert claimed_at(directory.pk) is None


WAIT_WHILE_LISTING = """
import django, sys, time
django.setup()
from sessions_app.mirror import heartbeats
from sessions_app.mirror.registry import sync_directory
from sessions_app.models import SessionDirectory
from sessions_app.session.files import SessionFolder
heartbeats.RENEW_SECONDS = 0.05
def wait(folder):
    print("listing", flush=True)
    while True:
        time.sleep(1)
SessionFolder.entries = wait
sync_directory(SessionDirectory.objects.get(), trigger="schedule")
"""


def test_the_claim_of_a_killed_worker_lapses(
    directory: SessionDirectory, folder: Path, settings: Any
) -> None:
    settings.RAPTOR_SETTLE_SECONDS = 0
    put(folder, "a")
    process = subprocess.Popen(
        [sys.executable, "-c", WAIT_WHILE_LISTING], env=environment(), stdout=subprocess.PIPE
    )
    assert process.stdout is not None
    assert process.stdout.readline() == b"listing\n"
    began = claimed_at(directory.pk)
    until(lambda: bool(claimed_at(directory.pk) > began))
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()
    found = SessionDirectory.objects.get()
    with pytest.raises(DirectoryBusy):
        sync_directory(found, trigger="schedule")
    # The clock of the database cannot be moved, so the claim is dated back.
    lapsed = database_now() - registry.CLAIM_LAPSES_AFTER - timedelta(seconds=1)
    SessionDirectory.objects.update(claimed_at=lapsed)
    assert sync_directory(SessionDirectory.objects.get(), trigger="schedule").added == 1
