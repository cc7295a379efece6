"""Fills an empty panel with demo data: the sessions of two teams and their history of 90 days.

Real cleanups remove the sessions; afterwards only their dates are moved into the past.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from django.conf import settings

from sessions_app.cleanup import plan_cleanup, restore_sessions, run_cleanup, undo_cleanup
from sessions_app.management.demo_documents import write_demo
from sessions_app.mirror.registry import register_directory, sync_directory
from sessions_app.models import (
    ArchivedSession,
    BrowserSession,
    CleanupPolicy,
    CleanupRun,
    CleanupStep,
    SessionDirectory,
    StorageSnapshot,
)
from sessions_app.policies import next_run, record_change, snapshot_of, sweep
from sessions_app.reports import take_snapshot
from sessions_app.session.criteria import Criteria

SHOP, BANK = "shop", "bank"
SHOP_SHARE = 0.7
SPARE = 1.35
"""Documents to write for each session that is left at the end. Cleanups remove the others."""
NEWEST_SHARE = 0.12
"""Sessions that the shop's policy keeps for each of six users, as a share of all sessions."""
HISTORY_DAYS = 90
PINNED_COUNT = 12
_Trigger = CleanupRun.Trigger


def is_empty() -> bool:
    """Check whether the panel has no sessions, runs and directories."""
    return not any(model.objects.exists() for model in (BrowserSession, CleanupRun, SessionDirectory))


def build_demo(
    folder: Path,
    *,
    count: int,
    seed: int,
    as_of: datetime,
    progress: Callable[[int], None] = lambda files: None,
) -> None:
    """Write documents into two new folders, mirror them, and create a history.

    Args:
        count: Minimum number of sessions at the end.
        as_of: The current time, by the database's clock.
    Raises: FileExistsError: a folder is not empty.
    """
    total = round(count * SPARE)
    shop_count = round(total * SHOP_SHARE)
    for namespace, number, offset in ((SHOP, shop_count, 0), (BANK, total - shop_count, 1)):
        place = folder / namespace
        write_demo(place, count=number, seed=seed + offset, as_of=as_of, progress=progress)
        directory = register_directory(place, namespace=namespace)
        sync_directory(directory, trigger=_Trigger.COMMAND, actor="demo")
    # Scheduled sweeps leave files alone that have just been written.
    BrowserSession.objects.update(updated_at=as_of - timedelta(days=1))
    _pin(seed)
    _run_policies(as_of, newest=max(1, round(count * NEWEST_SHARE)))
    _clean_up_manually(as_of)
    _make_history(as_of, seed)


def _pin(seed: int) -> None:
    recent = list(BrowserSession.objects.filter(problems=0).order_by("-idle_since")[:200])
    chosen = random.Random(seed).sample(recent, min(PINNED_COUNT, len(recent)))  # noqa: S311  # not a secret
    BrowserSession.objects.filter(pk__in=[session.pk for session in chosen]).update(is_pinned=True)


def _run_policies(as_of: datetime, *, newest: int) -> None:
    """Run policies on earlier days. The last run needs approval."""
    broken = _policy("Bank: broken sessions", BANK, "15 1 * * *", as_of, {"criterion": "invalid"})
    _sweep_at(broken, as_of - timedelta(days=6, hours=3))
    stale = _policy(
        "Bank: over 60 days", BANK, "30 1 * * 6", as_of, {"criterion": "expired", "max_age_days": 60}
    )
    _sweep_at(stale, as_of - timedelta(days=4, hours=2))
    limited = _policy(
        f"Shop: newest {newest} of each user",
        SHOP,
        "0 3 * * 1",
        as_of,
        {"criterion": "newest", "keep_count": newest, "keep_per": "metadata", "keep_key": "user"},
        brake_percent=10,
        description="Test suites of the shop need the latest sessions of each user.",
    )
    limited.protections.create(pattern="checkout-gift-card-*")
    _sweep_at(limited, as_of - timedelta(hours=1))


def _policy(
    name: str, namespace: str, schedule: str, as_of: datetime, step: dict[str, Any], **fields: Any
) -> CleanupPolicy:
    policy = CleanupPolicy.objects.create(
        name=name, namespace=namespace, schedule=schedule, is_enabled=True, **fields
    )
    CleanupStep.objects.create(policy=policy, position=1, **step)
    policy.next_run_at = next_run(policy, after=as_of)
    policy.save(update_fields=["next_run_at"])
    record_change(policy, "added", "demo", None, snapshot_of(policy))
    return policy


def _sweep_at(policy: CleanupPolicy, due_at: datetime) -> None:
    result = sweep(policy, due_at=due_at, trigger=_Trigger.SCHEDULE, actor=policy.name)
    for run in result.runs:
        _set_back(run, due_at)


def _clean_up_manually(as_of: datetime) -> None:
    """Run a cleanup and undo it, and run another one and restore a single session."""
    undone = _clean_up(Criteria(invalid=True, namespace=SHOP), "alice")
    if undone.removed_count:
        undo_cleanup(undone, actor="alice")
    _set_back(undone, as_of - timedelta(days=3))
    kept = _clean_up(Criteria(expired=True, max_age_days=75, namespace=SHOP), "bob")
    restore_sessions(ArchivedSession.objects.filter(run=kept).order_by("pk").values_list("pk", flat=True)[:1])
    _set_back(kept, as_of - timedelta(days=1, hours=4))


def _clean_up(criteria: Criteria, actor: str) -> CleanupRun:
    return run_cleanup(plan_cleanup(criteria, trigger=_Trigger.ADMIN, actor=actor))


def _set_back(run: CleanupRun, at: datetime) -> None:
    """Move a run and the removal of its sessions to an earlier instant."""
    run.refresh_from_db()
    moved: dict[str, Any] = {"planned_at": at, "as_of": at, "sealed_at": at}
    if run.started_at is not None:
        moved |= {"started_at": at, "heartbeat_at": at, "finished_at": at + timedelta(seconds=2)}
    if run.undone_at is not None:
        moved |= {"undo_started_at": at + timedelta(minutes=9), "undone_at": at + timedelta(minutes=9)}
    if run.state != CleanupRun.State.HELD:
        CleanupRun.objects.filter(pk=run.pk).update(**moved)
    ArchivedSession.objects.filter(run=run).update(removed_at=at)


def _make_history(as_of: datetime, seed: int) -> None:
    """Store a snapshot for each of the last days, with steady growth and a weekly cleanup."""
    chance = random.Random(seed)  # noqa: S311  # not a secret
    now = take_snapshot(as_of=as_of, max_age_days=settings.RAPTOR_MAX_AGE_DAYS)
    mean_bytes = now.size_bytes // max(1, now.session_count)
    rows = []
    for day in range(HISTORY_DAYS, 0, -1):
        grown = 1 - 0.6 * day / HISTORY_DAYS
        sessions = round(now.session_count * grown * (1 + 0.03 * (6 - day % 7)) * chance.uniform(0.98, 1.02))
        removed = round(sessions * chance.uniform(0.05, 0.09))
        counted = {name: round(sessions * share) for name, share in _SHARES.items()}
        rows.append(
            StorageSnapshot(
                taken_at=as_of - timedelta(days=day),
                session_count=sessions,
                size_bytes=sessions * mean_bytes,
                reclaimable_bytes=counted["reclaimable_count"] * mean_bytes,
                archived_count=removed,
                archived_bytes=removed * mean_bytes,
                disk_bytes=2 * sessions * mean_bytes,
                **counted,
            )
        )
    StorageSnapshot.objects.bulk_create(rows)


_SHARES = {"expired_count": 0.35, "invalid_count": 0.12, "pinned_count": 0.005, "reclaimable_count": 0.4}
