"""The filtered list as CSV and JSON."""

from __future__ import annotations

import csv
import io
import json
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client

from sessions_app.admin.sessions import exports
from sessions_app.models import LimitedNamespace
from tests.clients import LIST, set_bounds
from tests.factories import ENDPOINT, INVALID, OLD, SECRET, make_session, make_sessions

pytestmark = pytest.mark.django_db


def read_csv(client: Client, query: str = "") -> list[dict[str, str]]:
    response = client.get(f"{LIST}export.csv?{query}")
    assert response.streaming
    return list(csv.DictReader(io.StringIO(response.getvalue().decode())))


def read_json(client: Client, query: str = "") -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(client.get(f"{LIST}export.json?{query}").getvalue())["sessions"]
    return found


def test_the_files_have_the_rows_of_the_list_in_its_order(as_viewer: Client) -> None:
    make_session("b", **OLD, is_pinned=True)
    make_session("a", **OLD, **INVALID)
    make_session("c")
    assert [row["name"] for row in read_csv(as_viewer, "o=1")] == ["a", "b", "c"]
    assert [row["name"] for row in read_json(as_viewer, "o=-1&expired=yes")] == ["b", "a"]
    (row,) = read_json(as_viewer, "problem=any")
    assert (row["expired"], row["pinned"], row["problems"]) == (True, False, ["missing_session_id"])
    assert row["host"] == "127.0.0.1:9222"


def test_the_files_have_the_chosen_columns(as_viewer: Client) -> None:
    make_session("one", metadata={"user": "=ada()", "env": "ci"})
    assert "metadata.user" not in read_json(as_viewer)[0]
    as_viewer.post(f"{LIST}columns/", {"column": ["user"]})
    assert read_csv(as_viewer)[0]["metadata.user"] == "'=ada()"
    assert read_json(as_viewer)[0]["metadata.user"] == "=ada()"


def test_no_file_has_an_endpoint(as_root: Client) -> None:
    make_session("one", metadata={"note": ENDPOINT}, browser_type=ENDPOINT)
    as_root.post(f"{LIST}columns/", {"column": ["note"]})
    for name in ("export.csv", "export.json"):
        assert SECRET not in as_root.get(f"{LIST}{name}").getvalue().decode()


@pytest.mark.parametrize("chunk", [3, 1_000])
def test_a_truncated_list_is_exported_completely(
    as_viewer: Client, monkeypatch: pytest.MonkeyPatch, chunk: int
) -> None:
    monkeypatch.setattr(exports, "CHUNK_ROWS", chunk)
    make_sessions(8)
    assert len(read_csv(as_viewer, "pinned=no")) == 8
    set_bounds(monkeypatch, BOUND=5, READ_BOUND=5)
    assert len(read_csv(as_viewer, "pinned=no")) == len(read_json(as_viewer)) == 8


@pytest.mark.parametrize("query", ["expired=sometimes", "cdp_url__startswith=ws", "directory__path=x"])
def test_an_unknown_filter_is_refused(as_viewer: Client, query: str) -> None:
    for name in ("export.csv", "export.json"):
        assert as_viewer.get(f"{LIST}{name}?{query}").status_code == 400


def test_hidden_namespaces_are_left_out(
    as_viewer: Client, viewer: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_sessions(4)
    make_session("hidden", namespace="secret")
    LimitedNamespace.objects.create(namespace="secret")
    assert len(read_csv(as_viewer)) == 4
    assert read_csv(as_viewer, "namespace=secret") == []
    set_bounds(monkeypatch, BOUND=2, READ_BOUND=2)
    assert len(read_csv(as_viewer)) == 4
    viewer.user_permissions.clear()
    assert as_viewer.get(f"{LIST}export.csv").status_code == 403
