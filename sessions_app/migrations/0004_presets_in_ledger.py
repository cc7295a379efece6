"""Writes down in the ledger what the policies were that a new panel starts with."""

from typing import Any

from django.db import migrations

FIELDS = (
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


def fill(apps: Any, schema_editor: Any) -> None:
    changes = apps.get_model("sessions_app", "PolicyChange")
    installed = changes.objects.filter(action="added", actor="installation", after_json__isnull=True)
    for added in installed.filter(policy__isnull=False).select_related("policy"):
        later = changes.objects.filter(policy=added.policy, pk__gt=added.pk, before_json__isnull=False)
        first = later.order_by("pk").first()
        # One that was changed since was what the first change tells.
        after = first.before_json if first else _snapshot(added.policy)
        changes.objects.filter(pk=added.pk).update(after_json=after)


def _snapshot(policy: Any) -> dict[str, Any]:
    steps = policy.steps.order_by("position").values("position", "criterion", "max_age_days")
    return {**{name: getattr(policy, name) for name in FIELDS}, "steps": list(steps)}


class Migration(migrations.Migration):
    dependencies = [("sessions_app", "0003_presets")]

    operations = [migrations.RunPython(fill, migrations.RunPython.noop)]
