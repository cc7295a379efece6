"""The environment of launched browsers, and profiles and sessions whose browser may be running."""

from __future__ import annotations

import os
import signal
from contextlib import suppress
from pathlib import Path

import pytest

from tests.e2e.scripts import Project, browsers, kill_browser
from tests.gateway import Gateway
from tests.hostile import Server

LAUNCH = """
    page = await manager.launch_session("login", url={url!r})
    report(manager.get_session_info("login").metadata["raptor_admin"]["profile_dir"])
"""
TRY = """
    try:
        await manager.launch_session("login")
        report("launched")
    except SessionException as error:
        report(error.message)
"""


CHANGE = """
    from sessions_app.client.runtime import run_sync
    from sessions_app.client.writer import store_document
    from sessions_app.models import BrowserSession
    content = manager.get_session_info("login").to_dict() | {{"cdp_url": {url!r}}}
    run_sync(lambda: store_document(BrowserSession.objects.get(), content))
"""


def environment_of(pid: int) -> dict[str, str]:
    if not Path("/proc/self/environ").exists():
        pytest.skip("there is no /proc to read an environment from")
    entries = Path(f"/proc/{pid}/environ").read_bytes().decode().split("\0")
    return dict(entry.split("=", 1) for entry in entries if entry)


def test_markers_of_ci_and_settings_are_not_inherited(project: Project) -> None:
    markers = {"RUNNER_TRACKING_ID": "x", "JENKINS_NODE_COOKIE": "y", "BUILD_ID": "1", "CI_JOB_TOKEN": "z"}
    done = project.run(
        "-c",
        "import asyncio\nfrom raptor.core.session_manager import SessionManager\n"
        "async def main():\n    async with SessionManager(namespace='shop') as manager:\n"
        "        await manager.launch_session('login')\nasyncio.run(main())",
        **markers,
    )
    assert done.returncode == 0, done.stderr
    (pid,) = browsers(project)
    inherited = environment_of(pid)
    assert not set(markers) & set(inherited)
    assert {name for name in inherited if name.startswith("RAPTOR_")} == {"RAPTOR_SESSION"}
    assert inherited["RAPTOR_SESSION"] == "shop/login"
    folder = Path(f"/proc/{pid}/cwd").readlink() / inherited["TMPDIR"]
    assert folder.is_dir()
    assert folder.is_relative_to(project.directory / "var" / "browsers")


def test_a_profile_that_was_locked_under_another_host_name_is_used_again(project: Project, shop: str) -> None:
    (profile,) = project.script(LAUNCH.format(url=f"{shop}/"))
    kill_browser(project)
    lock = Path(profile) / "SingletonLock"
    lock.unlink()
    lock.symlink_to("oldhost-4711")
    assert project.script(TRY) == ["launched"]
    assert len(browsers(project)) == 1


def test_a_profile_on_a_long_path_is_used(project: Project) -> None:
    project.directory.joinpath("x" * 90).mkdir()
    long = str(project.directory / ("x" * 90) / ("y" * 60))
    work = (
        "import asyncio\nfrom raptor.core.session_manager import SessionManager\n"
        "async def main():\n    async with SessionManager() as manager:\n"
        "        print((await manager.launch_session('login')).url)\n"
        "        await manager.close_session('login')\nasyncio.run(main())"
    )
    done = project.run("-c", work, RAPTOR_VAR_DIR=long)
    assert done.stdout == "about:blank\n", done.stderr


def test_no_second_browser_is_started_over_one_that_may_be_running(project: Project, shop: str) -> None:
    project.script(LAUNCH.format(url=f"{shop}/"))
    (endpoint,) = project.script('report(manager.get_session_info("login").cdp_url)')
    port = int(endpoint.split(":")[2].partition("/")[0])
    with (
        Server(Gateway({"": port}, token="T")).running() as guarded,
        Server(lambda connection: connection.wait()).running() as silent,
    ):
        cases = {
            endpoint.replace("127.0.0.1", "chrome.example"): "is not an allowed host",
            f"ws://{guarded.place}/": "requires a login (401)",
            f"ws://{silent.place}/devtools/browser/1": "did not answer in time",
        }
        for url, reason in cases.items():
            (message,) = project.script(CHANGE.format(url=url) + TRY)
            assert "may be running" in message
            assert reason in message
            assert 'launch_session("login", replace=True)' in message
    assert len(browsers(project)) == 1


def test_the_browser_of_the_profile_is_replaced_when_the_saved_one_cannot_be_identified(
    project: Project, shop: str
) -> None:
    project.script(LAUNCH.format(url=f"{shop}/"))
    before = browsers(project)
    replaced = """
    report((await manager.launch_session("login", replace=True)).url)
"""
    change = CHANGE.format(url="ws://chrome.example:9222/devtools/browser/1")
    assert project.script(change + replaced) == ["about:blank"]
    assert len(browsers(project)) == 1
    assert browsers(project) != before


def test_launching_needs_no_allowed_host(project: Project) -> None:
    done = project.run(
        "-c",
        "import asyncio\nfrom raptor.core.session_manager import SessionManager\n"
        "async def main():\n    async with SessionManager() as manager:\n"
        "        print((await manager.launch_session('login')).url)\nasyncio.run(main())",
        RAPTOR_CDP_ALLOWED_HOSTS="chrome.example",
    )
    assert done.stdout == "about:blank\n", done.stderr


def test_a_browser_that_does_not_answer_is_killed_only_to_be_replaced(project: Project, shop: str) -> None:
    project.script(LAUNCH.format(url=f"{shop}/"))
    project.script('manager.delete_session("login")')
    (pid,) = browsers(project)
    os.kill(pid, signal.SIGSTOP)
    try:
        (message,) = project.script(TRY)
        assert f"runs as process {pid} and does not answer" in message
        assert browsers(project) == [pid]
        replaced = 'report((await manager.launch_session("login", replace=True)).url)'
        assert project.script(replaced) == ["about:blank"]
        assert len(browsers(project)) == 1
        assert browsers(project) != [pid]
    finally:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)
