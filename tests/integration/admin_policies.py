"""The form of a policy in the admin, as a browser sends it."""

from __future__ import annotations

from typing import Any

from django.test import Client

from sessions_app.models import CleanupPolicy

POLICIES = "/admin/sessions_app/cleanuppolicy/"
CHANGES = "/admin/sessions_app/policychange/"
FIELDS = {
    "name": "Team",
    "description": "For the team.",
    "namespace": "",
    "schedule": "30 6 * * 1-5",
    "is_enabled": "on",
    "over_count": "",
    "over_bytes": "",
    "brake_count": "",
    "brake_percent": "50",
}
Step = tuple[str, str, str]


def form(*steps: Step, policy: CleanupPolicy | None = None, **changes: Any) -> dict[str, str]:
    """What the form sends: steps as place, criterion and age; those that a policy has come first."""
    ids = [step.pk for step in policy.steps.all()] if policy else []
    data = {
        **FIELDS,
        **changes,
        "steps-TOTAL_FORMS": str(len(steps)),
        "steps-INITIAL_FORMS": str(len(ids)),
    }
    for number, (place, criterion, age) in enumerate(steps):
        data |= {
            f"steps-{number}-place": place,
            f"steps-{number}-criterion": criterion,
            f"steps-{number}-max_age_days": age,
        }
        if number < len(ids):
            data |= {
                f"steps-{number}-id": str(ids[number]),
                f"steps-{number}-policy": str(policy and policy.pk),
            }
    return {name: value for name, value in data.items() if not (name == "is_enabled" and not value)}


def send(client: Client, address: str, data: dict[str, str]) -> str:
    return client.post(f"{POLICIES}{address}", data, follow=True).content.decode()


def steps_of(policy: CleanupPolicy) -> list[tuple[int, str, float | None]]:
    return list(policy.steps.values_list("position", "criterion", "max_age_days"))
