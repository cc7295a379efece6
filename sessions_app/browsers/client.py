"""Connects to real browsers and ends them; the only module that imports Playwright."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

from sessions_app.browsers import probe as probes
from sessions_app.browsers.launcher import (
    POLL_SECONDS,
    OpenChromium,
    read_endpoint,
    start,
    system_programs,
)
from sessions_app.browsers.probe import Address, EndpointRefused, Liveness, Probe
from sessions_app.exceptions import BrowserReplaced, BrowserUnreachable, PageNotFound, SessionException
from sessions_app.session.endpoint import mask_endpoints

if TYPE_CHECKING:
    from playwright import async_api, sync_api

    AsyncPage = async_api.Page
    SyncPage = sync_api.Page

CONNECT_MILLISECONDS = 4_000
CLOSE_SECONDS = 10.0


class Driver:
    """Playwright's driver process: started when a browser is first needed, stopped by ``aclose``.

    Each event loop has its own, which must be stopped in the same loop: Playwright allows nothing else.

    Args:
        allowed_hosts: Hosts and networks that may be contacted.
    """

    def __init__(self, allowed_hosts: Iterable[str]) -> None:
        self._allowed_hosts = tuple(allowed_hosts)
        self._starts: WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Task[async_api.Playwright]] = (
            WeakKeyDictionary()
        )

    async def playwright(self) -> async_api.Playwright:
        """Return the Playwright of this event loop; concurrent callers share one start."""
        loop = asyncio.get_running_loop()
        start = self._starts.get(loop)
        if start is None or (start.done() and start.exception() is not None):
            from playwright.async_api import async_playwright

            start = self._starts[loop] = loop.create_task(async_playwright().start())
        # Shield the start: a cancelled caller must not orphan the driver process.
        return await asyncio.shield(start)

    async def aclose(self) -> None:
        """Stop Playwright's process. The browsers that it was connected to keep running."""
        start = self._starts.pop(asyncio.get_running_loop(), None)
        if start is not None:
            await (await start).stop()

    async def connect(
        self, cdp_url: str, *, name: str, target_id: object = None, is_to_be_closed: bool = False
    ) -> async_api.Browser:
        """Connect to the browser of a session, and to no other.

        Args:
            name: Name of the session, for the messages.
            target_id: Target of the saved page. It identifies the browser if the endpoint does not.
            is_to_be_closed: Refuse a browser that neither identifies.
        Raises: BrowserUnreachable, BrowserReplaced: the browser is gone, or must not be contacted.
        """
        playwright = await self.playwright()
        try:
            address = await asyncio.to_thread(probes.resolve, cdp_url, allowed_hosts=self._allowed_hosts)
        except EndpointRefused as reason:
            raise BrowserUnreachable(f"The browser of “{name}” was not contacted: {reason}.") from None
        if not address.browser_id:
            address = await self._found(cdp_url, name=name)
            await _check_identity(address, name=name, target_id=target_id, is_needed=is_to_be_closed)
        browser, failure = await _connected(playwright, address.socket_url)
        if browser is None:
            # A browser accepts its own id only, so this is not the saved one: report what answers instead.
            await self._found(cdp_url, name=name)
            message = mask_endpoints(failure, cdp_url=cdp_url)
            raise BrowserUnreachable(f"The browser of “{name}” cannot be connected to: {message}")
        return browser

    async def probe(self, cdp_url: str) -> Probe:
        return await asyncio.to_thread(probes.probe, cdp_url, allowed_hosts=self._allowed_hosts)

    async def _found(self, cdp_url: str, *, name: str) -> Address:
        """Return the address of a browser, or raise what is wrong with it."""
        found = await self.probe(cdp_url)
        if found.liveness is Liveness.REPLACED:
            raise BrowserReplaced(_replaced(name, found.reason))
        if found.address is None:
            raise BrowserUnreachable(
                f"The browser of “{name}” does not answer: {found.reason}. The session is kept. If its "
                "browser was closed or has crashed, launch_session opens a new one."
            )
        return found.address

    async def open_chromium(self, profile_dir: Path, *, chosen: str, headless: bool) -> OpenChromium:
        """Start a Chromium that outlives this program, or find the one that already uses the profile.

        Args:
            chosen: Path of the program; if blank, Playwright's Chromium or the system's.
        Raises: SessionException: there is no Chromium, or it does not start.
        """
        endpoint = read_endpoint(profile_dir) or ""
        # A browser keeps running after its session is removed.
        if (await self.probe(endpoint)).liveness is Liveness.ALIVE:
            return OpenChromium(endpoint, pid=None)
        program = chosen or await self._program()
        return await asyncio.to_thread(start, program, profile_dir, headless=headless)

    async def _program(self) -> str:
        own = (await self.playwright()).chromium.executable_path
        found = own if Path(own).exists() else next(system_programs(), None)
        if found is None:
            raise SessionException(
                "There is no Chromium on this machine. Install one (python -m playwright install chromium, "
                "or the system's package), or name its program in RAPTOR_CHROMIUM."
            )
        return found

    async def close_browser(self, cdp_url: str, *, name: str, target_id: object) -> None:
        """End the browser of a session, and wait until it has released its port.

        A browser that cannot be identified is left alone.

        Raises: BrowserUnreachable, BrowserReplaced: see ``connect``.
        """
        browser = await self.connect(cdp_url, name=name, target_id=target_id, is_to_be_closed=True)
        from playwright.async_api import Error

        session = await browser.new_browser_cdp_session()
        with suppress(Error):
            await session.send("Browser.close")
        until = time.monotonic() + CLOSE_SECONDS
        while (await self.probe(cdp_url)).liveness is Liveness.ALIVE:
            if time.monotonic() > until:
                raise SessionException(f"The browser of “{name}” was asked to close and is still running.")
            await asyncio.sleep(POLL_SECONDS)


async def _connected(
    playwright: async_api.Playwright, socket_url: str
) -> tuple[async_api.Browser | None, str]:
    """Connect, or return the first line of the error; the rest of it holds the endpoint."""
    from playwright.async_api import Error

    try:
        return await playwright.chromium.connect_over_cdp(socket_url, timeout=CONNECT_MILLISECONDS), ""
    except Error as error:
        return None, error.message.splitlines()[0]


async def _check_identity(address: Address, *, name: str, target_id: object, is_needed: bool) -> None:
    """Identify a browser by the saved page if its endpoint has no browser id."""
    if target_id:
        if not await asyncio.to_thread(probes.has_target, address, target_id):
            reason = f"the one at {address.place} does not have the page that was saved"
            raise BrowserReplaced(_replaced(name, reason))
    elif is_needed:
        raise SessionException(
            f"The browser of “{name}” is left alone: nothing that was saved identifies it at "
            f"{address.place}. Restore it and save it again first."
        )


def _replaced(name: str, reason: str) -> str:
    return (
        f"The browser of “{name}” was replaced: {reason}. It is left alone. Save a new session, "
        "for example with launch_session."
    )


@asynccontextmanager
async def disconnecting_on_failure(browser: async_api.Browser) -> AsyncIterator[None]:
    """Close a connection that is not handed to the caller."""
    try:
        yield
    except BaseException:
        await browser.close()
        raise


async def find_page(browser: async_api.Browser, *, name: str, metadata: object = None) -> async_api.Page:
    """Find the saved page: by its target, otherwise by its address, otherwise the first one.

    Args:
        metadata: What was saved about the page; see ``PageFacts.metadata``.
    Raises: PageNotFound: the browser has no page.
    """
    pages = [page for context in browser.contexts for page in context.pages]
    if not pages:
        raise PageNotFound(
            f"The browser of “{name}” is running, but all of its pages were closed. Open one, or close it."
        )
    saved = metadata if isinstance(metadata, dict) else {}
    # With a single page, skip the target lookup; it costs a third of the connection time.
    if len(pages) > 1 and (target_id := saved.get("page_target_id")):
        ids = await asyncio.gather(*map(_target_id, pages))
        if target_id in ids:
            return pages[ids.index(target_id)]
    return next((page for page in pages if page.url == saved.get("page_url")), pages[0])


async def open_page(page: async_api.Page, url: str) -> None:
    """Open an address in a page.

    Raises: SessionException: it cannot be opened.
    """
    from playwright.async_api import Error

    try:
        await page.goto(url)
    except Error as error:
        message = mask_endpoints(error.message.splitlines()[0])
        raise SessionException(f"The page cannot be opened: {message}") from None


async def _target_id(page: async_api.Page) -> str:
    from playwright.async_api import Error

    # The page may be closed in the meantime.
    with suppress(Error):
        session = await page.context.new_cdp_session(page)
        info = await session.send("Target.getTargetInfo")
        await session.detach()
        return str(info["targetInfo"]["targetId"])
    return ""
