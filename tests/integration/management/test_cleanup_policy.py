"""Cleanups by command with the steps of a policy."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from sessions_app.models import CleanupPolicy, CleanupRun
from tests.clients import run
from tests.factories import AS_OF, PROJECT_DIR, names_in, put, sync_four_sessions

pytestmark = pytest.mark.django_db


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return sync_four_sessions(tmp_path / "sessions")


class TestPolicy:
    @pytest.fixture(autouse=True)
    def policies(self, folder: Path) -> None:
        now = datetime.now(UTC)
        put(folder, "good", last_accessed=now.isoformat())
        put(folder, "old", last_accessed=(now - timedelta(days=8)).isoformat())
        put(folder, "invalid", last_accessed=now.isoformat(), cdp_url="", session_id="")
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
        assert names_in(folder) == ["good", "pinned"]

    def test_ends_with_the_message_of_the_guide(self) -> None:
        CleanupPolicy.objects.update(brake_count=None)
        out = run("cleanup_sessions", "--policy", "Tidy").out
        assert "Automatic cleanup complete: 1 expired, 1 invalid sessions removed" in out

    def test_a_run_over_a_safety_limit_is_held_and_continues_with_yes(self, folder: Path) -> None:
        outcome = run("cleanup_sessions", "--policy", "Tidy", "--format", "json")
        assert (outcome.status, names_in(folder)) == (3, ["good", "invalid", "pinned"])
        assert outcome.json["held"] == "This would remove 2 sessions; the safety limit is 1."
        outcome = run("cleanup_sessions", "--policy", "Tidy", "--yes", "--format", "json")
        CleanupPolicy.objects.update(brake_count=0)
        put(folder, "worse", cdp_url="")
        run("sync_directories", folder)
        outcome = run("cleanup_sessions", "--policy", "Tidy", "--yes", "--format", "json")
        assert (outcome.status, outcome.json["held"]) == (0, None)
        assert names_in(folder) == ["good", "pinned"]
        assert CleanupRun.objects.get(state="closed").error.startswith("A later sweep")

    def test_of_all_sessions_requires_yes_for_any_number(self, folder: Path) -> None:
        policy = CleanupPolicy.objects.create(name="CI")
        policy.steps.create(position=1, criterion="all")
        dry = run("cleanup_sessions", "--policy", "CI", "--dry-run").out
        outcome = run("cleanup_sessions", "--policy", "CI", "--format", "json")
        reason = outcome.json["held"]
        assert (outcome.status, len(names_in(folder))) == (3, 4)
        assert "4 of 4 sessions" in reason
        assert reason in dry
        assert "with --yes" in outcome.err
        outcome = run("cleanup_sessions", "--policy", "CI", "--yes")
        assert "Automatic cleanup complete: 4 sessions removed" in outcome.out
        assert (outcome.status, names_in(folder)) == (0, [])

    def test_warns_of_what_cannot_be_undone(self, settings: Any) -> None:
        warning = "RAPTOR_ARCHIVE_DAYS is 0"
        assert warning not in run("cleanup_sessions", "--policy", "Tidy", "--dry-run").out
        settings.RAPTOR_ARCHIVE_DAYS = 0
        assert warning in run("cleanup_sessions", "--policy", "Tidy", "--dry-run").out

    def test_a_dry_run_has_the_documented_shape(self) -> None:
        report = run("cleanup_sessions", "--policy", "Tidy", "--dry-run", "--format", "json").json
        guide = (PROJECT_DIR / "docs" / "guide.md").read_text()
        for key in (*report, *report["steps"][0]):
            assert f"`{key}`" in guide

    def test_is_previewed_by_a_dry_run(self, folder: Path) -> None:
        outcome = run("cleanup_sessions", "--policy", "Tidy", "--dry-run")
        assert "1. Expired sessions, over 7 days: 1 session" in outcome.out
        assert "2. Invalid sessions: 1 session" in outcome.out
        assert "Would need approval: This would remove 2 sessions; the safety limit is 1." in outcome.out
        report = run("cleanup_sessions", "--policy", "Tidy", "--dry-run", "--format", "json").json
        assert [step["matched"] for step in report["steps"]] == [1, 1]
        assert not CleanupRun.objects.exists()
        assert len(names_in(folder)) == 4

    def test_an_unknown_policy_is_refused_with_the_known_ones(self) -> None:
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
    def test_excludes_other_criteria(self, more: tuple[str, ...]) -> None:
        outcome = run("cleanup_sessions", "--policy", "Tidy", *more)
        assert (outcome.status, CleanupRun.objects.count()) == (2, 0)
        assert f"leave out {more[0]}." in outcome.err

    def test_a_running_policy_is_refused(self) -> None:
        run("cleanup_sessions", "--policy", "Tidy", "--yes")
        CleanupRun.objects.filter(step_position=1).update(state="running")
        outcome = run("cleanup_sessions", "--policy", "Tidy")
        assert outcome.status == 1
        assert "“Tidy” is already running: run" in outcome.err
