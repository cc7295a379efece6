"""Profiles of browsers, and programs that do not start one."""

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
    # Names that differ in case need different folders on a case-insensitive file system.
    assert len({str(profile).lower() for profile in profiles}) == len(NAMES)
    assert launcher.profile_of(tmp_path, "other", "login") != profiles[0]


def test_a_program_that_ends_at_once_is_reported_with_its_output(tmp_path: Path) -> None:
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


def test_a_program_that_cannot_be_run_is_reported(tmp_path: Path) -> None:
    program = tmp_path / "chromium"
    program.write_text("")
    with pytest.raises(SessionException, match="cannot be started: Permission denied"):
        launcher.start(str(program), tmp_path / "profile", headless=True)


def test_a_browser_that_has_ended_does_not_stay_a_zombie(tmp_path: Path) -> None:
    program = tmp_path / "chromium"
    port_file = tmp_path / "profile" / launcher.PORT_FILE
    program.write_text(f"#!/bin/sh\nprintf '4711\\n/devtools/browser/1\\n' > {port_file}\nsleep 0.2\n")
    program.chmod(0o700)
    first = launcher.start(str(program), tmp_path / "profile", headless=True)
    assert waited_for(first.pid, "Z")
    launcher.start(str(program), tmp_path / "profile", headless=True)
    assert waited_for(first.pid, "")


def waited_for(pid: int | None, state: str) -> bool:
    """Wait until ps reports a state for a process; blank waits until the process is gone."""
    until = time.monotonic() + 10
    while time.monotonic() < until:
        output = subprocess.run(["ps", "-o", "state=", "-p", str(pid)], capture_output=True, text=True)
        if output.stdout[:1].strip() == state:
            return True
        time.sleep(0.01)
    return False


def test_a_half_written_endpoint_is_not_read(tmp_path: Path) -> None:
    assert launcher.read_endpoint(tmp_path) is None
    for text in ("", "4711", "x\n/devtools/browser/1"):
        (tmp_path / launcher.PORT_FILE).write_text(text)
        assert launcher.read_endpoint(tmp_path) is None
    (tmp_path / launcher.PORT_FILE).write_text("4711\n/devtools/browser/1\n")
    assert launcher.read_endpoint(tmp_path) == "ws://127.0.0.1:4711/devtools/browser/1"
