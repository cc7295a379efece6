"""The change log of policies: who changed what. Its entries never change."""

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

# Omit unset values, so that earlier snapshots still compare equal.
_LATER_FIELDS = ("closes_browsers",)
_LATER = ("keep_count", "keep_per", "keep_key")


def snapshot_of(policy: CleanupPolicy) -> dict[str, Any]:
    """Return a policy and its steps as JSON."""
    steps = policy.steps.order_by("position").values("position", "criterion", "max_age_days", *_LATER)
    shortened = [{name: step[name] for name in step if name not in _LATER or step[name]} for step in steps]
    rules = list(policy.protections.order_by("key", "pattern").values("key", "pattern"))
    later = {name: value for name in _LATER_FIELDS if (value := getattr(policy, name))}
    snapshot = {**{name: getattr(policy, name) for name in _FIELDS}, **later, "steps": shortened}
    return {**snapshot, "protections": rules} if rules else snapshot


def fingerprint_of(policy: CleanupPolicy) -> str:
    """Return a hash of a policy and its steps, which changes with them."""
    text = json.dumps(snapshot_of(policy), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def record_change(
    policy: CleanupPolicy,
    action: str,
    actor: str,
    before: dict[str, Any] | None,
    after: dict[str, Any] | None,
) -> PolicyChange:
    """Store a change of a policy with its snapshots before and after."""
    return PolicyChange.objects.create(
        # A deleted policy has no key; the entry keeps its name.
        policy=policy if policy.pk and after is not None else None,
        policy_name=policy.name,
        action=action,
        actor=actor,
        before_json=before,
        after_json=after,
    )


def differences(before: dict[str, Any] | None, after: dict[str, Any] | None) -> list[tuple[str, Any, Any]]:
    """Return the fields in which two snapshots differ, with the values before and after."""
    was, now = before or {}, after or {}
    names = [*_FIELDS, *_LATER_FIELDS, "steps", "protections"]
    return [(name, was.get(name), now.get(name)) for name in names if was.get(name) != now.get(name)]
