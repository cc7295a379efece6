"""Real browsers: what is saved of one, the way back to it, and its end; the only importer of Playwright."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from sessions_app import probes
from sessions_app.chromium import POLL_SECONDS, OpenChromium, start, system_programs
from sessions_app.endpoints import mask_endpoints
from sessions_app.exceptions import BrowserReplaced, BrowserUnreachable, PageNotFound, SessionException
from sessions_app.probes import Address, EndpointRefused, Liveness, Probe

if TYPE_CHECKING:
    from playwright import async_api, sync_api

    AsyncPage = async_api.Page
    SyncPage = sync_api.Page

_T = TypeVar("_T")

CONNECT_MILLISECONDS = 10_000
CLOSE_SECONDS = 10.0


class Driver:
    """Playwright's own process: started when a browser is first touched, ended when told to.

    Args:
        allowed_hosts: Where browsers may be contacted.
    """

    def __init__(self, allowed_hosts: Iterable[str]) -> None:
        self._allowed_hosts = tuple(allowed_hosts)
        self._playwright: async_api.Playwright | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    async def playwright(self) -> async_api.Playwright:
        """Give the Playwright of this event loop; that of a loop that has ended went with it."""
        loop = asyncio.get_running_loop()
        if self._playwright is None or self._loop is not loop:
            from playwright.async_api import async_playwright

            self._playwright, self._loop = await async_playwright().start(), loop
        return self._playwright

    async def aclose(self) -> None:
        """End Playwright's process. The browsers that it was connected to go on."""
        playwright, self._playwright = self._playwright, None
        if playwright is not None and self._loop is asyncio.get_running_loop():
            await playwright.stop()

    async def connect(self, cdp_url: str, *, name: str) -> async_api.Browser:
        """Connect to the browser of a session, and to no other.

        Args:
            name: The session's, for the messages.
        Raises: BrowserUnreachable, BrowserReplaced: it is not there any more, or must not be contacted.
        """
        playwright = await self.playwright()
        from playwright.async_api import Error

        try:
            address = await asyncio.to_thread(probes.resolve, cdp_url, allowed_hosts=self._allowed_hosts)
        except EndpointRefused as reason:
            raise BrowserUnreachable(f"The browser of “{name}” was not contacted: {reason}.") from None
        if not address.browser_id:
            address = await self._found(cdp_url, name=name)
        try:
            # A browser answers to its own id only, so this is the one that was saved, or none.
            return await playwright.chromium.connect_over_cdp(
                address.socket_url, timeout=CONNECT_MILLISECONDS
            )
        except Error as error:
            await self._found(cdp_url, name=name)
            told = mask_endpoints(error.message.splitlines()[0], cdp_url=cdp_url)
            raise BrowserUnreachable(f"The browser of “{name}” cannot be connected to: {told}") from None

    async def probe(self, cdp_url: str) -> Probe:
        return await asyncio.to_thread(probes.probe, cdp_url, allowed_hosts=self._allowed_hosts)

    async def _found(self, cdp_url: str, *, name: str) -> Address:
        """Ask a browser where it is; tell what is wrong where it is not there."""
        found = await self.probe(cdp_url)
        if found.liveness is Liveness.REPLACED:
            raise BrowserReplaced(
                f"The browser of “{name}” was replaced: {found.because}, and is left alone. Save a new "
                "session, with launch_session for example."
            )
        if found.address is None:
            raise BrowserUnreachable(
                f"The browser of “{name}” does not answer: {found.because}. It was closed or has crashed. "
                "The session is kept; launch_session opens a new browser for it."
            )
        return found.address

    async def open_chromium(
        self, profile_dir: Path, *, chosen: str, headless: bool, name: str
    ) -> tuple[OpenChromium, async_api.Browser]:
        """Start a Chromium that outlives this program, and connect to it.

        Args:
            chosen: The program; where it is blank, that of Playwright or of the system.
        Raises: SessionException: there is no Chromium, or it does not start.
        """
        program = chosen or await self._program()
        opened = await asyncio.to_thread(start, program, profile_dir, headless=headless)
        try:
            return opened, await self.connect(opened.cdp_url, name=name)
        except BaseException:
            opened.kill()
            raise

    async def _program(self) -> str:
        own = (await self.playwright()).chromium.executable_path
        found = own if Path(own).exists() else next(system_programs(), None)
        if found is None:
            raise SessionException(
                "There is no Chromium on this machine. Install one (python -m playwright install chromium, "
                "or the system's package), or name its program in RAPTOR_CHROMIUM."
            )
        return found

    async def close_browser(self, cdp_url: str, *, name: str) -> None:
        """End the browser of a session, and wait until it has let go of its port.

        Raises: BrowserUnreachable, BrowserReplaced: see ``connect``.
        """
        browser = await self.connect(cdp_url, name=name)
        from playwright.async_api import Error

        session = await browser.new_browser_cdp_session()
        with suppress(Error):
            await session.send("Browser.close")
        until = time.monotonic() + CLOSE_SECONDS
        while (await self.probe(cdp_url)).liveness is Liveness.ALIVE:
            if time.monotonic() > until:
                raise SessionException(f"The browser of “{name}” was told to close, and has not done so.")
            await asyncio.sleep(POLL_SECONDS)


async def find_page(
    browser: async_api.Browser, *, name: str, metadata: Mapping[str, Any] | None = None
) -> async_api.Page:
    """Find the page that was saved: by its target, else by its address, else the first one.

    Args:
        metadata: What was saved of the page, see ``PageFacts.metadata``.
    Raises: PageNotFound: the browser has none.
    """
    pages = [page for context in browser.contexts for page in context.pages]
    if not pages:
        raise PageNotFound(
            f"The browser of “{name}” still runs, but all of its pages were closed. Open one, or close it."
        )
    saved = metadata or {}
    # With one page there is nothing to ask, which takes a third of the time of connecting.
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
        told = mask_endpoints(error.message.splitlines()[0])
        raise SessionException(f"The page cannot be opened: {told}") from None


async def _target_id(page: async_api.Page) -> str:
    from playwright.async_api import Error

    # A page may be closed while it is asked.
    with suppress(Error):
        session = await page.context.new_cdp_session(page)
        told = await session.send("Target.getTargetInfo")
        await session.detach()
        return str(told["targetInfo"]["targetId"])
    return ""
