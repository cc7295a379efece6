"""A cleanup and an undo that the stress tests disturb."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from pathlib import Path

from sessions_app.cleanup import run_cleanup, undo_cleanup
from sessions_app.models import CleanupRun, SessionDirectory
from tests.factories import plan
from tests.stress import jobs
from tests.stress.census import assert_files_match, assert_whole, fill, fill_from, live_sessions
from tests.stress.processes import workers

SESSIONS = 300
FILES = 60
BATCHES = 15
State = CleanupRun.State


class Work:
    """Sessions and a run to start or undo, with files in some of the attempts."""

    job: Callable[..., int]
    active: State
    done: State

    def __init__(self, folder: Path | None) -> None:
        self.folder = folder
        self.directory: SessionDirectory | None = None
        self.count = SESSIONS if folder is None else FILES
        self.batch_size = self.count // BATCHES
        if folder is None:
            fill(SESSIONS)
        else:
            self.directory = fill_from(folder, FILES)
        self.before = live_sessions()
        self.run = plan(expired=True)

    def finish(self) -> None:
        """Finish the work in this process."""
        raise NotImplementedError

    def check(self) -> None:
        """Check that each session exists once and that the counters agree."""
        live, archived = assert_whole(self.before, self.run)
        assert live + archived == self.count

    def check_end(self) -> None:
        """Check that the work has ended and that the files agree with the rows."""
        self.check()
        assert self.run.state == self.done
        assert self.run.removed_count == self.count
        if self.directory is not None and self.folder is not None:
            assert_files_match(self.directory, self.folder)


class Cleanup(Work):
    job = staticmethod(jobs.run)
    active = State.RUNNING
    done = State.SUCCEEDED

    def finish(self) -> None:
        run_cleanup(self.run, batch_size=self.batch_size)
        assert (self.run.skipped_count, self.run.restored_count) == (0, 0)


class Undo(Work):
    job = staticmethod(jobs.undo)
    active = State.UNDOING
    done = State.UNDONE

    def __init__(self, folder: Path | None) -> None:
        super().__init__(folder)
        run_cleanup(self.run)

    def finish(self) -> None:
        undo_cleanup(self.run, batch_size=self.batch_size)
        assert self.run.restored_count == self.run.removed_count


def typical_seconds(kind: type[Work], folder: Path | None) -> float:
    """Return the median time of the work without a kill."""
    seconds = []
    with workers(1) as (worker,):
        for _ in range(3):
            work = kind(folder)
            began = time.monotonic()
            assert worker.do(work.job, work.run.pk, work.batch_size).value == work.count
            seconds.append(time.monotonic() - began)
            work.run.refresh_from_db()
            work.check_end()
    return statistics.median(seconds)
