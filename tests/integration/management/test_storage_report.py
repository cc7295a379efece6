from __future__ import annotations

from pathlib import Path

import pytest

from tests.clients import run
from tests.factories import AS_OF, SECRET, copy_session_files, truth_table

pytestmark = pytest.mark.django_db


def test_the_report_agrees_with_the_truth_table(tmp_path: Path) -> None:
    run("sync_directories", copy_session_files(tmp_path / "sessions"))
    report = run("storage_report", "--as-of", AS_OF, "--format", "json").json
    rows = truth_table().values()
    assert report["as_of"] == AS_OF.isoformat()
    assert (report["sessions"], report["bytes"]) == (len(rows), sum(row["bytes"] for row in rows))
    assert report["expired"] == sum(row["removed_by_expired"] for row in rows)
    assert report["invalid"] == sum(row["removed_by_invalid"] for row in rows)
    assert report["archived"] == {"sessions": 0, "bytes": 0}
    for key in ("by_namespace", "by_browser_type", "by_age"):
        assert sum(row["sessions"] for row in report[key]) == len(rows)


def test_the_text_shows_what_a_cleanup_would_free_and_no_endpoint(tmp_path: Path) -> None:
    run("sync_directories", copy_session_files(tmp_path / "sessions"))
    outcome = run("storage_report", "--as-of", AS_OF)
    assert f"{len(truth_table())} sessions" in outcome.out
    assert "A cleanup of expired and invalid sessions would free" in outcome.out
    assert "devtools" not in outcome.out
    assert SECRET not in outcome.out


def test_an_empty_panel_has_a_report(db: None) -> None:
    assert run("storage_report").status == 0
    assert run("storage_report", "--format", "json").json["sessions"] == 0
