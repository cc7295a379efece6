from __future__ import annotations

import csv
import io
import json
import shutil
from collections import Counter
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from django.conf import settings
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client
from django.urls import reverse

from sessions_app.admin.streaming import escape_formula
from sessions_app.cleanup import plan_cleanup, run_cleanup
from sessions_app.mirror.registry import register_directory, sync_directory
from sessions_app.models import BrowserSession
from sessions_app.reports import storage_report
from sessions_app.session.criteria import Criteria
from sessions_app.session.document import BROWSER_TYPES
from sessions_app.session.problems import Problem
from tests.factories import AS_OF, SECRET, make_session

FILES = Path(settings.BASE_DIR) / "tests" / "session_files"
pytestmark = pytest.mark.django_db


@pytest.fixture
def mirrored(tmp_path: Path) -> None:
    shutil.copytree(FILES / "sessions", tmp_path / "sessions")
    sync_directory(register_directory(tmp_path / "sessions", namespace="files"), trigger="command")


@pytest.mark.usefixtures("mirrored")
def test_the_numbers_match_the_truth_table() -> None:
    truth = json.loads((FILES / "expected.json").read_text())
    as_of = datetime.fromisoformat(truth["as_of"])
    report = storage_report(as_of=as_of, max_age_days=7).to_json()
    files = truth["files"].values()
    assert report["sessions"] == len(files)
    assert report["bytes"] == sum(file["bytes"] for file in files)
    assert report["expired"] == sum(file["removed_by_expired"] for file in files)
    assert report["invalid"] == sum(bool(file["problems"]) for file in files)
    assert report["would_free"] == {
        name: {"sessions": len(taken), "bytes": sum(file["bytes"] for file in taken)}
        for name, taken in {
            "expired": [file for file in files if file["removed_by_expired"]],
            "invalid": [file for file in files if file["removed_by_invalid"]],
            "either": [f for f in files if f["removed_by_expired"] or f["removed_by_invalid"]],
        }.items()
    }
    problems = Counter(code for file in files for code in file["problems"])
    assert {line["problem"]: line["sessions"] for line in report["by_problem"]} == {
        problem.code: problems[problem.code] for problem in Problem
    }
    sizes = sorted((file["bytes"] for file in files), reverse=True)
    assert [session["size_bytes"] for session in report["largest"]] == sizes[:20]
    for grouping in ("by_namespace", "by_browser_type", "by_age"):
        assert sum(line["sessions"] for line in report[grouping]) == report["sessions"]
        assert sum(line["bytes"] for line in report[grouping]) == report["bytes"]


@pytest.mark.usefixtures("mirrored")
def test_the_groups_match_a_count_in_python() -> None:
    def age(session: BrowserSession) -> str:
        if session.is_corrupted or session.created_at is None or session.last_accessed is None:
            return "unreadable"
        days = (AS_OF - session.last_accessed) / timedelta(days=1)
        if days < 0:
            return "in_the_future"
        for limit, name in ((1, "under_1_day"), (7, "1_to_7_days"), (30, "7_to_30_days")):
            if days <= limit:
                return name
        return "over_30_days"

    sessions = BrowserSession.objects.all()
    types = Counter(s.browser_type if s.browser_type in BROWSER_TYPES else "other" for s in sessions)
    report = storage_report(as_of=AS_OF, max_age_days=7)
    assert {name: total.sessions for name, total in report.by_browser_type.items() if total.sessions} == types
    ages = Counter(map(age, sessions))
    assert {name: total.sessions for name, total in report.by_age.items() if total.sessions} == ages


def test_pinned_and_archived_sessions_are_counted_separately() -> None:
    make_session("old", age=timedelta(days=8))
    make_session("kept", age=timedelta(days=8), is_pinned=True)
    make_session("bad", session_id="")
    run = run_cleanup(plan_cleanup(Criteria(invalid=True), trigger="command"))
    report = storage_report(as_of=AS_OF, max_age_days=7)
    assert (report.live.sessions, report.expired.sessions, report.pinned.sessions) == (2, 2, 1)
    assert report.would_free["expired"].sessions == 1
    assert report.archived.to_json() == {"sessions": 1, "bytes": run.removed_bytes}


def test_a_cleanup_frees_what_the_report_predicts() -> None:
    for days in (1, 6, 7, 8, 30):
        make_session(age=timedelta(days=days), session_id="" if days % 2 else "x", is_pinned=days == 30)
    expected = storage_report(as_of=AS_OF, max_age_days=7).would_free["either"]
    run = run_cleanup(plan_cleanup(Criteria(expired=True, invalid=True), trigger="command", as_of=AS_OF))
    assert (run.removed_count, run.removed_bytes) == (expected.sessions, expected.bytes)


@pytest.mark.parametrize("sessions", [0, 1, 40])
def test_it_takes_three_queries(sessions: int, django_assert_num_queries: object) -> None:
    for n in range(sessions):
        make_session(namespace=f"n{n}")
    # PostgreSQL needs a query for its size on disk; SQLite's file does not.
    with django_assert_num_queries(3 + (connection.vendor == "postgresql")):  # type: ignore[operator]
        report = storage_report(as_of=AS_OF, max_age_days=7)
    assert len(report.by_namespace) == sessions


def test_an_empty_database_has_a_report() -> None:
    report = storage_report(as_of=AS_OF, max_age_days=7).to_json()
    assert (report["sessions"], report["bytes"], report["by_namespace"], report["largest"]) == (0, 0, [], [])
    assert report["archived"] == {"sessions": 0, "bytes": 0}
    assert [line["age"] for line in report["by_age"]][-1] == "unreadable"
    assert json.loads(json.dumps(report)) == report


def test_the_page_and_the_downloads_agree(client: Client, viewer: User) -> None:
    make_session("one", namespace="=cmd|x")
    make_session("old", age=timedelta(days=300), session_id="")
    client.force_login(viewer)
    assert "Storage report" in client.get(reverse("admin:sessions_app_storage")).content.decode()
    answer = client.get(reverse("admin:sessions_app_storage_json"))
    assert "attachment" in answer["Content-Disposition"]
    assert answer.json()["sessions"] == 2
    text = client.get(reverse("admin:sessions_app_storage_csv")).content.decode()
    rows = list(csv.DictReader(io.StringIO(text)))
    assert {"section": "total", "name": "sessions", "sessions": "2"}.items() <= rows[0].items()
    assert "'=cmd|x" in [row["name"] for row in rows]
    assert SECRET not in text
    assert SECRET not in answer.content.decode()


def test_the_page_shows_the_size_on_disk_and_of_the_documents(client: Client, viewer: User) -> None:
    make_session("one")
    report = storage_report(as_of=AS_OF, max_age_days=7)
    assert (report.disk_bytes or 0) > report.live.bytes
    client.force_login(viewer)
    page = client.get(reverse("admin:sessions_app_storage")).content.decode()
    assert "A cleanup does not shrink it" in page
    assert client.get(reverse("admin:sessions_app_storage_json")).json()["disk_bytes"] > 0
    text = client.get(reverse("admin:sessions_app_storage_csv")).content.decode()
    assert int(text.splitlines()[-1].removeprefix("total,on_disk,,")) > 0


def test_the_page_of_an_empty_panel_says_so(client: Client, viewer: User) -> None:
    client.force_login(viewer)
    assert "There are no sessions yet." in client.get(reverse("admin:sessions_app_storage")).content.decode()


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@x", " =1", "\t=1", "\r=1"])
def test_text_in_a_csv_file_is_not_read_as_a_formula(text: str) -> None:
    assert escape_formula(text) == f"'{text}"
    assert escape_formula("plain") == "plain"
