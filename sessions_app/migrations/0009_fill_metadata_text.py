"""Takes the text that is searched out of the documents that are there, and drops the report of before."""

from typing import Any

from django.db import migrations

from sessions_app import documents

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
    content = documents.read(document) or {}
    cdp_url = content.get("cdp_url")
    return documents.metadata_text(
        content.get("metadata"), cdp_url=cdp_url if isinstance(cdp_url, str) else ""
    )


def drop_report(apps: Any, schema_editor: Any) -> None:
    apps.get_model("sessions_app", "StorageSnapshot").objects.update(report=None)


class Migration(migrations.Migration):
    dependencies = [("sessions_app", "0008_limits_history_metadata")]

    operations = [
        migrations.RunPython(fill_metadata_text, migrations.RunPython.noop),
        migrations.RunPython(drop_report, migrations.RunPython.noop),
    ]
