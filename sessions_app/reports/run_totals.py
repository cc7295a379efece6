"""Totals of all runs, including deleted runs; a long history does not slow them down."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from django.db import transaction
from django.db.models import Count, F, Q, Sum

from sessions_app.models import CleanupRun, DatabaseClock, RunTotal
from sessions_app.transactions import retry_when_busy

ADDED_AT_ONCE = 500

_SUMS = ("removed_count", "removed_bytes", "restored_count", "restored_bytes")
_State = CleanupRun.State


def run_totals() -> dict[str, dict[str, int]]:
    """Return the number of runs by state, and what they removed and restored.

    One statement reads the runs that can still change, from the index ``run_totals``, and the totals of
    finished and deleted runs, so that each run counts once while it is being added to the totals.
    """
    totals: dict[str, dict[str, int]] = defaultdict(lambda: dict.fromkeys(("run_count", *_SUMS), 0))
    # An aggregate with the name of a column would hide that column from the other aggregates.
    sums = {f"sum_{name}": Sum(name) for name in _SUMS}
    runs = CleanupRun.objects.filter(totaled_at=None).order_by()
    changing: Any = runs.values("state").annotate(sum_run_count=Count("*"), **sums)
    columns: dict[str, Any] = {f"sum_{name}": F(name) for name in ("run_count", *_SUMS)}
    unchanging: Any = RunTotal.objects.values("state", **columns)
    for row in changing.union(unchanging, all=True):
        for name, number in totals[row["state"]].items():
            totals[row["state"]][name] = number + int(row[f"sum_{name}"] or 0)
    return dict(totals)


def add_finished_runs() -> int:
    """Add finished runs that can no longer change to the totals, and return their number."""
    added = 0
    while count := retry_when_busy(_add_some):
        added += count
    return added


def _add_some() -> int:
    # The archive holds none of their sessions, so these runs cannot be undone. Failed runs can be resumed.
    finished = CleanupRun.objects.filter(
        Q(state=_State.UNDONE) | Q(state__in=(_State.SUCCEEDED, _State.CLOSED), undo_started_at=None),
        removed_count=F("restored_count") + F("emptied_count"),
        totaled_at=None,
    )
    with transaction.atomic():
        locked = finished.order_by("pk").select_for_update()
        rows = list(locked.values("pk", "state", *_SUMS)[:ADDED_AT_ONCE])
        for state in {row["state"] for row in rows}:
            _add(state, [row for row in rows if row["state"] == state])
        CleanupRun.objects.filter(pk__in=[row["pk"] for row in rows]).update(totaled_at=DatabaseClock())
    return len(rows)


def keep_total(sender: Any, instance: CleanupRun, **kwargs: Any) -> None:
    """Add a run to the totals, in the transaction that deletes the run.

    Plans that never ran do not count.
    """
    if instance.state == _State.PLANNED:
        return

    def add() -> None:
        with transaction.atomic():
            own = CleanupRun.objects.filter(pk=instance.pk, totaled_at=None)
            if own.update(totaled_at=DatabaseClock()):
                _add(instance.state, [{name: getattr(instance, name) for name in _SUMS}])

    retry_when_busy(add)


def _add(state: str, runs: Sequence[Mapping[str, Any]]) -> None:
    RunTotal.objects.get_or_create(state=state)
    changes: dict[str, Any] = {name: F(name) + sum(run[name] for run in runs) for name in _SUMS}
    RunTotal.objects.filter(state=state).update(run_count=F("run_count") + len(runs), **changes)
