"""Browsers with tabs that hang, are stopped, show a dialog, or have crashed."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from sessions_app.browsers.tabs import SILENCE_SECONDS
from tests.e2e.scripts import Project, browsers, wait_until_closed

HANGS_AFTER_SECONDS = {"loop": 2, "alert": 5}
HANGING = {
    "loop": "setTimeout(() => { for (;;) {} }, 200)",
    # The dialog opens after the last client has disconnected, so that nobody dismisses it.
    "alert": "setTimeout(() => alert('hello'), 5000)",
    "stopped": "for (const end = Date.now() + 1000; Date.now() < end;) {}",
}
OPEN = """
    from pathlib import Path
    from tests.e2e.scripts import Project, compute_seconds
    project = Project(Path.cwd())
    page = await manager.launch_session("shop", url="{shop}/")
    other = await page.context.new_page()
    await other.goto("data:text/html,<title>Busy tab</title>")
    before = compute_seconds(project)
    await other.evaluate({script!r})
    taken = {{pid: now - before.get(pid, 0) for pid, now in compute_seconds(project).items()}}
    # The process of the tab has computed the longest in the meantime.
    report(max(taken, key=taken.get, default=None))
"""
TRY = """
    async def tried(work):
        began = time.monotonic()
        try:
            result = await work
            result = getattr(result, "url", result)
        except SessionException as error:
            result = [type(error).__name__, error.message]
        report([result, time.monotonic() - began])
"""


@pytest.fixture
def hanging(request: pytest.FixtureRequest, project: Project, shop: str) -> Iterator[Project]:
    """A browser with the session “shop”, and another tab that does not respond."""
    kind = request.param
    if kind == "stopped" and not Path("/proc/self/stat").exists():
        pytest.skip("there is no /proc to find the process of a tab")
    (pid,) = project.script(OPEN.format(shop=shop, script=HANGING[kind]))
    if kind != "stopped":
        time.sleep(HANGS_AFTER_SECONDS[kind])
        yield project
        return
    os.kill(pid, signal.SIGSTOP)
    yield project
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGCONT)


@pytest.mark.parametrize("hanging", HANGING, indirect=True)
def test_the_tab_is_named_and_closed_and_the_session_restored(hanging: Project, shop: str) -> None:
    (refused, seconds), (closed, _), (url, _) = hanging.script(
        TRY
        + """
    await tried(manager.restore_session("shop"))
    await tried(manager.close_session("shop", tabs="unresponsive"))
    await tried(manager.restore_session("shop"))
    """
    )
    kind, message = refused
    assert kind == "TabUnresponsive"
    assert "“Busy tab” (data:…)" in message
    assert 'close_session("shop", tabs="unresponsive")' in message
    assert seconds < 15
    assert closed is None
    assert url == f"{shop}/"
    assert len(browsers(hanging)) == 1


@pytest.mark.parametrize("hanging", ["loop", "stopped"], indirect=True)
def test_closing_and_launching_do_not_wait_for_tabs(hanging: Project, shop: str) -> None:
    _, (_, control_seconds), (refused, _), (closed, seconds), (url, _) = hanging.script(
        TRY
        + f"""
    await tried(manager.launch_session("control"))
    await tried(manager.close_session("control"))
    await tried(manager.launch_session("shop"))
    await tried(manager.close_session("shop"))
    await tried(manager.launch_session("shop", url="{shop}/#new"))
    """
    )
    assert "is already running" in refused[1]
    assert 'launch_session("shop", replace=True)' in refused[1]
    assert closed is None
    # Asking the tabs whether they respond would take that long, and connecting a minute.
    assert seconds < control_seconds + SILENCE_SECONDS
    assert url == f"{shop}/#new"
    assert len(browsers(hanging)) == 1


@pytest.mark.parametrize("hanging", ["loop"], indirect=True)
def test_a_browser_without_a_session_is_adopted_without_its_hanging_tab(hanging: Project, shop: str) -> None:
    hanging.script('manager.delete_session("shop")')
    ((url, _),) = hanging.script(TRY + '    await tried(manager.launch_session("shop"))\n')
    assert url == f"{shop}/"
    assert len(browsers(hanging)) == 1


CRASH = """
    from playwright.async_api import Error
    page = await manager.{get}("shop")
    try:
        await page.goto("chrome://crash")
    except Error:
        pass
"""


@pytest.mark.parametrize("others", [0, 2])
def test_a_crashed_page_is_reported(project: Project, shop: str, others: int) -> None:
    project.script(
        CRASH.format(get="launch_session")
        + f"""
    for _ in range({others}):
        await page.context.new_page()
    """
    )
    (refused, _), (closed, _), (gone, _), (url, _) = project.script(
        TRY
        + f"""
    before = manager.get_session_info("shop").last_accessed
    await tried(manager.restore_session("shop"))
    assert manager.get_session_info("shop").last_accessed == before
    await tried(manager.close_session("shop", tabs="unresponsive"))
    await tried(manager.restore_session("shop"))
    await tried(manager.launch_session("shop", replace=True, url="{shop}/"))
    """
    )
    assert refused[0] == "PageCrashed"
    assert "its page has crashed" in refused[1]
    assert 'launch_session("shop", replace=True)' in refused[1]
    assert closed is None
    assert gone[0] == "PageNotFound"
    assert url == f"{shop}/"
    assert len(browsers(project)) == 1


@pytest.mark.parametrize("hanging", ["loop"], indirect=True)
def test_tabs_are_closed_by_command(hanging: Project) -> None:
    done = hanging.manage("close_browser", "shop", "--unresponsive-tabs", "--format", "json")
    assert done.returncode == 0, done.stderr
    assert '"closed": false' in done.stdout
    assert len(browsers(hanging)) == 1
    assert hanging.manage("close_browser", "shop").returncode == 0
    wait_until_closed(hanging)


def test_another_word_for_tabs_is_refused(project: Project) -> None:
    ((refused, _),) = project.script(TRY + '    await tried(manager.close_session("shop", tabs="hanging"))\n')
    assert "it can be “all” or “unresponsive”" in refused[1]
