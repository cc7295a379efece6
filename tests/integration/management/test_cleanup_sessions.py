"""Cleanups by command: what they remove, report and refuse."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db.models import QuerySet

from sessions_app.cleanup import batches, files, runs
from sessions_app.models import ArchivedSession, BrowserSession, CleanupRun
from tests.clients import run
from tests.factories import AS_OF, names_in, sync_four_sessions

pytestmark = pytest.mark.django_db


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return sync_four_sessions(tmp_path / "sessions")


def test_no_criterion_is_refused(folder: Path) -> None:
    outcome = run("cleanup_sessions", "--namespace", "default")
    assert outcome.status == 2
    assert "No criterion was given" in outcome.err
    assert not CleanupRun.objects.exists()


def test_the_json_report_is_stable(folder: Path) -> None:
    report = run("cleanup_sessions", "--expired", "--invalid", "--as-of", AS_OF, "--format", "json").json
    ledger = CleanupRun.objects.get()
    assert report == {
        "run": ledger.pk,
        "dry_run": False,
        "as_of": AS_OF.isoformat(),
        "matched": 2,
        "removed": 2,
        "skipped": 0,
        "bytes": sum(ArchivedSession.objects.values_list("size_bytes", flat=True)),
        "reasons": {"expired": 1, "missing_session_id": 1, "missing_cdp_url": 1},
    }
    assert list(report["reasons"]) == ["expired", "missing_session_id", "missing_cdp_url"]


def test_the_text_shows_each_reason_and_the_bytes(folder: Path) -> None:
    outcome = run("cleanup_sessions", "--invalid", "--as-of", AS_OF)
    freed = ArchivedSession.objects.get().size_bytes
    assert "1 session moved to the archive." in outcome.out
    assert "1  The session id is missing. (missing_session_id)" in outcome.out
    assert f"After: {sum(BrowserSession.objects.values_list('size_bytes', flat=True))} bytes." in outcome.out
    assert f"Freed: {freed} bytes." in outcome.out


def test_the_actor_is_the_user_of_the_system(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOGNAME", "carol")
    run("cleanup_sessions", "--invalid")
    assert CleanupRun.objects.values_list("trigger", "actor").get() == ("command", "carol")


def test_a_user_without_a_name_may_clean_up(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_name() -> str:
        raise KeyError("getpwuid(): uid not found: 4711")

    monkeypatch.setattr("getpass.getuser", no_name)
    assert run("cleanup_sessions", "--invalid").status == 0
    assert CleanupRun.objects.get().actor == ""


def test_the_maximum_age_and_the_scope_limit_the_removal(folder: Path) -> None:
    arguments = ("cleanup_sessions", "--expired", "--as-of", AS_OF, "--format", "json")
    assert run(*arguments, "--max-age-days", "60").json["matched"] == 0
    assert run(*arguments, "--namespace", "another").json["matched"] == 0
    assert run(*arguments, "--browser-type", "webkit").json["matched"] == 0
    assert run(*arguments, "--max-age-days", "0.01", "--browser-type", "chromium").json["matched"] == 3


def test_a_run_without_matches_is_reported(folder: Path) -> None:
    outcome = run("cleanup_sessions", "--expired", "--namespace", "another")
    assert "nothing to remove" in outcome.out
    assert "in namespace another" in outcome.out


@pytest.mark.parametrize("age", ["0", "-1", "nan", "40000"])
def test_an_impossible_age_is_refused(folder: Path, age: str) -> None:
    outcome = run("cleanup_sessions", "--expired", f"--max-age-days={age}")
    assert (outcome.status, CleanupRun.objects.count()) == (2, 0)
    assert "is not possible" in outcome.err


@pytest.mark.parametrize("time", ["yesterday", "", "0001-01-01T00:00:00+00:00", "9999-12-31"])
def test_a_time_that_cannot_be_read_is_refused(folder: Path, time: str) -> None:
    outcome = run("cleanup_sessions", "--expired", f"--as-of={time}")
    assert (outcome.status, CleanupRun.objects.count()) == (2, 0)


def test_a_time_without_an_offset_is_in_the_time_zone(folder: Path, settings: Any) -> None:
    settings.TIME_ZONE = "Asia/Kolkata"
    report = run("cleanup_sessions", "--invalid", "--as-of", "2026-11-22T17:30:00", "--format", "json").json
    assert report["as_of"] == "2026-11-22T12:00:00+00:00"


def test_an_empty_scope_is_reported_and_succeeds(folder: Path) -> None:
    outcome = run("cleanup_sessions", "--expired", "--namespace", "shpo", "--browser-type", "opera")
    assert outcome.status == 0
    assert "No session is in the namespace shpo." in outcome.err
    assert "No session has the browser type opera." in outcome.err
    assert "warning" not in run("cleanup_sessions", "--expired", "--namespace", "default").err


def test_skipped_sessions_are_listed_with_the_reason(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run_cleanup = runs.run_cleanup

    def pin_first(ledger: CleanupRun, **options: Any) -> CleanupRun:
        BrowserSession.objects.get(name="old").save()
        BrowserSession.objects.filter(name="old").update(is_pinned=True)
        return run_cleanup(ledger, **options)

    monkeypatch.setattr("sessions_app.management.commands.cleanup_sessions.run_cleanup", pin_first)
    outcome = run("cleanup_sessions", "--expired", "--as-of", AS_OF)
    assert "1 session changed after the preview" in outcome.out
    assert "default/old: It was pinned after the preview." in outcome.out


def test_a_run_stopped_by_the_user_can_be_resumed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batches, "FIRST_ROWS", 5)
    run("demo_sessions", tmp_path / "demo", "--count", "12", "--as-of", AS_OF)
    run("sync_directories", tmp_path / "demo")
    before = signal.getsignal(signal.SIGINT)
    remove_files = files.remove_files

    def press_control_c(archived: QuerySet[ArchivedSession]) -> list[str]:
        signal.raise_signal(signal.SIGINT)
        return remove_files(archived)

    monkeypatch.setattr(runs, "remove_files", press_control_c)
    outcome = run("cleanup_sessions", "--all", "--yes")
    ledger = CleanupRun.objects.get()
    assert ledger.state == CleanupRun.State.INTERRUPTED
    assert ledger.removed_count == ArchivedSession.objects.count() == 5
    assert len(names_in(tmp_path / "demo")) == BrowserSession.objects.count() == 7
    assert outcome.status == 1
    assert "5 of 12 sessions were removed" in outcome.err
    assert signal.getsignal(signal.SIGINT) is before
    monkeypatch.undo()
    assert runs.run_cleanup(ledger).removed_count == 12


def test_files_that_cannot_be_removed_are_a_reported_failure(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def denied(*args: Any, **kwargs: Any) -> bool:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("sessions_app.cleanup.files.remove", denied)
    outcome = run("cleanup_sessions", "--invalid", "--format", "json")
    assert outcome.status == 1
    assert outcome.json["removed"] == 1
    assert "could not be removed (Permission denied)" in outcome.err


def test_an_error_of_the_database_shows_no_endpoint(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from django.db import DatabaseError

    def fail(*args: Any, **kwargs: Any) -> None:
        raise DatabaseError("Failing row contains (1, ws://127.0.0.1:9222/devtools/browser/secret).")

    monkeypatch.setattr("sessions_app.management.commands.cleanup_sessions.plan_cleanup", fail)
    with pytest.raises(CommandError) as caught:
        call_command("cleanup_sessions", "--invalid")
    assert "secret" not in str(caught.value)
    assert "Failing row" in str(caught.value)
