"""An undo that writes files while another program commits continuously."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from sessions_app.cleanup import run_cleanup, undo_cleanup
from sessions_app.models import CleanupPolicy, CleanupRun
from tests.e2e.panel import wait_for
from tests.factories import plan
from tests.stress import jobs
from tests.stress.census import assert_files_match, assert_whole, fill_from, live_sessions
from tests.stress.effort import IS_FULL
from tests.stress.processes import workers

pytestmark = pytest.mark.django_db(transaction=True)

FILES = 5_000 if IS_FULL else 300
PAUSE_SECONDS = 0.02


def wait_for_a_commit(sessions: int = 0) -> None:
    """Wait until the other program has committed once more, so that it is at work on any machine."""
    written = CleanupPolicy.objects.filter(name=jobs.CHANGED_ALL_THE_TIME).values_list("description")
    before = written.first()
    wait_for(lambda: written.first() != before, 60, lambda: f"nothing is committed after {before}")


def test_an_undo_of_files_succeeds_while_another_program_commits(
    tmp_path: Path, note: Callable[[str], None]
) -> None:
    directory = fill_from(tmp_path, FILES)
    before, run = live_sessions(), plan(expired=True)
    with workers(1) as (writer,):
        writer.start(jobs.commit_all_the_time, PAUSE_SECONDS)
        wait_for_a_commit()
        run_cleanup(run)
        undo_cleanup(run, progress=wait_for_a_commit)
        writer.ask_to_stop()
        written = writer.result()
    assert not written.error, written
    assert written.value > 1
    assert (run.state, run.restored_count, run.error) == (CleanupRun.State.UNDONE, FILES, "")
    assert assert_whole(before, run) == (FILES, 0)
    assert_files_match(directory, tmp_path)
    note(f"an undo of {FILES} files beside {written.value} commits of another process")
