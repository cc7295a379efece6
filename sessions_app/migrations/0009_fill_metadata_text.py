"""Takes the text that is searched out of the documents that are there; says of runs over vanished files in
which namespace these were, so that a limit of it holds for them; and drops the report of before."""

import codecs
import json
import re
from typing import Any

from django.db import migrations

# The present mask, not a copy: a search must never find what a later mask hides.
from sessions_app.session.endpoint import mask_endpoints

METADATA_LENGTH = 1_000
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")

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
    """Return the values in the metadata of a document as a text, endpoints masked."""
    try:
        content = json.loads(document.removeprefix(codecs.BOM_UTF8).decode())
    except (ValueError, RecursionError):
        return ""
    metadata = content.get("metadata") if isinstance(content, dict) else None
    if not isinstance(metadata, dict):
        return ""
    text = " ".join(_values_in(metadata))
    if len(text) > 2 * METADATA_LENGTH:
        # Cut at a space: half an endpoint would not be masked.
        text = text[: 2 * METADATA_LENGTH].rpartition(" ")[0]
    text = _CONTROL.sub(lambda found: found[0].encode("unicode_escape").decode("ascii"), text)
    cdp_url = content.get("cdp_url")
    text = mask_endpoints(text, cdp_url=cdp_url if isinstance(cdp_url, str) else "")[:METADATA_LENGTH]
    return text.encode("utf-8", "replace").decode().strip()


def _values_in(metadata: dict[str, Any]) -> list[str]:
    """Return texts, numbers and booleans, deeper ones last, without those named cdp_url."""
    values: list[str] = []
    left: list[Any] = [metadata]
    while left and len(values) < METADATA_LENGTH:
        container = left.pop(0)
        if isinstance(container, dict):
            container = [value for key, value in container.items() if key.lower() != "cdp_url"]
        for value in container:
            if isinstance(value, str):
                values.append(value)
            elif isinstance(value, (dict, list)):
                left.append(value)
            elif value is not None:
                values.append(str(value).lower())
    return values


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
