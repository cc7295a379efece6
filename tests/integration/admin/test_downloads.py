"""Downloads of all sessions of a plan or run, in bounded memory and without endpoints."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

from django.contrib.auth.models import Permission, User
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from sessions_app.cleanup import plan_cleanup, run_cleanup
from sessions_app.mirror.registry import register_directory, sync_directory
from sessions_app.models import BrowserSession, CleanupRun
from sessions_app.session.criteria import Criteria
from tests.factories import ENDPOINT, SECRET, document_bytes, make_many, make_session

RUNS = "/admin/sessions_app/cleanuprun/"
COLUMNS = "namespace,name,browser_type,last_accessed,size_bytes,pinned,reasons"


def plan(**criteria: Any) -> CleanupRun:
    chosen = Criteria(**(criteria or {"expired": True, "invalid": True}))
    return plan_cleanup(chosen, trigger="admin", actor="operator")


def read(client: Client, run: CleanupRun, name: str = "sessions.csv") -> str:
    response = client.get(f"{RUNS}{run.pk}/{name}")
    assert response.streaming
    assert response["Content-Disposition"].startswith("attachment; filename=")
    return response.getvalue().decode()


def rows(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


def test_a_plan_is_downloaded_as_csv_with_reasons(as_viewer: Client) -> None:
    make_session("=cmd", namespace="@shop", session_id="", age=timedelta(days=400))
    make_session("fine")
    text = read(as_viewer, plan())
    assert text.splitlines()[0].replace('"', "") == COLUMNS
    (row,) = rows(text)
    assert (row["namespace"], row["name"], row["browser_type"]) == ("'@shop", "'=cmd", "chromium")
    assert set(row["reasons"].split()) == {"missing_session_id", "expired"}
    assert (row["pinned"], int(row["size_bytes"]) > 100) == ("False", True)


def test_a_plan_is_downloaded_as_one_json_object(as_viewer: Client) -> None:
    make_session("bad", session_id="")
    run = plan(invalid=True)
    content = json.loads(read(as_viewer, run, "sessions.json"))
    assert (content["run"], content["matched"]) == (run.pk, 1)
    assert content["as_of"] == run.as_of.isoformat()
    assert content["criteria"]["invalid"] is True
    (session,) = content["sessions"]
    assert list(session) == COLUMNS.split(",")
    assert session["reasons"] == ["missing_session_id"]


def test_an_empty_plan_can_be_downloaded(as_viewer: Client) -> None:
    run = plan()
    assert json.loads(read(as_viewer, run, "sessions.json"))["sessions"] == []
    assert rows(read(as_viewer, run)) == []


def test_a_download_has_removed_and_skipped_sessions(as_viewer: Client) -> None:
    make_session("gone", session_id="")
    kept = make_session("kept", session_id="")
    run = plan()
    BrowserSession.objects.filter(pk=kept.pk).update(is_pinned=True)
    run = run_cleanup(run)
    assert [row["name"] for row in rows(read(as_viewer, run))] == ["gone"]
    content = json.loads(read(as_viewer, run, "sessions.json"))
    because = "It was pinned after the preview."
    skipped = {"namespace": "shop", "name": "kept", "because": because}
    assert content["skipped"] == {"count": 1, "sessions": [{**skipped, "reason": "pinned"}]}
    assert rows(read(as_viewer, run, "skipped.csv")) == [skipped]
    html = as_viewer.get(f"{RUNS}{run.pk}/change/").content.decode()
    assert "It was pinned after the preview." in html
    assert f"{RUNS}{run.pk}/skipped.csv" in html


def test_five_thousand_sessions_are_streamed_in_few_queries(as_viewer: Client) -> None:
    make_many(5_000, session_id="")
    run = plan()
    names = list(BrowserSession.objects.order_by("pk").values_list("name", flat=True))

    def check(name: str, names_in: Callable[[str], list[str]]) -> None:
        with CaptureQueriesContext(connection) as queries:
            response = as_viewer.get(f"{RUNS}{run.pk}/{name}")
            begun = len(queries)
            parts = iter(response)
            head = [next(parts) for _ in range(10)]
            # The first lines are sent before the rest is read.
            assert len(queries) <= begun + 1
            text = b"".join([*head, *parts]).decode()
        assert len(queries) <= begun + 6
        assert not [query for query in queries if '"document"' in query["sql"] or "cdp_url" in query["sql"]]
        assert names_in(text) == names
        assert SECRET not in text

    check("sessions.csv", lambda text: [row["name"] for row in rows(text)])
    check("sessions.json", lambda text: [session["name"] for session in json.loads(text)["sessions"]])
    run = run_cleanup(run)
    check("sessions.csv", lambda text: [row["name"] for row in rows(text)])


def test_downloads_mask_endpoints_in_every_field(as_viewer: Client) -> None:
    make_session("bad", session_id="", browser_type=ENDPOINT, metadata={"url": ENDPOINT})
    run = plan()
    files = ("sessions.csv", "sessions.json")
    assert not [name for name in files if SECRET in read(as_viewer, run, name)]
    run = run_cleanup(run)
    assert not [name for name in (*files, "skipped.csv") if SECRET in read(as_viewer, run, name)]


def test_a_download_requires_permission_to_view_its_sessions(client: Client, outsider: User) -> None:
    make_session("bad", session_id="")
    make_session("worse", session_id="")
    planned = plan(session_ids=(BrowserSession.objects.order_by("pk")[0].pk,))
    ended = run_cleanup(plan())
    client.force_login(outsider)
    for name in ("sessions.csv", "sessions.json", "skipped.csv"):
        assert client.get(f"{RUNS}{planned.pk}/{name}").status_code == 302
    outsider.is_staff = True
    outsider.save()
    granted: list[str] = []
    for permission, may_read in (
        ("view_cleanuprun", (False, False)),
        ("view_browsersession", (True, False)),
        ("view_archivedsession", (True, True)),
    ):
        granted.append(permission)
        outsider.user_permissions.set(Permission.objects.filter(codename__in=granted))
        client.force_login(outsider)
        answers = [client.get(f"{RUNS}{run.pk}/sessions.csv").status_code for run in (planned, ended)]
        assert answers == [200 if allowed else 403 for allowed in may_read]


def test_skipped_sessions_require_permission_to_view_sessions(client: Client, viewer: User) -> None:
    kept = make_session("left-behind", session_id="")
    run = plan()
    BrowserSession.objects.filter(pk=kept.pk).update(is_pinned=True)
    run_cleanup(run)
    viewer.user_permissions.remove(Permission.objects.get(codename="view_browsersession"))
    client.force_login(viewer)
    assert client.get(f"{RUNS}{run.pk}/skipped.csv").status_code == 403
    content = json.loads(read(client, run, "sessions.json"))
    assert content["skipped"] == {"count": 1, "sessions": None}
    assert "left-behind" not in client.get(f"{RUNS}{run.pk}/change/").content.decode()


def test_a_session_that_another_run_removed_names_that_run(as_viewer: Client) -> None:
    make_session("taken", session_id="")
    late, early = plan(), plan()
    run_cleanup(early)
    run_cleanup(late)
    (skipped,) = rows(read(as_viewer, late, "skipped.csv"))
    assert (skipped["name"], skipped["because"]) == ("taken", f"Run {early.pk} had already removed it.")


def test_a_session_with_a_rewritten_file_is_skipped_with_a_reason(as_viewer: Client, tmp_path: Path) -> None:
    file = tmp_path / "mirrored.json"
    file.write_bytes(document_bytes(session_id=""))
    sync_directory(register_directory(tmp_path), trigger="command")
    run = plan()
    file.write_bytes(document_bytes())
    run_cleanup(run)
    (skipped,) = rows(read(as_viewer, run, "skipped.csv"))
    assert (skipped["name"], skipped["because"]) == (
        "mirrored",
        "Its file was written again after the preview.",
    )


def test_a_missing_run_has_no_download(as_viewer: Client) -> None:
    assert as_viewer.get(f"{RUNS}999999/sessions.csv").status_code == 404
