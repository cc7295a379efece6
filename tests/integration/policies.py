"""Policies for tests: those that the migration installs are gone where a test has flushed the database."""

from __future__ import annotations

from typing import Any

from sessions_app.models import CleanupPolicy


def make_policy(name: str = "Tidy", *steps: str | tuple[str, float], **fields: Any) -> CleanupPolicy:
    """Make a policy without brakes, of steps such as ``"invalid"`` and ``("expired", 7)``."""
    CleanupPolicy.objects.filter(name=name, runs=None).delete()
    policy = CleanupPolicy.objects.create(name=name, **{"brake_percent": None, **fields})
    for position, step in enumerate(steps or ("expired", "invalid"), start=1):
        criterion, max_age_days = (step, None) if isinstance(step, str) else step
        policy.steps.create(position=position, criterion=criterion, max_age_days=max_age_days)
    return policy
