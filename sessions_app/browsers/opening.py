"""Opens the browser of a profile: finds the one that runs, or starts one."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from sessions_app.browsers.client import Connection, Driver
from sessions_app.browsers.closing import close_browser, close_unresponsive_tabs
from sessions_app.browsers.guard import LOOPBACK
from sessions_app.browsers.launcher import OpenChromium, read_endpoint, start, system_programs
from sessions_app.browsers.probe import Liveness, probe
from sessions_app.browsers.profile_lock import browser_of, end_browser, wait_until_unused
from sessions_app.exceptions import SessionException, TabUnresponsive

if TYPE_CHECKING:
    from sessions_app.browsers.client import AsyncPage

END_SECONDS = 5.0
_T = TypeVar("_T")


async def open_chromium(
    driver: Driver, profile_dir: Path, *, chosen: str, headless: bool, name: str, session: str, replace: bool
) -> OpenChromium:
    """Start a Chromium that outlives this program, or find the one that already uses the profile.

    Args:
        chosen: Path of the program; if blank, Playwright's Chromium or the system's.
        name: Name of the session, for the messages.
        session: Mark of the browser; see ``launcher.start``.
        replace: End a browser that uses the profile.
    Raises: SessionException: there is no Chromium, or it does not start.
    """
    # A browser keeps running after its session is removed.
    if running := await _in_thread(find_running, profile_dir):
        if not replace:
            return OpenChromium(running, pid=None)
        with suppress(SessionException):
            await _in_thread(close_browser, running, allowed_hosts=LOOPBACK, name=name, target_id="")
    await _in_thread(_free, profile_dir, name=name, is_forced=replace)
    program = chosen or await _program(driver)
    work = partial(start, program, profile_dir, headless=headless, session=session)
    opened = await _in_thread(work, undo=OpenChromium.take_back)
    try:
        listening = await _in_thread(find_running, profile_dir)
    except BaseException:
        opened.take_back()
        raise
    return OpenChromium(listening or opened.cdp_url, opened.pid)


async def _in_thread(
    work: Callable[..., _T], *arguments: Any, undo: Callable[[_T], object] | None = None, **options: Any
) -> _T:
    """Run work in a thread and wait for its end, even if the caller is cancelled.

    Otherwise the thread would start or end browsers when the lock of the profile is already free.

    Args:
        undo: Called with the result if the caller is cancelled.
    """
    loop = asyncio.get_running_loop()
    # Not a task: the end of a program cancels all tasks.
    future = loop.run_in_executor(None, partial(work, *arguments, **options))
    try:
        return await asyncio.shield(future)
    except asyncio.CancelledError:
        while not future.done():
            with suppress(asyncio.CancelledError):
                await asyncio.wait({future})
        if future.exception() is None and undo is not None:
            undo(future.result())
        raise


def find_running(profile_dir: Path) -> str:
    """Return the endpoint of the browser that runs with a profile; blank if none answers."""
    written = read_endpoint(profile_dir) or ""
    for endpoint in both_families(written):
        if probe(endpoint, allowed_hosts=LOOPBACK).liveness is Liveness.ALIVE:
            return endpoint
    return ""


def both_families(endpoint: str) -> tuple[str, str]:
    """Return a loopback endpoint on IPv4 and on IPv6.

    Chromium listens on IPv6 alone where another program has the port on IPv4.
    """
    return endpoint, endpoint.replace("127.0.0.1", "[::1]", 1)


def _free(profile_dir: Path, *, name: str, is_forced: bool) -> None:
    """Make sure that no browser uses a profile; wait some time for a browser that is ending.

    Raises: SessionException: a browser uses it.
    """
    if wait_until_unused(profile_dir, seconds=END_SECONDS):
        return
    pid = browser_of(profile_dir)
    if not is_forced:
        raise SessionException(
            f"A browser with the profile of “{name}” runs as process {pid} and does not "
            f'answer. launch_session("{name}", replace=True) kills it.'
        )
    if not end_browser(profile_dir, seconds=END_SECONDS):
        raise SessionException(
            f"A browser with the profile of “{name}” runs as process {pid} and could not be killed. "
            f"End process {pid} as its user or as root, and launch again."
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

    If it was running without its session, it may have tabs that hang. They are closed: nothing else can.
    It was found or started on this machine, so loopback need not be an allowed host.
    """
    connecting = partial(driver.connect, opened.cdp_url, name=name, allowed_hosts=LOOPBACK)
    try:
        return await connecting()
    except TabUnresponsive:
        await asyncio.to_thread(
            close_unresponsive_tabs, opened.cdp_url, allowed_hosts=LOOPBACK, name=name, target_id=""
        )
    return await connecting()


async def first_page(connection: Connection) -> AsyncPage:
    """Return a page of the browser's default context; open one if all were closed or have crashed."""
    context = connection.browser.contexts[0]
    return context.pages[0] if context.pages else await context.new_page()
