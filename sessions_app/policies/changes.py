"""The ledger of policies: who changed what, to be read and never written again."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from sessions_app.models import CleanupPolicy, PolicyChange

_FIELDS = (
    "name",
    "description",
    "namespace",
    "schedule",
    "is_enabled",
    "over_count",
    "over_bytes",
    "brake_count",
    "brake_percent",
)


def snapshot_of(policy: CleanupPolicy) -> dict[str, Any]:
    """Take down a policy with its steps, as JSON has it."""
    steps = policy.steps.order_by("position").values("position", "criterion", "max_age_days")
    return {**{name: getattr(policy, name) for name in _FIELDS}, "steps": list(steps)}


def fingerprint_of(policy: CleanupPolicy) -> str:
    """Tell a policy from what it was: the same text as long as nobody has changed it or its steps."""
    written = json.dumps(snapshot_of(policy), sort_keys=True)
    return hashlib.sha256(written.encode()).hexdigest()


def record_change(
    policy: CleanupPolicy,
    action: str,
    actor: str,
    before: dict[str, Any] | None,
    after: dict[str, Any] | None,
) -> PolicyChange:
    """Write down a change of a policy: what it was, and what it is now."""
    return PolicyChange.objects.create(
        # One that is deleted has no key any more; its name stays.
        policy=policy if policy.pk and after is not None else None,
        policy_name=policy.name,
        action=action,
        actor=actor,
        before_json=before,
        after_json=after,
    )


def differences(before: dict[str, Any] | None, after: dict[str, Any] | None) -> list[tuple[str, Any, Any]]:
    """Name the fields in which two snapshots differ, with the value of each before and after."""
    was, now = before or {}, after or {}
    names = [*_FIELDS, "steps"]
    return [(name, was.get(name), now.get(name)) for name in names if was.get(name) != now.get(name)]
