"""Profiles of browsers, and programs that do not start one."""

from __future__ import annotations

import os
import platform
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import pytest

from sessions_app.browsers import launcher, profile_lock, surroundings
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


CHROMIUM_LOG = """\
/usr/bin/chromium: 9: [: 25275437056: unexpected operator
[117:117:1126/1007:ERROR:chrome/browser/process_singleton_posix.cc:367] The profile appears to be in \
use by another Chromium process (4711) on another computer (oldhost). Chromium has locked the profile.
Error: Can't open display:

"""


def test_the_reason_in_a_log_is_quoted_instead_of_its_last_line(tmp_path: Path) -> None:
    program = tmp_path / "chromium"
    program.write_text(f"#!/bin/sh\ncat <<'END'\n{CHROMIUM_LOG}END\nexit 21\n")
    program.chmod(0o700)
    with pytest.raises(SessionException) as failure:
        launcher.start(str(program), tmp_path / "profile", headless=True)
    message = failure.value.message
    assert "Its log says: The profile appears to be in use by another Chromium process (4711)" in message
    assert str(tmp_path / "profile" / launcher.LOG_FILE) in message
    assert "unexpected operator" not in message


def test_a_lock_of_another_host_is_removed_and_one_of_this_host_kept(tmp_path: Path) -> None:
    lock = tmp_path / "SingletonLock"
    for host in ("oldhost", "old-host.example", "localhost", ""):
        lock.symlink_to(f"{host}-4711")
        profile_lock.clear_foreign_lock(tmp_path)
        assert lock.is_symlink() == (host == "")
        lock.unlink(missing_ok=True)
    lock.symlink_to(f"{platform.node()}-4711")
    profile_lock.clear_foreign_lock(tmp_path)
    assert lock.is_symlink()


def test_a_process_is_the_browser_of_a_profile_only_with_its_command_line(tmp_path: Path) -> None:
    lock = tmp_path / "SingletonLock"
    lock.symlink_to(f"{platform.node()}-{os.getpid()}")
    assert profile_lock.browser_of(tmp_path) is None
    arguments = [sys.executable, "-c", "input()", f"--user-data-dir={tmp_path}"]
    with subprocess.Popen(arguments, stdin=subprocess.PIPE, start_new_session=True) as process:
        lock.unlink()
        lock.symlink_to(f"{platform.node()}-{process.pid}")
        # The system shows the command line of a new process after a moment.
        until = time.monotonic() + 10
        while profile_lock.browser_of(tmp_path) != process.pid:
            assert time.monotonic() < until
        assert not profile_lock.wait_until_unused(tmp_path, seconds=0.05)
        threading.Thread(target=process.wait).start()
        assert profile_lock.end_browser(tmp_path, seconds=10)
    assert process.returncode == -signal.SIGKILL


INHERITED = {
    "PATH": "/usr/bin",
    "HOME": "/home/ann",
    "LANG": "C.UTF-8",
    "LC_ALL": "C",
    "DISPLAY": ":0",
    "XDG_RUNTIME_DIR": "/run/user/1000",
    "https_proxy": "http://proxy:3128",
    "TZ": "Europe/Berlin",
    "CHROME_DEVEL_SANDBOX": "/usr/lib/chromium/chrome-sandbox",
    "CHROMIUM_FLAGS": "--lang=de",
    "VK_ICD_FILENAMES": "/usr/share/vulkan/icd.d/lvp_icd.json",
    "VK_LAYER_PATH": "/usr/share/vulkan",
}
NOT_INHERITED = """
RUNNER_TRACKING_ID BUILD_ID JENKINS_NODE_COOKIE JENKINS_SERVER_COOKIE HUDSON_COOKIE BUILD_TAG
VSTS_PROCESS_LOOKUP_ID TEAMCITY_PROCESS_FLOW_ID CI GITHUB_TOKEN CI_JOB_TOKEN AWS_SECRET_ACCESS_KEY
RAPTOR_DATABASE_URL RAPTOR_SECRET_KEY RAPTOR_CDP_ALLOWED_HOSTS DJANGO_SETTINGS_MODULE PGPASSWORD
PYTHONPATH PYTEST_CURRENT_TEST VIRTUAL_ENV TMPDIR TMP RAPTOR_SESSION
CHROME_CLIENT_SECRET CHROME_REFRESH_TOKEN CHROME_EXTENSION_ID CHROMIUM_API_KEY VK_TOKEN VK_ACCESS_TOKEN
GTK_TOKEN XDG_SECRET GDK_API_KEY MESA_PASSWORD
"""


def test_a_browser_inherits_what_it_needs_and_nothing_else(tmp_path: Path) -> None:
    inherited = {**INHERITED, **dict.fromkeys(NOT_INHERITED.split(), "secret")}
    given = surroundings.environment(inherited, tmp_path, "shop/login")
    assert {name: given[name] for name in INHERITED} == INHERITED
    assert set(given) == {*INHERITED, "TMPDIR", "RAPTOR_SESSION"}
    assert given["RAPTOR_SESSION"] == "shop/login"
    assert (tmp_path / given["TMPDIR"]).is_dir()


@pytest.mark.parametrize(
    ("proxy", "given"),
    [
        ("http://ann:p%40ss@proxy:3128", "http://proxy:3128"),
        ("http://ann:p/s@x@proxy:3128/", "http://proxy:3128/"),
        ("ann:pass@proxy:3128", "proxy:3128"),
        ("socks5://proxy", "socks5://proxy"),
        ("localhost,.example", "localhost,.example"),
    ],
)
def test_the_login_of_a_proxy_is_not_inherited(proxy: str, given: str, tmp_path: Path) -> None:
    for name in ("http_proxy", "HTTPS_PROXY", "all_proxy", "no_proxy"):
        assert surroundings.environment({name: proxy}, tmp_path, "")[name] == given


def test_temporary_files_are_in_the_profile_and_short_enough_for_a_socket(tmp_path: Path) -> None:
    short = Path(tempfile.mkdtemp(dir="/tmp"))
    assert surroundings.environment({}, short, "")["TMPDIR"] == f"{short}/tmp"
    (short / "tmp" / "left-behind").touch()
    surroundings.environment({}, short, "")
    assert list((short / "tmp").iterdir()) == []
    shutil.rmtree(short)
    long = tmp_path / ("x" * 100)
    long.mkdir()
    assert surroundings.environment({}, long, "")["TMPDIR"] == "tmp"


def test_small_shared_memory_is_not_used(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def command() -> str:
        return " ".join(launcher._command("chromium", tmp_path, headless=True))

    monkeypatch.setattr(surroundings, "SMALL_SHARED_MEMORY_BYTES", 0)
    assert "--disable-dev-shm-usage" not in command()
    monkeypatch.setattr(surroundings, "SMALL_SHARED_MEMORY_BYTES", 2**63)
    monkeypatch.setattr(surroundings, "SHARED_MEMORY", str(tmp_path))
    assert "--disable-dev-shm-usage" in command()
    monkeypatch.setattr(surroundings, "SHARED_MEMORY", str(tmp_path / "missing"))
    assert "--disable-dev-shm-usage" not in command()


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
