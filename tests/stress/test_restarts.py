"""PostgreSQL is restarted while a cleanup or an undo runs."""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Callable

import pytest
from django.db import connections

from tests.stress import jobs
from tests.stress.cluster import Cluster
from tests.stress.effort import RESTARTS
from tests.stress.processes import Worker, workers
from tests.stress.work import Cleanup, Undo, Work, typical_seconds

MODES = ("immediate", "fast")


def stopped_midway(cluster: Cluster, worker: Worker, work: Work, mode: str, delay_seconds: float) -> bool:
    """Restart the server while a process works; return whether that interrupted the work."""
    connections["default"].close()
    worker.start(work.job, work.run.pk, work.batch_size)
    time.sleep(delay_seconds)
    cluster.stop(mode)
    cluster.start()
    outcome = worker.result()
    work.check()
    assert bool(outcome.error) == (work.run.state != work.done), outcome
    if outcome.error:
        assert outcome.error in {"OperationalError", "InterfaceError"}, outcome
    return bool(outcome.error)


@pytest.mark.parametrize("kind", [Cleanup, Undo])
def test_a_server_stopped_at_any_time_leaves_each_session_once_and_the_work_resumable(
    kind: type[Work], cluster: Cluster, chance: random.Random, note: Callable[[str], None]
) -> None:
    typical = typical_seconds(kind, None)
    stops: Counter[str] = Counter()
    tries = 0
    while min(stops[mode] for mode in MODES) < RESTARTS:
        mode = min(MODES, key=lambda mode: stops[mode])
        work = kind(None)
        delay_seconds = chance.uniform(0, typical)
        print(f"try {tries}: stopped ({mode}) after {delay_seconds:.4f} of {typical:.4f} s")
        tries += 1
        with workers(1) as (worker,):
            if not stopped_midway(cluster, worker, work, mode, delay_seconds):
                continue
            stops[mode] += 1
            jobs.mark_dead(work.run)
            # The surviving process resumes, as the task queue would.
            outcome = worker.do(work.job, work.run.pk, work.batch_size)
            assert (outcome.error, outcome.value) == ("", work.count), outcome
        work.check_end()
    note(f"{stops.total()} stops in mid-work {dict(stops)} of {tries} tries over {typical:.3f} s each")
