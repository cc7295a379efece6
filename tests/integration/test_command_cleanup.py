from __future__ import annotations

import io
import signal
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db.models import QuerySet

from sessions_app.cleanup import batches, files, runs
from sessions_app.models import ArchivedSession, BrowserSession, CleanupPolicy, CleanupRun
from tests.integration.commands import AS_OF, PROJECT_DIR, names_in, run, write
from tests.integration.sessions import forget_sessions

pytestmark = pytest.mark.django_db

OLD = "2026-10-01T11:00:00+00:00"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Four sessions: a good one, an old one, an invalid one, and an old one that is pinned."""
    folder = tmp_path / "sessions"
    write(folder, "good")
    write(folder, "old", last_accessed=OLD)
    write(folder, "invalid", cdp_url="", session_id="")
    write(folder, "pinned", last_accessed=OLD)
    run("sync_directories", folder)
    BrowserSession.objects.filter(name="pinned").update(is_pinned=True)
    return folder


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_nothing_named_is_refused(folder: Path) -> None:
    outcome = run("cleanup_sessions", "--namespace", "default")
    assert outcome.status == 2
    assert "Nothing to clean up was named" in outcome.err
    assert not CleanupRun.objects.exists()


def test_the_report_has_what_scripts_rely_on(folder: Path) -> None:
    report = run("cleanup_sessions", "--expired", "--invalid", "--as-of", AS_OF, "--format", "json").json
    ledger = CleanupRun.objects.get()
    assert report == {
        "run": ledger.pk,
        "dry_run": False,
        "as_of": AS_OF,
        "matched": 2,
        "removed": 2,
        "skipped": 0,
        "bytes": sum(ArchivedSession.objects.values_list("size_bytes", flat=True)),
        "reasons": {"expired": 1, "missing_session_id": 1, "missing_cdp_url": 1},
    }
    assert list(report["reasons"]) == ["expired", "missing_session_id", "missing_cdp_url"]


def test_the_text_tells_each_reason_and_the_bytes(folder: Path) -> None:
    outcome = run("cleanup_sessions", "--invalid", "--as-of", AS_OF)
    freed = ArchivedSession.objects.get().size_bytes
    assert "1 session removed, into the archive." in outcome.out
    assert "1  The session id is missing. (missing_session_id)" in outcome.out
    assert f"After: {sum(BrowserSession.objects.values_list('size_bytes', flat=True))} bytes." in outcome.out
    assert f"Freed: {freed} bytes." in outcome.out


def test_the_ledger_names_the_user_of_the_system(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOGNAME", "carol")
    run("cleanup_sessions", "--invalid")
    assert CleanupRun.objects.values_list("trigger", "actor").get() == ("command", "carol")


def test_a_user_without_a_name_may_clean_up(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_name() -> str:
        raise KeyError("getpwuid(): uid not found: 4711")

    monkeypatch.setattr("getpass.getuser", no_name)
    assert run("cleanup_sessions", "--invalid").status == 0
    assert CleanupRun.objects.get().actor == ""


def test_the_maximum_age_and_the_scope_limit_what_goes(folder: Path) -> None:
    arguments = ("cleanup_sessions", "--expired", "--as-of", AS_OF, "--format", "json")
    assert run(*arguments, "--max-age-days", "60").json["matched"] == 0
    assert run(*arguments, "--namespace", "another").json["matched"] == 0
    assert run(*arguments, "--browser-type", "webkit").json["matched"] == 0
    assert run(*arguments, "--max-age-days", "0.01", "--browser-type", "chromium").json["matched"] == 3


def test_nothing_that_matches_is_told_plainly(folder: Path) -> None:
    outcome = run("cleanup_sessions", "--expired", "--namespace", "another")
    assert "nothing to remove" in outcome.out
    assert "in namespace another" in outcome.out


@pytest.mark.parametrize("age", ["0", "-1", "nan", "40000"])
def test_an_age_that_cannot_be_is_refused(folder: Path, age: str) -> None:
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


class TestAll:
    def test_is_refused_where_nobody_can_be_asked(
        self, folder: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("sys.stdin", io.StringIO("4\n"))
        outcome = run("cleanup_sessions", "--all")
        assert (outcome.status, BrowserSession.objects.count()) == (2, 4)
        assert "--yes" in outcome.err

    def test_takes_everything_with_yes(self, folder: Path) -> None:
        report = run("cleanup_sessions", "--all", "--yes", "--format", "json").json
        assert (report["removed"], report["reasons"]["all"]) == (4, 4)
        assert names_in(folder) == set()

    def test_asks_for_the_number_and_tells_the_pinned_ones(
        self, folder: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("sys.stdin", Terminal("4\n"))
        outcome = run("cleanup_sessions", "--all", "--format", "json")
        assert "4 sessions, 1 of them pinned" in outcome.err
        assert outcome.json["removed"] == 4

    def test_tells_what_cannot_be_undone_before_it_asks(
        self, folder: Path, monkeypatch: pytest.MonkeyPatch, settings: Any
    ) -> None:
        settings.RAPTOR_ARCHIVE_DAYS = 0
        monkeypatch.setattr("sys.stdin", Terminal("no\n"))
        assert "deleted for good, and cannot be brought back" in run("cleanup_sessions", "--all").err

    @pytest.mark.parametrize("answer", ["y\n", "3\n", "\n", ""])
    def test_stops_at_any_other_answer(
        self, folder: Path, monkeypatch: pytest.MonkeyPatch, answer: str
    ) -> None:
        monkeypatch.setattr("sys.stdin", Terminal(answer))
        outcome = run("cleanup_sessions", "--all")
        assert (outcome.status, outcome.out, BrowserSession.objects.count()) == (1, "", 4)
        assert "Nothing was removed" in outcome.err

    def test_does_not_ask_before_a_dry_run(self, folder: Path) -> None:
        report = run("cleanup_sessions", "--all", "--dry-run", "--format", "json").json
        assert (report["matched"], report["removed"], BrowserSession.objects.count()) == (4, 0, 4)


class TestMoreThanHalf:
    """The sessions of ``crowd`` are 101 in the namespace crowd, 60 of them expired."""

    ARGUMENTS = (
        "cleanup_sessions",
        "--expired",
        "--namespace",
        "crowd",
        "--as-of",
        AS_OF,
        "--format",
        "json",
    )

    @pytest.fixture(autouse=True)
    def crowd(self, tmp_path: Path) -> None:
        for number in range(101):
            write(tmp_path / "crowd", f"s{number:03}", **({"last_accessed": OLD} if number < 60 else {}))
        run("sync_directories", tmp_path / "crowd", "--namespace", "crowd")

    def test_is_held_where_nobody_can_be_asked(self) -> None:
        outcome = run(*self.ARGUMENTS)
        held = CleanupRun.objects.get()
        assert (outcome.status, held.state, BrowserSession.objects.count()) == (3, "held", 101)
        assert (outcome.json["matched"], outcome.json["removed"]) == (60, 0)
        assert "60 of 101 sessions, more than half" in outcome.json["held"]
        assert f"Run {held.pk} is held." in outcome.err
        assert "Approve it on its page in the admin, or call the command again with --yes." in outcome.err

    def test_goes_with_yes(self) -> None:
        assert run(*self.ARGUMENTS, "--yes").json["removed"] == 60

    def test_goes_where_the_scope_is_small(self) -> None:
        forget_sessions("s100")
        outcome = run(*self.ARGUMENTS)
        assert (outcome.status, outcome.json["removed"]) == (0, 60)
        assert "held" not in outcome.json

    def test_asks_for_the_number_on_a_terminal(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("sys.stdin", Terminal("59\n"))
        assert run(*self.ARGUMENTS).status == 1
        monkeypatch.setattr("sys.stdin", Terminal("60\n"))
        outcome = run(*self.ARGUMENTS)
        assert "This removes 60 sessions" in outcome.err
        assert outcome.json["removed"] == 60

    def test_is_not_asked_about_by_a_dry_run(self) -> None:
        assert run(*self.ARGUMENTS, "--dry-run").status == 0
        assert not CleanupRun.objects.filter(state="held").exists()


class TestPolicy:
    @pytest.fixture(autouse=True)
    def policies(self, folder: Path) -> None:
        now = datetime.now(UTC)
        write(folder, "good", last_accessed=now.isoformat())
        write(folder, "old", last_accessed=(now - timedelta(days=8)).isoformat())
        write(folder, "invalid", last_accessed=now.isoformat(), cdp_url="", session_id="")
        run("sync_directories", folder)
        CleanupPolicy.objects.all().delete()
        policy = CleanupPolicy.objects.create(name="Tidy", brake_count=1)
        policy.steps.create(position=1, criterion="expired", max_age_days=7)
        policy.steps.create(position=2, criterion="invalid")
        CleanupPolicy.objects.create(name="Another")

    def test_reports_the_run_of_each_step(self, folder: Path) -> None:
        CleanupPolicy.objects.update(brake_count=None)
        outcome = run("cleanup_sessions", "--policy", "Tidy", "--format", "json")
        report = outcome.json
        assert (outcome.status, report["policy"], report["held"]) == (0, "Tidy", None)
        assert [entry["reasons"] for entry in report["runs"]] == [
            {"expired": 1},
            {"missing_session_id": 1, "missing_cdp_url": 1},
        ]
        assert set(CleanupRun.objects.values_list("trigger", "policy__name")) == {("command", "Tidy")}
        assert names_in(folder) == {"good", "pinned"}

    def test_says_the_end_as_the_guide_does(self) -> None:
        CleanupPolicy.objects.update(brake_count=None)
        out = run("cleanup_sessions", "--policy", "Tidy").out
        assert "Automatic cleanup complete: 1 expired, 1 invalid sessions removed" in out

    def test_is_held_past_its_brake_and_goes_on_with_yes(self, folder: Path) -> None:
        outcome = run("cleanup_sessions", "--policy", "Tidy", "--format", "json")
        assert (outcome.status, names_in(folder)) == (3, {"good", "invalid", "pinned"})
        assert outcome.json["held"] == "It would take 2 sessions; the brake is at 1."
        outcome = run("cleanup_sessions", "--policy", "Tidy", "--yes", "--format", "json")
        CleanupPolicy.objects.update(brake_count=0)
        write(folder, "worse", cdp_url="")
        run("sync_directories", folder)
        outcome = run("cleanup_sessions", "--policy", "Tidy", "--yes", "--format", "json")
        assert (outcome.status, outcome.json["held"]) == (0, None)
        assert names_in(folder) == {"good", "pinned"}
        assert CleanupRun.objects.get(state="closed").error.startswith("A later sweep")

    def test_of_all_sessions_wants_yes_however_few_there_are(self, folder: Path) -> None:
        policy = CleanupPolicy.objects.create(name="CI")
        policy.steps.create(position=1, criterion="all")
        dry = run("cleanup_sessions", "--policy", "CI", "--dry-run").out
        outcome = run("cleanup_sessions", "--policy", "CI", "--format", "json")
        told = "Started by hand, it would take 4 of 4 sessions: somebody has to type the number."
        assert (outcome.status, outcome.json["held"], len(names_in(folder))) == (3, told, 4)
        assert f"Would be held: {told}" in dry
        assert "with --yes" in outcome.err
        outcome = run("cleanup_sessions", "--policy", "CI", "--yes")
        assert "Automatic cleanup complete: 4 sessions removed" in outcome.out
        assert (outcome.status, names_in(folder)) == (0, set())

    def test_tells_what_cannot_be_undone(self, settings: Any) -> None:
        told = "RAPTOR_ARCHIVE_DAYS is 0"
        assert told not in run("cleanup_sessions", "--policy", "Tidy", "--dry-run").out
        settings.RAPTOR_ARCHIVE_DAYS = 0
        assert told in run("cleanup_sessions", "--policy", "Tidy", "--dry-run").out

    def test_has_the_shape_that_the_readme_tells_in_a_dry_run(self) -> None:
        report = run("cleanup_sessions", "--policy", "Tidy", "--dry-run", "--format", "json").json
        readme = (PROJECT_DIR / "README.md").read_text()
        for key in (*report, *report["steps"][0]):
            assert f"`{key}`" in readme

    def test_is_previewed_by_a_dry_run(self, folder: Path) -> None:
        outcome = run("cleanup_sessions", "--policy", "Tidy", "--dry-run")
        assert "1. Expired sessions, over 7 days: 1 session" in outcome.out
        assert "2. Invalid sessions: 1 session" in outcome.out
        assert "Would be held: It would take 2 sessions; the brake is at 1." in outcome.out
        report = run("cleanup_sessions", "--policy", "Tidy", "--dry-run", "--format", "json").json
        assert [step["matched"] for step in report["steps"]] == [1, 1]
        assert not CleanupRun.objects.exists()
        assert len(names_in(folder)) == 4

    def test_that_is_not_there_is_refused_with_those_that_are(self) -> None:
        outcome = run("cleanup_sessions", "--policy", "Nightly")
        assert (outcome.status, CleanupRun.objects.count()) == (2, 0)
        assert "There are: “Another”, “Tidy”." in outcome.err

    @pytest.mark.parametrize(
        "more",
        [
            ("--expired",),
            ("--all", "--yes"),
            ("--namespace", "x"),
            ("--max-age-days", "3"),
            ("--as-of", AS_OF),
        ],
    )
    def test_brings_its_own_criteria(self, more: tuple[str, ...]) -> None:
        outcome = run("cleanup_sessions", "--policy", "Tidy", *more)
        assert (outcome.status, CleanupRun.objects.count()) == (2, 0)
        assert f"leave out {more[0]}." in outcome.err

    def test_at_work_elsewhere_is_refused(self) -> None:
        run("cleanup_sessions", "--policy", "Tidy", "--yes")
        CleanupRun.objects.filter(step_position=1).update(state="running")
        outcome = run("cleanup_sessions", "--policy", "Tidy")
        assert outcome.status == 1
        assert "“Tidy” is already running: run" in outcome.err


def test_a_scope_that_nothing_is_in_is_told_and_is_no_failure(folder: Path) -> None:
    outcome = run("cleanup_sessions", "--expired", "--namespace", "shpo", "--browser-type", "opera")
    assert outcome.status == 0
    assert "No session is in the namespace shpo." in outcome.err
    assert "No session has the browser type opera." in outcome.err
    assert "warning" not in run("cleanup_sessions", "--expired", "--namespace", "default").err


def test_sessions_that_stayed_are_named_with_the_reason(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_cleanup = runs.run_cleanup

    def pin_first(ledger: CleanupRun, **options: Any) -> CleanupRun:
        BrowserSession.objects.get(name="old").save()
        BrowserSession.objects.filter(name="old").update(is_pinned=True)
        return run_cleanup(ledger, **options)

    monkeypatch.setattr("sessions_app.management.commands.cleanup_sessions.run_cleanup", pin_first)
    outcome = run("cleanup_sessions", "--expired", "--as-of", AS_OF)
    assert "1 session changed after the preview, and stayed." in outcome.out
    assert "default/old: It was pinned after the preview." in outcome.out


def test_the_stop_of_a_user_leaves_a_run_that_can_be_resumed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run("demo_sessions", tmp_path / "demo", "--count", "1200", "--as-of", AS_OF)
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
    assert ledger.removed_count == ArchivedSession.objects.count() == batches.FIRST_ROWS
    assert len(names_in(tmp_path / "demo")) == BrowserSession.objects.count() == 700
    assert outcome.status == 1
    assert "500 of 1,200 sessions are removed" in outcome.err
    assert signal.getsignal(signal.SIGINT) is before
    monkeypatch.undo()
    assert runs.run_cleanup(ledger).removed_count == 1200


def test_files_that_stay_are_a_failure_that_is_told(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def denied(*args: Any, **kwargs: Any) -> bool:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("sessions_app.session_files.SessionFolder.remove", denied)
    outcome = run("cleanup_sessions", "--invalid", "--format", "json")
    assert outcome.status == 1
    assert outcome.json["removed"] == 1
    assert "could not be removed (Permission denied)" in outcome.err


def test_an_error_of_the_database_tells_no_endpoint(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from django.db import DatabaseError

    def fail(*args: Any, **kwargs: Any) -> None:
        raise DatabaseError("Failing row contains (1, ws://127.0.0.1:9222/devtools/browser/secret).")

    monkeypatch.setattr("sessions_app.management.commands.cleanup_sessions.plan_cleanup", fail)
    with pytest.raises(CommandError) as caught:
        call_command("cleanup_sessions", "--invalid")
    assert "secret" not in str(caught.value)
    assert "Failing row" in str(caught.value)
