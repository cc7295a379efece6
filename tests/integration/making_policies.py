"""Policies for tests: those that the migration installs are gone where a test has flushed the database."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from sessions_app.models import CleanupPolicy, CleanupRun
from sessions_app.policies import SweepResult, sweep

DUE = datetime(2026, 11, 22, 2, 0, tzinfo=UTC)
NEVER: dict[str, Any] = {"session_id": ""}


def make_policy(name: str = "Tidy", *steps: str | tuple[str, float], **fields: Any) -> CleanupPolicy:
    """Make a policy without brakes, of steps such as ``"invalid"`` and ``("expired", 7)``."""
    CleanupPolicy.objects.filter(name=name, runs=None).delete()
    policy = CleanupPolicy.objects.create(name=name, **{"brake_percent": None, **fields})
    for position, step in enumerate(steps or ("expired", "invalid"), start=1):
        criterion, max_age_days = (step, None) if isinstance(step, str) else step
        policy.steps.create(position=position, criterion=criterion, max_age_days=max_age_days)
    return policy


def aged(days: float) -> dict[str, Any]:
    return {"last_accessed": (datetime.now(UTC) - timedelta(days=days)).isoformat()}


def take(policy: CleanupPolicy, due_at: datetime = DUE, **options: Any) -> SweepResult:
    return sweep(policy, due_at=due_at, trigger="schedule", actor=policy.name, **options)


def ledger() -> list[tuple[Any, ...]]:
    rows = CleanupRun.objects.order_by("pk").values_list("step_position", "state", "removed_count")
    return list(rows)
