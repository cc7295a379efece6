"""An undo while others use its names, restore its sessions and empty the archive."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable

import pytest

from sessions_app.cleanup import run_cleanup, undo_cleanup
from sessions_app.models import ArchivedSession, BrowserSession, CleanupRun
from tests.factories import plan
from tests.stress import jobs
from tests.stress.census import contents, fill, live_sessions, one_snapshot
from tests.stress.effort import UNDOS
from tests.stress.processes import workers

pytestmark = pytest.mark.django_db(transaction=True)

SESSIONS = 300
PAUSE_SECONDS = 0.002
State = CleanupRun.State


@pytest.mark.parametrize("is_emptied", [False, True], ids=["kept", "archive emptied"])
def test_a_concurrent_undo_loses_nothing_and_restores_nothing_twice(
    is_emptied: bool, chance: random.Random, note: Callable[[str], None]
) -> None:
    fates: Counter[str] = Counter()
    with workers(5) as (undoer, rival, taker, restorer, emptier):
        for _ in range(UNDOS):
            fill(SESSIONS)
            before, run = live_sessions(), plan(expired=True)
            run_cleanup(run)
            ids = list(before)
            names = chance.sample([str(row[1]) for row in before.values()], 100)
            groups = [chance.sample(ids, 3) for _ in range(50)]
            taker.start(jobs.take_names, names, PAUSE_SECONDS)
            restorer.start(jobs.restore_some, groups, PAUSE_SECONDS)
            undoer.start(jobs.undo, run.pk, 10)
            rival.start(jobs.undo, run.pk, 10)
            if is_emptied:
                emptier.start(jobs.empty_some, chance.uniform(0, 0.15), 10)
            undone = [undoer.result(), rival.result()]
            took, restored = taker.result(), restorer.result()
            emptying = emptier.result() if is_emptied else None
            assert emptying is None or not emptying.error, emptying
            emptied = emptying.value if emptying else 0
            # Each of them may find that the others have done everything; none of them fails.
            assert {o.error for o in undone} <= {"", "CleanupInProgress", "CannotUndo"}, undone
            assert not took.error, took
            assert not restored.error, restored
            fates["restored manually"] += restored.value
            fates.update(check(run, before, took.value, emptied))
            fates["undos refused"] += sum(bool(outcome.error) for outcome in undone)
    note(f"{UNDOS} undos of {SESSIONS} sessions {dict(fates)}")


def check(
    run: CleanupRun, before: dict[int, tuple[object, ...]], taken: list[int], emptied: int
) -> Counter[str]:
    """Check that each session is live, archived or deleted, once and unchanged, and all counters."""
    with one_snapshot():
        live, archived = live_sessions(), contents(ArchivedSession.objects.all())
        sizes = sum(ArchivedSession.objects.values_list("size_bytes", flat=True))
        run.refresh_from_db()
    assert not live.keys() & archived.keys()
    assert set(taken) <= live.keys()
    assert live.keys() <= before.keys() | set(taken)
    back = {pk: row for pk, row in live.items() if pk in before}
    assert {**back, **archived}.items() <= before.items()
    assert len(back) + len(archived) + emptied == SESSIONS
    assert (run.removed_count, run.restored_count, run.emptied_count) == (SESSIONS, len(back), emptied)
    restored_bytes = sum(BrowserSession.objects.filter(pk__in=back).values_list("size_bytes", flat=True))
    assert run.restored_bytes == restored_bytes
    assert emptied or run.removed_bytes == restored_bytes + sizes
    assert run.state in (State.UNDONE, State.SUCCEEDED)
    if run.state == State.UNDONE:
        # The undo skipped sessions whose names were in use, and a second undo skips them again.
        names = {row[1] for row in live.values()}
        assert {row[1] for row in archived.values()} <= names
        assert undo_cleanup(run).restored_count == len(back)
    return Counter({"back": len(back), "name taken": len(archived), "emptied": emptied})
