"""Opens the browser of a profile: finds the one that runs, or starts one."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING

from sessions_app.browsers.client import Connection, Driver
from sessions_app.browsers.closing import close_unresponsive_tabs
from sessions_app.browsers.launcher import OpenChromium, read_endpoint, start, system_programs
from sessions_app.browsers.probe import Liveness, probe
from sessions_app.browsers.profile_lock import browser_of, end_browser, wait_until_unused
from sessions_app.exceptions import SessionException, TabUnresponsive

if TYPE_CHECKING:
    from sessions_app.browsers.client import AsyncPage

_LOOPBACK = ("127.0.0.1", "::1")
END_SECONDS = 5.0


async def open_chromium(
    driver: Driver, profile_dir: Path, *, chosen: str, headless: bool, name: str, session: str, replace: bool
) -> OpenChromium:
    """Start a Chromium that outlives this program, or find the one that already uses the profile.

    Args:
        chosen: Path of the program; if blank, Playwright's Chromium or the system's.
        name: Name of the session, for the messages.
        session: Mark of the browser; see ``launcher.start``.
        replace: Kill a browser that uses the profile and does not answer.
    Raises: SessionException: there is no Chromium, or it does not start.
    """
    # A browser keeps running after its session is removed.
    if running := await asyncio.to_thread(find_running, profile_dir):
        return OpenChromium(running, pid=None)
    await asyncio.to_thread(_free, profile_dir, name=name, is_forced=replace)
    program = chosen or await _program(driver)
    opened = await asyncio.to_thread(start, program, profile_dir, headless=headless, session=session)
    try:
        listening = await asyncio.to_thread(find_running, profile_dir)
    except BaseException:
        opened.take_back()
        raise
    return OpenChromium(listening or opened.cdp_url, opened.pid)


def find_running(profile_dir: Path) -> str:
    """Return the endpoint of the browser that runs with a profile; blank if none answers."""
    written = read_endpoint(profile_dir) or ""
    for endpoint in both_families(written):
        if probe(endpoint, allowed_hosts=_LOOPBACK).liveness is Liveness.ALIVE:
            return endpoint
    return ""


def both_families(endpoint: str) -> tuple[str, str]:
    """Return a loopback endpoint on IPv4 and on IPv6.

    Chromium listens on IPv6 alone where another program has the port on IPv4.
    """
    return endpoint, endpoint.replace("127.0.0.1", "[::1]", 1)


def _free(profile_dir: Path, *, name: str, is_forced: bool) -> None:
    """Make sure that no browser uses a profile; one that is ending has some time.

    Raises: SessionException: a browser uses it.
    """
    if wait_until_unused(profile_dir, seconds=END_SECONDS):
        return
    if not is_forced or not end_browser(profile_dir, seconds=END_SECONDS):
        raise SessionException(
            f"A browser with the profile of “{name}” runs as process {browser_of(profile_dir)} and does not "
            f'answer. launch_session("{name}", replace=True) kills it.'
        )


async def _program(driver: Driver) -> str:
    own = await driver.chromium_path()
    found = str(own) if own.exists() else next(system_programs(), None)
    if found is None:
        raise SessionException(
            "There is no Chromium on this machine. Install one (python -m playwright install chromium, "
            "or the system's package), or name its program in RAPTOR_CHROMIUM."
        )
    return found


async def connect(driver: Driver, opened: OpenChromium, *, name: str) -> Connection:
    """Connect to an opened browser.

    One that was running without its session may have tabs that hang. They are closed: nothing else can.
    """
    try:
        return await driver.connect(opened.cdp_url, name=name)
    except TabUnresponsive:
        await asyncio.to_thread(
            close_unresponsive_tabs, opened.cdp_url, allowed_hosts=_LOOPBACK, name=name, target_id=""
        )
    return await driver.connect(opened.cdp_url, name=name)


async def first_page(connection: Connection) -> AsyncPage:
    """Return a page of the browser's default context; open one if all were closed or have crashed."""
    context = connection.browser.contexts[0]
    return context.pages[0] if context.pages else await context.new_page()
