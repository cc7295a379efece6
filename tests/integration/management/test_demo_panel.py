"""The demo contains data for all features."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from sessions_app.models import ArchivedSession, BrowserSession, CleanupRun, StorageSnapshot
from tests.clients import run
from tests.factories import make_session

pytestmark = pytest.mark.django_db
State = CleanupRun.State


def test_the_demo_contains_data_for_all_features(tmp_path: Path) -> None:
    outcome = run("demo_panel", tmp_path / "demo", "--count", "400")
    assert outcome.status == 0
    assert BrowserSession.objects.count() >= 400
    assert set(BrowserSession.objects.values_list("namespace", flat=True)) == {"bank", "shop"}
    assert BrowserSession.objects.filter(is_pinned=True).count() == 12
    assert ArchivedSession.objects.exists()
    states = set(CleanupRun.objects.values_list("state", flat=True))
    assert states == {State.SUCCEEDED, State.UNDONE, State.HELD}
    assert CleanupRun.objects.filter(policy__isnull=False, state=State.SUCCEEDED).count() == 2
    taken = StorageSnapshot.objects.order_by("taken_at").values_list("taken_at", flat=True)
    assert timedelta(days=89) < taken[len(taken) - 1] - taken[0] <= timedelta(days=91)


def test_the_folders_contain_the_files_of_the_sessions(tmp_path: Path) -> None:
    run("demo_panel", tmp_path / "demo", "--count", "40")
    assert len(list((tmp_path / "demo").rglob("*.json"))) == BrowserSession.objects.count()


def test_only_an_empty_panel_is_filled(tmp_path: Path) -> None:
    make_session("mine")
    outcome = run("demo_panel", tmp_path / "demo")
    assert (outcome.status, "Only an empty panel can be filled" in outcome.err) == (1, True)
    assert not (tmp_path / "demo").exists()


def test_a_count_below_one_is_refused(tmp_path: Path) -> None:
    assert run("demo_panel", tmp_path / "demo", "--count", "0").status == 2
