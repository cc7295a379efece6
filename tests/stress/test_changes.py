"""Other processes write to sessions between the preview and the end of the run."""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Callable, Iterator

import pytest

from sessions_app.cleanup import matching, run_cleanup
from sessions_app.models import ArchivedSession, BrowserSession, CleanupRun, PlannedSessions
from tests.factories import plan
from tests.stress.census import contents, fill, one_snapshot
from tests.stress.effort import TRIES
from tests.stress.jobs import ARRIVE, Change, change_sessions
from tests.stress.processes import Worker, workers

pytestmark = pytest.mark.django_db(transaction=True)

PLANNED = 500
WRITERS = 4
# About half of the sessions are changed before the run reaches them.
PAUSE_SECONDS = 0.004


class Round:
    """A plan and its run, with concurrent writers before, between and during them."""

    def __init__(self, writers: list[Worker], number: int, chance: random.Random) -> None:
        fill(PLANNED)
        ids = list(BrowserSession.objects.order_by("pk").values_list("pk", flat=True))
        for index, writer in enumerate(writers):
            seed = str(chance.random())
            writer.start(change_sessions, ids, f"r{number}w{index}", seed, PAUSE_SECONDS)
        time.sleep(chance.uniform(0, 0.05))
        self.run = plan(expired=True)
        self.planned_ns = time.monotonic_ns()
        self.planned_ids = set(PlannedSessions.objects.get(run=self.run).ids_json)
        # Listed by the preview and not written since: the run may remove no others.
        self.listed = contents(matching(self.run), dated=True)
        time.sleep(chance.uniform(0, 0.3))
        run_cleanup(self.run, batch_size=chance.choice((5, 20, 50)))
        self.ran_ns = time.monotonic_ns()
        for writer in writers:
            writer.ask_to_stop()
        self.changes = list(self._changes(writers))
        with one_snapshot():
            self.live = contents(BrowserSession.objects.all(), dated=True)
            self.archived = contents(ArchivedSession.objects.all(), dated=True)
            self.archived_bytes = sum(ArchivedSession.objects.values_list("size_bytes", flat=True))
            self.live_names = set(BrowserSession.objects.values_list("name", flat=True))
            self.run.refresh_from_db()

    def _changes(self, writers: list[Worker]) -> Iterator[Change]:
        for writer in writers:
            outcome = writer.result()
            assert not outcome.error, outcome
            yield from outcome.value

    @property
    def hits(self) -> list[Change]:
        """Return the changes of each session, oldest first."""
        return sorted((c for c in self.changes if c.is_hit), key=lambda change: change.ended_ns)

    @property
    def late_hits(self) -> list[Change]:
        """Return the changes that started after the plan was made."""
        return [change for change in self.hits if change.began_ns >= self.planned_ns]

    @property
    def tries(self) -> dict[int, Change]:
        """Return the first late change of each planned session before the end of the run."""
        first: dict[int, Change] = {}
        for change in self.late_hits:
            if change.ended_ns <= self.ran_ns and change.pk in self.listed:
                first.setdefault(change.pk, change)
        return first

    def check(self) -> None:
        """Check that the run removed exactly the planned sessions without changes."""
        later = {pk: row for pk, row in self.listed.items() if pk not in self.planned_ids}
        assert not later, (self.run.sealed_at, later, [c for c in self.changes if c.pk in later])
        assert self.archived == {pk: self.listed[pk] for pk in self.archived if pk in self.listed}
        assert not self.live.keys() & self.archived.keys()
        changed = {change.pk for change in self.hits}
        late = {change.pk for change in self.late_hits}
        assert late <= self.live.keys(), "a session that was changed after the preview went"
        assert self.listed.keys() - changed <= self.archived.keys()
        assert len(self.live) + len(self.archived) == PLANNED + sum(c.kind == ARRIVE for c in self.hits)
        self._check_last_writes()
        self._check_counters()

    def _check_last_writes(self) -> None:
        tokens: dict[int, set[str]] = {}
        for change in self.late_hits:
            if change.kind != ARRIVE:
                tokens.setdefault(change.pk, set()).add(change.token)
        ids = list(tokens)
        written = dict(BrowserSession.objects.filter(pk__in=ids).values_list("pk", "session_id"))
        for pk, known in tokens.items():
            assert written[pk] in known | {c.token for c in self.hits if c.pk == pk}

    def _check_counters(self) -> None:
        run = self.run
        assert run.state == CleanupRun.State.SUCCEEDED
        assert run.removed_count == len(self.archived)
        assert run.removed_bytes == self.archived_bytes
        assert run.removed_count + run.skipped_count == run.matched_count
        assert len(self.listed) <= run.matched_count
        assert len(run.skipped_sessions) == run.skipped_count
        assert {row["name"] for row in run.skipped_sessions} <= self.live_names


def test_10_000_changes(chance: random.Random, note: Callable[[str], None]) -> None:
    """Check that a session touched, saved or pinned between preview and run survives."""
    kinds: Counter[str] = Counter()
    removed = matched = number = misses = refused = unnamed = 0
    with workers(WRITERS) as writers:
        while kinds.total() < TRIES:
            number += 1
            played = Round(writers, number, chance)
            played.check()
            kinds.update(change.kind for change in played.tries.values())
            removed, matched = removed + played.run.removed_count, matched + played.run.matched_count
            misses += sum(not c.is_hit and c.kind in kinds for c in played.changes)
            unnamed += played.run.skipped_count - len(played.run.skipped_sessions)
            refused += sum(c.kind == "refused" for c in played.changes)
    note(
        f"{kinds.total():,} changes of planned sessions in {number} rounds {dict(kinds)}, all survived; "
        f"{matched:,} matched, {removed:,} removed; {misses:,} changes came too late, {refused} refused; "
        f"{unnamed:,} of {matched - removed:,} skipped sessions were not named"
    )
    assert removed > matched / 10, "the runs were to have work"
    assert misses, "the writers were to race with the run"
