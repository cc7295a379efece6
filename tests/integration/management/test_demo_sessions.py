from __future__ import annotations

from pathlib import Path

import pytest

from tests.clients import run
from tests.factories import AS_OF

pytestmark = pytest.mark.django_db


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_documents_of_all_kinds_are_written(tmp_path: Path) -> None:
    outcome = run("demo_sessions", tmp_path / "demo", "--as-of", AS_OF)
    assert (outcome.status, len(contents(tmp_path / "demo"))) == (0, 2000)
    run("sync_directories", tmp_path / "demo")
    report = run("storage_report", "--as-of", AS_OF, "--format", "json").json
    assert report["sessions"] == 2000
    assert 0.10 < report["invalid"] / 2000 < 0.14
    assert 0.3 < report["expired"] / 2000 < 0.7
    assert all(row["sessions"] for row in report["by_problem"] + report["by_browser_type"])
    kinds = {row["age"]: row["sessions"] for row in report["by_age"]}
    assert kinds.pop("in_the_future") == 0
    assert all(kinds.values())


def test_a_seed_makes_the_same_documents_again(tmp_path: Path) -> None:
    for name, seed in (("one", "7"), ("two", "7"), ("three", "8")):
        run("demo_sessions", tmp_path / name, "--count", "50", "--seed", seed, "--as-of", AS_OF)
    assert contents(tmp_path / "one") == contents(tmp_path / "two") != contents(tmp_path / "three")


def test_a_folder_that_is_not_empty_is_left_unchanged(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    outcome = run("demo_sessions", tmp_path)
    assert outcome.status == 1
    assert "is not empty" in outcome.err
    assert contents(tmp_path) == {"notes.txt": b"mine"}


def test_a_count_below_one_is_refused(tmp_path: Path) -> None:
    assert run("demo_sessions", tmp_path / "demo", "--count", "0").status == 2
    assert not (tmp_path / "demo").exists()
