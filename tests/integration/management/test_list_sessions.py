from __future__ import annotations

import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.core.management.base import OutputWrapper

from sessions_app.liveness import digest_of
from sessions_app.management.listing import Evaluation, Listed, write_json_list
from sessions_app.models import BrowserSession, Probe
from sessions_app.session.browser_states import BrowserState
from tests.clients import run
from tests.factories import AS_OF, SECRET, put

pytestmark = pytest.mark.django_db

OLD = "2026-10-01T11:00:00+00:00"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "sessions"
    put(folder, "good")
    put(folder, "old", last_accessed=OLD, browser_type="firefox")
    put(folder, "many-faults", session_id="", created_at="?", browser_type="ie6")
    put(folder, "elsewhere", cdp_url=f"ws://10.1.2.3:9222/devtools/browser/{SECRET}")
    run("sync_directories", folder, "--namespace", "shop")
    return folder


def listed(*arguments: str) -> dict[str, dict[str, Any]]:
    outcome = run("list_sessions", "--as-of", AS_OF, "--format", "json", *arguments)
    assert outcome.status == 0
    return {session["name"]: session for session in outcome.json["sessions"]}


def test_a_session_is_listed_in_full_without_its_endpoint(folder: Path) -> None:
    BrowserSession.objects.filter(name="old").update(is_pinned=True)
    sessions = listed()
    assert sessions["old"] == {
        "namespace": "shop",
        "name": "old",
        "browser_type": "firefox",
        "last_accessed": OLD,
        "size_bytes": (folder / "old.json").stat().st_size,
        "pinned": True,
        "expired": True,
        "problems": [],
        "warnings": ["not_reconnectable"],
        "browser": "unknown",
        "in_use": None,
        "probed_at": None,
    }
    assert sessions["many-faults"]["problems"] == [
        "invalid_browser_type",
        "invalid_created_at",
        "missing_session_id",
    ]
    assert sessions["elsewhere"]["warnings"] == ["endpoint_host_not_allowed"]


def test_filters_choose_sessions(folder: Path) -> None:
    assert set(listed("--expired")) == {"old", "many-faults"}
    assert set(listed("--invalid")) == {"many-faults"}
    assert set(listed("--expired", "--browser-type", "firefox")) == {"old"}
    assert set(listed("--expired", "--max-age-days", "100")) == {"many-faults"}
    assert set(listed("--namespace", "default")) == set()
    assert set(listed("--namespace", "shop")) == {"good", "old", "many-faults", "elsewhere"}


@pytest.mark.parametrize("command", ["list_sessions", "validate_sessions"])
@pytest.mark.parametrize("output", ["text", "json"])
def test_no_endpoint_is_printed(folder: Path, command: str, output: str) -> None:
    outcome = run(command, "--format", output, "--as-of", AS_OF)
    assert "good" in outcome.out or command == "validate_sessions"
    for part in (SECRET, "devtools", "9222", "10.1.2.3"):
        assert part not in outcome.out + outcome.err


@pytest.mark.parametrize("command", ["list_sessions", "validate_sessions"])
def test_an_empty_list_is_a_json_object(db: None, command: str) -> None:
    assert json.loads(run(command, "--format", "json").out) == {"sessions": []}


def test_rows_are_written_while_the_query_is_still_read(folder: Path) -> None:
    """Check that a million sessions need not fit in memory."""
    stream = io.StringIO()
    evaluation = Evaluation.from_options({"as_of": AS_OF.isoformat(), "max_age_days": 7})

    def watched() -> Iterator[Listed]:
        for number, session in enumerate(evaluation.sessions()):
            assert stream.getvalue().count('"name"') == number
            yield session

    write_json_list(OutputWrapper(stream), watched())
    assert len(json.loads(stream.getvalue())["sessions"]) == 4


def test_a_browser_is_gone_in_the_list_as_on_its_page(folder: Path) -> None:
    session = BrowserSession.objects.get(name="good")
    endpoint = digest_of(session.cdp_url)
    Probe.objects.create(
        session=session, result="unreachable", endpoint=endpoint, due_at=AS_OF, probed_at=AS_OF
    )

    def shown() -> tuple[bool, ...]:
        """Check that the list and the page show a single failed probe, and a browser that is gone."""
        line = next(text for text in run("list_sessions").out.splitlines() if "shop/good" in text)
        page = run("session_info", "good", "--namespace", "shop").out
        return tuple(text in line for text in ("browser unreachable", "browser gone")) + tuple(
            text in page for text in ("unreachable, probed", "gone, probed")
        )

    BrowserSession.objects.filter(pk=session.pk).record_browser(browser_state=BrowserState.UNKNOWN)
    assert shown() == (True, False, True, False)
    state = {"browser_state": BrowserState.GONE}
    BrowserSession.objects.filter(pk=session.pk).record_browser(**state)
    assert shown() == (False, True, False, True)


def test_a_list_is_one_query(folder: Path, django_assert_num_queries: Any) -> None:
    evaluation = Evaluation.from_options({"as_of": AS_OF.isoformat(), "max_age_days": 7})
    with django_assert_num_queries(1):
        assert len(list(evaluation.sessions())) == 4


def test_names_cannot_control_the_terminal(tmp_path: Path) -> None:
    put(tmp_path / "sessions", "red\x1b[31m", session_id="")
    run("sync_directories", tmp_path / "sessions")
    for command in ("list_sessions", "validate_sessions"):
        outcome = run(command)
        assert "\x1b" not in outcome.out
        assert "red\\x1b[31m" in outcome.out


def test_validate_lists_each_broken_rule_and_a_total(folder: Path) -> None:
    lines = run("validate_sessions", "--as-of", AS_OF).out.splitlines()
    assert lines == [
        "shop/many-faults",
        "  The session id is missing. (missing_session_id)",
        "  The time of creation cannot be read. (invalid_created_at)",
        "  The browser type is not one of chromium, firefox, webkit. (invalid_browser_type)",
        "4 sessions checked: 3 valid, 1 invalid; 2 expired, 2 with warnings.",
    ]


def test_the_text_list_has_a_line_for_each_session_and_a_total(folder: Path) -> None:
    size = str((folder / "good.json").stat().st_size)
    lines = run("list_sessions", "--as-of", AS_OF).out.splitlines()
    assert len(lines) == 5
    assert lines[-1] == "4 sessions."
    assert lines[1].split() == ["shop/good", "chromium", "2026-11-22", "11:00", size, "bytes", "ok"]
