"""Processes that run or undo a cleanup are killed at random times, and others resume it."""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from sessions_app.cleanup import CleanupInProgress
from tests.stress import jobs
from tests.stress.effort import KILLS
from tests.stress.processes import Worker, workers
from tests.stress.work import Cleanup, Undo, Work, typical_seconds

pytestmark = pytest.mark.django_db(transaction=True)


def killed_midway(work: Work, delay_seconds: float) -> bool:
    """Kill a working process after a delay; return whether the work had started and not ended."""
    with workers(1) as (worker,):
        worker.start(work.job, work.run.pk, work.batch_size)
        time.sleep(delay_seconds)
        worker.kill()
    # PostgreSQL may or may not finish the statement of the dead process: both are consistent.
    work.check()
    if work.run.state != work.active:
        return False
    with pytest.raises(CleanupInProgress):
        work.finish()
    work.run.refresh_from_db()
    return True


@pytest.mark.parametrize("kind", [Cleanup, Undo])
@pytest.mark.parametrize("is_mirrored", [False, True], ids=["rows", "rows and files"])
def test_a_process_killed_at_any_time_leaves_each_session_once_and_the_work_resumable(
    kind: type[Work],
    is_mirrored: bool,
    tmp_path: Path,
    chance: random.Random,
    note: Callable[[str], None],
) -> None:
    folder = tmp_path if is_mirrored else None
    typical = typical_seconds(kind, folder)
    wanted = max(KILLS * 3 // 10, 2) if is_mirrored else KILLS
    kills = tries = 0
    moved: Counter[int] = Counter()
    while kills < wanted:
        work = kind(folder)
        # Some are killed again after they resumed.
        for _ in range(chance.choice((1, 1, 3))):
            delay_seconds = chance.uniform(0, typical * 1.05)
            print(f"try {tries}: killed after {delay_seconds:.4f} of {typical:.4f} s")
            tries += 1
            if work.run.state == work.done or not killed_midway(work, delay_seconds):
                break
            kills += 1
            moved[(work.run.position if kind is Cleanup else work.run.undo_position) > 0] += 1
            # Alternatively, PostgreSQL has only now ended the last statement of the dead process.
            assert jobs.mark_dead(work.run) or work.run.state == work.done
        if work.run.state != work.done:
            work.finish()
        work.check_end()
    note(
        f"{kills} kills in mid-work of {tries} tries over {typical:.3f} s each, "
        f"{moved[True]} of them after the first batch"
    )


def test_a_worker_can_be_killed() -> None:
    """Check that a killed process is gone and does not answer."""
    worker = Worker()
    worker.kill()
    with pytest.raises(OSError, match="closed"):
        worker.do(jobs.run, 1, 1)
