"""Stores in runs over vanished files the namespace of these files, so that its limit applies to them; and
deletes the last report. The search text that this migration once filled is dropped by a later one."""

from typing import Any

from django.db import migrations


def name_vanished_namespaces(apps: Any, schema_editor: Any) -> None:
    archived = apps.get_model("sessions_app", "ArchivedSession").objects.order_by("pk")
    runs = apps.get_model("sessions_app", "CleanupRun").objects
    for run in runs.filter(criteria_json__has_vanished=True, criteria_json__namespace=""):
        # They were of one directory, and so of one namespace.
        session = archived.filter(run_id=run.pk).only("namespace").first()
        if session is not None:
            run.criteria_json = {**run.criteria_json, "namespace": session.namespace}
            run.save(update_fields=["criteria_json"])


def drop_report(apps: Any, schema_editor: Any) -> None:
    apps.get_model("sessions_app", "StorageSnapshot").objects.update(report=None)


class Migration(migrations.Migration):
    dependencies = [("sessions_app", "0008_limits_history_metadata")]

    operations = [
        migrations.RunPython(name_vanished_namespaces, migrations.RunPython.noop),
        migrations.RunPython(drop_report, migrations.RunPython.noop),
    ]
