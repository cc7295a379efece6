"""Reads the columns of the stored documents again: endpoints are bounded now, and secrets masked in the others."""

from datetime import timezone
from typing import Any

from django.db import migrations, transaction

# The present mask, not a copy: a search must never find what a later mask hides.
from sessions_app.session.document import parse_document

COLUMNS = ("session_id", "cdp_url", "browser_type")
# Documents may have megabytes.
CHUNK_ROWS = 20


def read_columns_again(apps: Any, schema_editor: Any) -> None:
    for name in ("BrowserSession", "ArchivedSession"):
        model = apps.get_model("sessions_app", name)
        rows = model.objects.filter(is_corrupted=False).exclude(document=b"").order_by("pk")
        values = rows.values_list("pk", "document", *COLUMNS)
        chunk = list(values[:CHUNK_ROWS])
        while chunk:
            _write(model._meta.db_table, schema_editor.connection, chunk)
            chunk = list(values.filter(pk__gt=chunk[-1][0])[:CHUNK_ROWS])


def _write(table: str, connection: Any, chunk: list[Any]) -> None:
    # With SQL: the sessions have not changed, so plans that list them stay valid.
    assignments = ", ".join(f"{column} = %s" for column in COLUMNS)
    statement = f"UPDATE {connection.ops.quote_name(table)} SET {assignments} WHERE id = %s"
    changed = []
    for pk, document, *before in chunk:
        fields = parse_document(bytes(document), time_zone=timezone.utc)
        after = [getattr(fields, column) for column in COLUMNS]
        if after != before and not fields.is_corrupted:
            changed.append([*after, pk])
    if changed:
        with transaction.atomic(using=connection.alias), connection.cursor() as cursor:
            cursor.executemany(statement, changed)


class Migration(migrations.Migration):
    dependencies = [("sessions_app", "0013_invalid_cdp_url")]

    # Each chunk commits alone. A migration that was interrupted can be repeated.
    atomic = False

    operations = [migrations.RunPython(read_columns_again, migrations.RunPython.noop)]
