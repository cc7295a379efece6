"""Takes the text that is searched out of the documents that are there; says of runs over vanished files in
which namespace these were, so that a limit of it holds for them; and drops the report of before."""

from typing import Any

from django.db import migrations

from sessions_app.session.document import metadata_text, read_document

CHUNK_ROWS = 1_000


def fill_metadata_text(apps: Any, schema_editor: Any) -> None:
    for name in ("BrowserSession", "ArchivedSession"):
        model = apps.get_model("sessions_app", name)
        rows = model.objects.filter(is_corrupted=False).order_by("pk").values_list("pk", "document")
        chunk = list(rows[:CHUNK_ROWS])
        while chunk:
            _write(model._meta.db_table, schema_editor.connection, chunk)
            chunk = list(rows.filter(pk__gt=chunk[-1][0])[:CHUNK_ROWS])


def _write(table: str, connection: Any, chunk: list[tuple[int, Any]]) -> None:
    # By hand: what a session says has not changed, so it is not dated as changed, and plans still take it.
    texts = [(_metadata_text(bytes(document)), pk) for pk, document in chunk]
    statement = f"UPDATE {connection.ops.quote_name(table)} SET metadata_text = %s WHERE id = %s"
    with connection.cursor() as cursor:
        cursor.executemany(statement, [(text, pk) for text, pk in texts if text])


def _metadata_text(document: bytes) -> str:
    content = read_document(document) or {}
    cdp_url = content.get("cdp_url")
    return metadata_text(
        content.get("metadata"), cdp_url=cdp_url if isinstance(cdp_url, str) else ""
    )


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
        migrations.RunPython(fill_metadata_text, migrations.RunPython.noop),
        migrations.RunPython(name_vanished_namespaces, migrations.RunPython.noop),
        migrations.RunPython(drop_report, migrations.RunPython.noop),
    ]
