"""A large document is parsed before the transaction that stores it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from django.db import connection

from sessions_app.client import writer
from sessions_app.client.store import SessionStore, open_store
from sessions_app.models import BrowserSession
from sessions_app.session.document import parse_document
from tests.factories import document

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.mark.parametrize("is_folder", [False, True], ids=["namespace", "folder"])
def test_saving_and_touching_parse_outside_of_transactions(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_folder: bool
) -> None:
    parsed: list[bool] = []

    def parse(data: bytes, **options: Any) -> Any:
        parsed.append(connection.in_atomic_block)
        return parse_document(data, **options)

    monkeypatch.setattr(writer, "parse_document", parse)
    store: SessionStore = open_store(namespace="own", storage_dir=tmp_path if is_folder else None)
    content = document()
    store.save("login", content)
    saved = BrowserSession.objects.get(name="login")
    store.save("login", {**content, "metadata": {"a": "b"}})
    store.touch("login")
    again = BrowserSession.objects.get(name="login")
    assert parsed
    assert not any(parsed)
    assert again.created_at == saved.created_at
    assert again.last_accessed is not None
    assert saved.last_accessed is not None
    assert again.last_accessed >= saved.last_accessed
    # The columns are those of the document.
    times = parse_document(bytes(again.document), time_zone=None)  # type: ignore[arg-type]  # all are aware
    assert (times.created_at, times.last_accessed) == (again.created_at, again.last_accessed)


def test_a_document_that_changes_while_it_is_parsed_keeps_its_change(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = open_store(namespace=None, storage_dir=tmp_path)
    store.save("login", document())
    path = tmp_path / "login.json"
    changed = path.read_bytes().replace(b'"browser_type"', b'"note": 1, "browser_type"')
    writes = iter([changed])

    def parse(data: bytes, **options: Any) -> Any:
        for content in writes:
            path.write_bytes(content)
        return parse_document(data, **options)

    monkeypatch.setattr(writer, "parse_document", parse)
    store.touch("login")
    assert b'"note": 1' in path.read_bytes()
