"""Profiles of browsers, and programs that are none."""

from __future__ import annotations

import subprocess
import time
from pathlib import Path

import pytest

from sessions_app.browsers import launcher
from sessions_app.exceptions import SessionException

NAMES = ["login", "LOGIN", "a/b", "a.b", "..", "/etc/passwd", "-x", "", " ", "😀", "x" * 300, "a\nb"]


def test_each_session_has_a_profile_of_its_own_inside_the_folder(tmp_path: Path) -> None:
    profiles = [launcher.profile_of(tmp_path, "shop", name) for name in NAMES]
    assert {profile.parent for profile in profiles} == {tmp_path}
    assert all(len(profile.name) < 64 and not profile.name.startswith(("-", ".")) for profile in profiles)
    # Where capital letters do not count, too.
    assert len({str(profile).lower() for profile in profiles}) == len(NAMES)
    assert launcher.profile_of(tmp_path, "other", "login") != profiles[0]


def test_a_program_that_ends_at_once_is_told_with_its_last_words(tmp_path: Path) -> None:
    program = tmp_path / "chromium"
    program.write_text(
        "#!/bin/sh\necho first\necho no display at ws://127.0.0.1:9/devtools/browser/secret-id\nexit 1\n"
    )
    program.chmod(0o700)
    with pytest.raises(SessionException) as failure:
        launcher.start(str(program), tmp_path / "profile", headless=False)
    assert "no display" in failure.value.message
    assert "headless" in failure.value.message
    assert "secret-id" not in failure.value.message


def test_a_program_that_cannot_be_run_is_told(tmp_path: Path) -> None:
    program = tmp_path / "chromium"
    program.write_text("")
    with pytest.raises(SessionException, match="cannot be started: Permission denied"):
        launcher.start(str(program), tmp_path / "profile", headless=True)


def test_a_browser_that_has_ended_is_no_zombie_for_ever(tmp_path: Path) -> None:
    program = tmp_path / "chromium"
    port_file = tmp_path / "profile" / launcher.PORT_FILE
    program.write_text(f"#!/bin/sh\nprintf '4711\\n/devtools/browser/1\\n' > {port_file}\nsleep 0.2\n")
    program.chmod(0o700)
    first = launcher.start(str(program), tmp_path / "profile", headless=True)
    assert waited_for(first.pid, "Z")
    launcher.start(str(program), tmp_path / "profile", headless=True)
    assert waited_for(first.pid, "")


def waited_for(pid: int | None, state: str) -> bool:
    """Wait until a process is in a state, as ps tells it; blank: until it is gone."""
    until = time.monotonic() + 10
    while time.monotonic() < until:
        told = subprocess.run(["ps", "-o", "state=", "-p", str(pid)], capture_output=True, text=True)
        if told.stdout[:1].strip() == state:
            return True
        time.sleep(0.01)
    return False


def test_an_endpoint_that_is_half_written_is_none_yet(tmp_path: Path) -> None:
    assert launcher.read_endpoint(tmp_path) is None
    for text in ("", "4711", "x\n/devtools/browser/1"):
        (tmp_path / launcher.PORT_FILE).write_text(text)
        assert launcher.read_endpoint(tmp_path) is None
    (tmp_path / launcher.PORT_FILE).write_text("4711\n/devtools/browser/1\n")
    assert launcher.read_endpoint(tmp_path) == "ws://127.0.0.1:4711/devtools/browser/1"
