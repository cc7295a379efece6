from __future__ import annotations

from pathlib import Path

import pytest

from tests.clients import run
from tests.factories import AS_OF, SECRET, put

pytestmark = pytest.mark.django_db


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "sessions"


def test_facts_problems_and_metadata_are_shown(folder: Path) -> None:
    metadata = {"page_url": "https://shop.example/cart"}
    put(folder, "checkout-guest-01", session_id="", created_at="2026-11-22", metadata=metadata)
    run("sync_directories", folder)
    report = run("session_info", "checkout-guest-01", "--as-of", AS_OF, "--format", "json").json
    assert report == {
        "namespace": "default",
        "name": "checkout-guest-01",
        "session_id": "",
        "browser_type": "chromium",
        "endpoint": "127.0.0.1:9222",
        "created_at": "2026-11-22T00:00:00+00:00",
        "last_accessed": "2026-11-22T11:00:00+00:00",
        "size_bytes": (folder / "checkout-guest-01.json").stat().st_size,
        "pinned": False,
        "expired": False,
        "directory": str(folder),
        "file": "checkout-guest-01.json",
        "problems": ["missing_session_id"],
        "warnings": [],
        "browser": "unknown",
        "in_use": None,
        "probed_at": None,
        "metadata": metadata,
    }
    text = run("session_info", "checkout-guest-01", "--as-of", AS_OF).out
    assert "Problem: The session id is missing. (missing_session_id)" in text
    assert "  The test that saved it crashed or wrote no id." in text
    assert "  page_url: https://shop.example/cart" in text


@pytest.mark.parametrize("output", ["text", "json"])
@pytest.mark.parametrize(
    "cdp_url",
    [
        f"ws://127.0.0.1:9222/devtools/browser/{SECRET}",
        f"wss://user:{SECRET}@127.0.0.1:9222/x",
        f"http://127.0.0.1:9222/?token={SECRET}",
        SECRET,
    ],
)
def test_the_endpoint_is_shown_nowhere(folder: Path, output: str, cdp_url: str) -> None:
    metadata = {"note": f"copied from {cdp_url} today", "deep": [{cdp_url: cdp_url}]}
    put(folder, "a", cdp_url=cdp_url, metadata=metadata if "://" in cdp_url else {})
    run("sync_directories", folder)
    outcome = run("session_info", "a", "--format", output)
    assert outcome.status == 0
    assert SECRET not in outcome.out + outcome.err


def test_unusual_metadata_is_shown(folder: Path) -> None:
    put(folder, "odd", metadata={"nan": float("nan"), "bell": "\x07", "half": "\ud800", "long": "x" * 5000})
    put(folder, "list", metadata=["a", 1])
    put(folder, "none", metadata=None)
    folder.joinpath("deep.json").write_text('{"metadata": ' + "[" * 900 + "]" * 900 + "}")
    folder.joinpath("broken.json").write_text('{"metadata": ')
    run("sync_directories", folder)
    for name in ("odd", "list", "none", "deep", "broken"):
        assert run("session_info", name).status == 0
        assert run("session_info", name, "--format", "json").json["name"] == name
    text = run("session_info", "odd").out
    assert "\x07" not in text
    assert "(5,000 characters)" in text
    text.encode()


def test_a_misspelled_name_gets_a_suggestion(folder: Path) -> None:
    put(folder, "checkout-guest-01")
    run("sync_directories", folder)
    outcome = run("session_info", "checkout-guest-1")
    assert (outcome.status, outcome.out) == (1, "")
    assert "Did you mean “checkout-guest-01”?" in outcome.err


def test_a_name_of_another_namespace_is_suggested(folder: Path) -> None:
    put(folder, "a")
    run("sync_directories", folder, "--namespace", "shop")
    assert "There is one in: shop" in run("session_info", "a").err
    assert run("session_info", "a", "--namespace", "shop").status == 0


def test_a_removed_session_is_reported(folder: Path) -> None:
    put(folder, "a", session_id="")
    run("sync_directories", folder)
    run_id = run("cleanup_sessions", "--invalid", "--format", "json").json["run"]
    assert f"removed by run {run_id}" in run("session_info", "a").err


def test_an_unknown_name_without_similar_ones(db: None) -> None:
    outcome = run("session_info", "a")
    assert (outcome.status, outcome.err) == (1, "There is no session a in the namespace default.\n")
