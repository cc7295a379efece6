"""Installs the policies that a new panel starts with: the guide's strategies, of which one is enabled."""

from typing import Any

from django.db import migrations

MEGABYTE = 1024 * 1024
PRESETS: tuple[dict[str, Any], ...] = (
    {
        "name": "Nightly sweep",
        "description": "Expired and invalid sessions, each night.",
        "schedule": "0 2 * * *",
        "is_enabled": True,
        "steps": [("expired", None), ("invalid", None)],
    },
    {
        "name": "Production",
        "description": "Conservative: keeps sessions for 30 days, for debugging.",
        "schedule": "0 2 * * *",
        "steps": [("expired", 30), ("invalid", None)],
    },
    {
        "name": "Development",
        "description": "Aggressive: keeps the sessions of the last 24 hours.",
        "schedule": "0 2 * * *",
        "steps": [("expired", 1), ("invalid", None)],
    },
    {
        "name": "Size limit",
        "description": "Over 10 MB: invalid sessions, then older and older ones, until the rest is smaller.",
        "schedule": "0 * * * *",
        "over_bytes": 10 * MEGABYTE,
        "steps": [("invalid", None), ("expired", 7), ("expired", 1)],
    },
    {
        "name": "Conditional",
        "description": "Over 50 sessions: those not accessed for 3 days.",
        "schedule": "0 * * * *",
        "over_count": 50,
        "steps": [("expired", 3)],
    },
    {
        "name": "CI",
        "description": "Manual: every session, before and after a test run.",
        "steps": [("all", None)],
    },
)


def install(apps: Any, schema_editor: Any) -> None:
    policies = apps.get_model("sessions_app", "CleanupPolicy")
    changes = apps.get_model("sessions_app", "PolicyChange")
    for preset in PRESETS:
        fields = {name: value for name, value in preset.items() if name != "steps"}
        policy = policies.objects.create(**fields)
        for position, (criterion, max_age_days) in enumerate(preset["steps"], start=1):
            policy.steps.create(position=position, criterion=criterion, max_age_days=max_age_days)
        changes.objects.create(policy=policy, policy_name=policy.name, action="added", actor="installation")


class Migration(migrations.Migration):
    dependencies = [("sessions_app", "0002_policies")]

    operations = [migrations.RunPython(install, migrations.RunPython.noop)]
