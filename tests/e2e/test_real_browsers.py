"""Browsers that one process saves and another restores."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from pathlib import Path

import pytest

from tests.e2e.scripts import Project, browsers, is_listening, kill_browser, wait_until, wait_until_closed

RESTORE = """
    began = time.monotonic()
    try:
        page = await manager.restore_session("login")
        await page.reload()
        report(await page.inner_text("h1"))
    except SessionException as error:
        report([type(error).__name__, error.message])
    report(time.monotonic() - began)
    report(manager.list_sessions())
"""


@pytest.fixture
def logged_in(project: Project, shop: str) -> Project:
    """A project in which an ended process has opened a browser, logged in and saved it."""
    reported = project.script(
        f"""
        page = await manager.launch_session("login", url="{shop}/")
        report(await page.inner_text("h1"))
        await page.goto("{shop}/login")
        await page.goto("{shop}/")
        info = await manager.save_session(page, "login", {{"user": "ada"}})
        report(info.to_dict())
        """
    )
    assert reported[0] == "Please log in"
    metadata = reported[1]["metadata"]
    assert metadata["page_url"] == f"{shop}/"
    assert metadata["page_title"] == "Shop"
    assert metadata["user"] == "ada"
    assert metadata["raptor_admin"]["browser_version"]
    assert metadata["raptor_admin"]["host"]
    assert reported[1]["cdp_url"].startswith("ws://127.0.0.1:")
    return project


def test_another_process_is_still_logged_in(logged_in: Project) -> None:
    heading, _, names = logged_in.script(RESTORE)
    assert heading == "Hello Ada"
    assert names == ["login"]
    # The browser keeps running, so it can be restored again.
    assert logged_in.script(RESTORE)[0] == "Hello Ada"


def test_a_killed_browser_is_reported_and_its_session_kept(logged_in: Project) -> None:
    kill_browser(logged_in)
    (kind, message), seconds, names = logged_in.script(RESTORE)
    assert kind == "BrowserUnreachable"
    assert "nothing listens at 127.0.0.1:" in message
    assert "/devtools/" not in message
    assert seconds < 5
    assert names == ["login"]


def test_another_browser_on_the_same_port_is_not_touched(logged_in: Project, project: Project) -> None:
    endpoint = logged_in.script('report(manager.get_session_info("login").cdp_url)')[0]
    port = endpoint.split(":")[2].partition("/")[0]
    kill_browser(logged_in)
    other = subprocess.Popen(
        [
            project.environment["RAPTOR_CHROMIUM"],
            "--headless=new",
            "--no-sandbox",
            f"--remote-debugging-port={port}",
            f"--user-data-dir={project.directory}/other",
            "about:blank",
        ],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        wait_until(lambda: is_listening(int(port)))
        (kind, message), seconds, names = logged_in.script(RESTORE)
        assert kind == "BrowserReplaced"
        assert f"another browser listens at 127.0.0.1:{port}" in message
        assert seconds < 5
        assert names == ["login"]
        closed = logged_in.manage("close_browser", "login")
        assert closed.returncode == 1
        assert "was replaced" in closed.stderr
        assert other.poll() is None
    finally:
        os.killpg(other.pid, signal.SIGKILL)
        other.wait()


def test_a_suspended_browser_is_reported_in_time(logged_in: Project) -> None:
    """Check that a browser that listens and does not answer times out."""
    (pid,) = browsers(logged_in)
    os.kill(pid, signal.SIGSTOP)
    try:
        (kind, _), seconds, _ = logged_in.script(RESTORE)
    finally:
        os.kill(pid, signal.SIGCONT)
    assert kind == "BrowserUnreachable"
    assert seconds < 20


def test_the_saved_page_is_returned(logged_in: Project, shop: str) -> None:
    reported = logged_in.script(
        f"""
        page = await manager.restore_session("login")
        first = await page.context.new_page()
        await first.goto("{shop}/#first")
        saved = await page.context.new_page()
        await saved.goto("{shop}/#saved")
        await manager.save_session(saved, "login")
        await saved.goto("{shop}/#moved")
        """
    )
    assert reported == []
    where = 'page = await manager.restore_session("login"); report(page.url); await page.close()'
    # Found by its target after a navigation. Once it is closed, no other page takes its place.
    assert logged_in.script(where) == [f"{shop}/#moved"]
    assert logged_in.script(RESTORE)[0][0] == "PageNotFound"


def test_playwright_ends_on_close(logged_in: Project) -> None:
    """Check that a program that keeps running has no process left."""
    reported = logged_in.script(
        """
        import os, subprocess
        def children():
            listing = ["ps", "-A", "-o", "ppid=,pid=,comm="]
            listed = subprocess.run(listing, capture_output=True, text=True).stdout
            rows = [line.split(None, 2) for line in listed.splitlines()]
            return [row[2] for row in rows if int(row[0]) == os.getpid() and row[2] != "ps"]
        for _ in range(3):
            await manager.restore_session("login")
        report(children())
        await manager.aclose()
        report(children())
        await manager.restore_session("login")
        """
    )
    assert len(reported[0]) == 1
    assert reported[1] == []
    assert len(browsers(logged_in)) == 1


def test_a_browser_is_opened_and_closed_by_command(project: Project, shop: str) -> None:
    project.manage("migrate", "-v0")
    opened = project.manage(
        "open_browser", "manually", "--headless", "--url", f"{shop}/login", "--format", "json"
    )
    assert opened.returncode == 0, opened.stderr
    report = json.loads(opened.stdout)
    assert report["name"] == "manually"
    assert "/devtools/" not in opened.stdout
    again = project.manage("open_browser", "manually", "--headless")
    assert again.returncode == 1
    assert "is already running" in again.stderr
    closed = project.manage("close_browser", "manually")
    assert closed.returncode == 0, closed.stderr
    wait_until_closed(project)
    assert "nothing listens" in project.manage("close_browser", "manually").stderr
    # The profile is used again.
    reported = project.script(
        f'page = await manager.launch_session("manually", url="{shop}/"); report(await page.title())'
    )
    assert reported == ["Shop"]


def test_a_browser_that_does_not_start_reports_the_reason(project: Project) -> None:
    project.manage("migrate", "-v0")
    failed = project.run(
        str(Path(__file__).resolve().parents[2] / "manage.py"),
        "open_browser",
        "no-screen",
        DISPLAY="",
        WAYLAND_DISPLAY="",
    )
    assert failed.returncode == 1
    assert "start it with headless" in failed.stderr
    nowhere = project.manage("open_browser", "nowhere", "--headless", "--url", "http://127.0.0.1:1/")
    assert nowhere.returncode == 1
    assert "The page cannot be opened" in nowhere.stderr
    wait_until_closed(project)
    assert "nowhere" not in project.manage("list_sessions").stdout


SAVED_BY_PLAYWRIGHT = """
    import warnings
    from playwright.async_api import async_playwright
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path={program!r}, args={arguments!r})
        page = await browser.new_page()
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            info = await manager.save_session(page, "launched")
        report([bool(info.cdp_url), manager.validate_session("launched"), [str(w.message) for w in caught]])
"""


def test_the_endpoint_of_a_launched_browser_is_found(project: Project) -> None:
    arguments = ["--no-sandbox", "--remote-debugging-port=0"]
    program = project.environment["RAPTOR_CHROMIUM"]
    reported = project.script(SAVED_BY_PLAYWRIGHT.format(program=program, arguments=arguments))
    ((has_endpoint, is_valid, warnings),) = reported
    assert (has_endpoint, is_valid) == (True, True)
    assert "missing_cdp_url" not in str(warnings)


def test_a_browser_without_an_endpoint_is_saved_with_a_warning(project: Project) -> None:
    program = project.environment["RAPTOR_CHROMIUM"]
    reported = project.script(SAVED_BY_PLAYWRIGHT.format(program=program, arguments=["--no-sandbox"]))
    has_endpoint, is_valid, warnings = reported[0]
    assert not has_endpoint
    assert not is_valid
    assert "missing_cdp_url" in warnings[0]
    assert "--remote-debugging-port=0" in warnings[0]


def test_a_page_of_the_synchronous_api_is_saved(project: Project) -> None:
    done = project.run(
        "-c",
        f"""
from playwright.sync_api import sync_playwright
from raptor.core.session_manager import SessionManager
manager = SessionManager()
with sync_playwright() as playwright:
    browser = playwright.chromium.launch(
        executable_path={project.environment["RAPTOR_CHROMIUM"]!r},
        args=["--no-sandbox", "--remote-debugging-port=0"],
    )
    info = manager.save_session(browser.new_page(), "sync")
    print(manager.list_sessions(), manager.validate_session("sync"), info.cdp_url[:15])
""",
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "['sync'] True ws://127.0.0.1:"
