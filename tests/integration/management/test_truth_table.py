"""Real documents through all commands: synced, evaluated and cleaned up, as files and as rows."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from django.db import connection

from sessions_app.models import ArchivedSession, CleanupRun
from tests.clients import Outcome, run
from tests.factories import AS_OF, PROJECT_DIR, copy_session_files, live, names_in, truth_table

pytestmark = pytest.mark.django_db


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The files of the truth table, synced."""
    folder = copy_session_files(tmp_path / "sessions")
    assert run("sync_directories", folder).status == 0
    return folder


def problems_by_name(outcome: Outcome) -> dict[str, list[str]]:
    return {session["name"]: session["problems"] for session in outcome.json["sessions"]}


def test_validate_lists_the_problems_of_every_file(folder: Path) -> None:
    outcome = run("validate_sessions", "--format", "json", "--as-of", AS_OF)
    assert problems_by_name(outcome) == {name: row["problems"] for name, row in truth_table().items()}
    sizes = {session["name"]: session["size_bytes"] for session in outcome.json["sessions"]}
    assert sizes == {name: row["bytes"] for name, row in truth_table().items()}


@pytest.mark.parametrize("criterion", ["expired", "invalid"])
def test_a_cleanup_removes_exactly_the_marked_sessions_and_their_files(folder: Path, criterion: str) -> None:
    marked = {name for name, row in truth_table().items() if row[f"removed_by_{criterion}"]}
    outcome = run("cleanup_sessions", f"--{criterion}", "--as-of", AS_OF, "--format", "json")
    assert outcome.status == 0
    assert outcome.json["matched"] == outcome.json["removed"] == len(marked)
    assert outcome.json["bytes"] == sum(truth_table()[name]["bytes"] for name in marked)
    assert live() == names_in(folder) == sorted(set(truth_table()) - marked)
    assert set(ArchivedSession.objects.values_list("name", flat=True)) == marked


@pytest.mark.parametrize("criterion", ["expired", "invalid"])
def test_a_dry_run_removes_nothing_and_reports_what_the_run_does(folder: Path, criterion: str) -> None:
    arguments = ("cleanup_sessions", f"--{criterion}", "--as-of", AS_OF, "--format", "json")
    preview = run(*arguments, "--dry-run").json
    assert live() == names_in(folder) == sorted(truth_table())
    assert CleanupRun.objects.get(pk=preview["run"]).state == CleanupRun.State.PLANNED
    assert (preview["dry_run"], preview["removed"]) == (True, 0)
    done = run(*arguments).json
    assert {**preview, "run": done["run"], "dry_run": False, "removed": done["matched"]} == done


def test_an_expiry_cleanup_removes_what_the_list_shows_as_expired(folder: Path) -> None:
    listed = run("list_sessions", "--expired", "--as-of", AS_OF, "--format", "json").json["sessions"]
    marked = {name for name, row in truth_table().items() if row["removed_by_expired"]}
    assert {session["name"] for session in listed} == marked
    assert all(session["expired"] for session in listed)


@pytest.mark.django_db(transaction=True)
def test_the_commands_work_from_a_shell(tmp_path: Path) -> None:
    folder = copy_session_files(tmp_path / "sessions")
    manage(tmp_path, "sync_directories", str(folder))
    as_of = ("--as-of", AS_OF.isoformat())
    report = json.loads(manage(tmp_path, "validate_sessions", "--format", "json", *as_of).stdout)
    assert {session["name"]: session["problems"] for session in report["sessions"]} == {
        name: row["problems"] for name, row in truth_table().items()
    }
    manage(tmp_path, "cleanup_sessions", "--expired", *as_of)
    left = [name for name, row in truth_table().items() if not row["removed_by_expired"]]
    assert names_in(folder) == sorted(left)
    refused = manage(tmp_path, "cleanup_sessions", status=2)
    assert "No criterion was given" in refused.stderr
    assert not refused.stdout
    manage(tmp_path, "list_sessions", "--format", "xml", status=2)


@pytest.mark.django_db(transaction=True)
def test_a_closed_pipe_is_not_an_error(tmp_path: Path) -> None:
    run("demo_sessions", tmp_path / "demo", "--count", "3000", "--as-of", AS_OF)
    run("sync_directories", tmp_path / "demo")
    process = subprocess.run(
        ["sh", "-c", f"'{sys.executable}' manage.py list_sessions | head -n 1"],
        cwd=PROJECT_DIR,
        env=shell(tmp_path),
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert len(process.stdout.splitlines()) == 1
    assert process.stderr == ""


def manage(tmp_path: Path, *arguments: str, status: int = 0) -> subprocess.CompletedProcess[str]:
    """Run manage.py with the database of the tests."""
    process = subprocess.run(
        [sys.executable, "manage.py", *arguments],
        cwd=PROJECT_DIR,
        env=shell(tmp_path),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert process.returncode == status, process.stderr
    return process


def shell(tmp_path: Path) -> dict[str, str]:
    """Return the environment of a shell for the database of the tests."""
    database = connection.settings_dict
    url = f"sqlite:///{database['NAME']}"
    if connection.vendor != "sqlite":
        user = ":".join(filter(None, (database["USER"], database["PASSWORD"])))
        url = f"postgres://{user}@{database['HOST']}:{database['PORT']}/{database['NAME']}"
    return {**os.environ, "RAPTOR_VAR_DIR": str(tmp_path / "var"), "RAPTOR_DATABASE_URL": url}
