"""Cleanups of all sessions or of more than half: the command asks for a number or for ``--yes``."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest

from sessions_app.models import BrowserSession, CleanupRun
from tests.clients import Terminal, run
from tests.factories import AS_OF, OLD, forget_sessions, names_in, put, sync_four_sessions

pytestmark = pytest.mark.django_db


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return sync_four_sessions(tmp_path / "sessions")


class TestAll:
    def test_is_refused_without_a_terminal(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("sys.stdin", io.StringIO("4\n"))
        outcome = run("cleanup_sessions", "--all")
        assert (outcome.status, BrowserSession.objects.count()) == (2, 4)
        assert "--yes" in outcome.err

    def test_removes_everything_with_yes(self, folder: Path) -> None:
        report = run("cleanup_sessions", "--all", "--yes", "--format", "json").json
        assert (report["removed"], report["reasons"]["all"]) == (4, 4)
        assert names_in(folder) == []

    def test_asks_for_the_number_and_counts_the_pinned_ones(
        self, folder: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("sys.stdin", Terminal("4\n"))
        outcome = run("cleanup_sessions", "--all", "--format", "json")
        assert "4 sessions, 1 of them pinned" in outcome.err
        assert outcome.json["removed"] == 4

    def test_warns_of_what_cannot_be_undone_before_it_asks(
        self, folder: Path, monkeypatch: pytest.MonkeyPatch, settings: Any
    ) -> None:
        settings.RAPTOR_ARCHIVE_DAYS = 0
        monkeypatch.setattr("sys.stdin", Terminal("no\n"))
        assert "RAPTOR_ARCHIVE_DAYS" in run("cleanup_sessions", "--all").err

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
    """The namespace crowd has 101 sessions, of which 60 are expired."""

    ARGUMENTS = (
        "cleanup_sessions",
        "--expired",
        "--namespace",
        "crowd",
        "--as-of",
        AS_OF.isoformat(),
        "--format",
        "json",
    )

    @pytest.fixture(autouse=True)
    def crowd(self, tmp_path: Path) -> None:
        for number in range(101):
            put(tmp_path / "crowd", f"s{number:03}", **(OLD if number < 60 else {}))
        run("sync_directories", tmp_path / "crowd", "--namespace", "crowd")

    def test_is_held_without_a_terminal(self) -> None:
        outcome = run(*self.ARGUMENTS)
        held = CleanupRun.objects.get()
        assert (outcome.status, held.state, BrowserSession.objects.count()) == (3, "held", 101)
        assert (outcome.json["matched"], outcome.json["removed"]) == (60, 0)
        assert "60 of 101 sessions, more than half" in outcome.json["held"]
        assert f"Run {held.pk} needs approval." in outcome.err
        assert "Approve it on its page in the admin, or run the command again with --yes." in outcome.err

    def test_runs_with_yes(self) -> None:
        assert run(*self.ARGUMENTS, "--yes").json["removed"] == 60

    def test_runs_on_a_small_scope(self) -> None:
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

    def test_a_dry_run_does_not_ask(self) -> None:
        assert run(*self.ARGUMENTS, "--dry-run").status == 0
        assert not CleanupRun.objects.filter(state="held").exists()
