"""Real browsers: what is saved of one, the way back to it, and its end; the only importer of Playwright."""

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
from sessions_app.session.masking import safe_message

if TYPE_CHECKING:
    from playwright import async_api, sync_api

    AsyncPage = async_api.Page
    SyncPage = sync_api.Page

CONNECT_MILLISECONDS = 4_000
CLOSE_SECONDS = 10.0


class Driver:
    """Playwright's own process: started when a browser is first touched, ended when told to.

    Each event loop has one of its own, which is to be ended in it: Playwright has no other way.

    Args:
        allowed_hosts: Where browsers may be contacted.
    """

    def __init__(self, allowed_hosts: Iterable[str]) -> None:
        self._allowed_hosts = tuple(allowed_hosts)
        self._starts: WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Task[async_api.Playwright]] = (
            WeakKeyDictionary()
        )

    async def playwright(self) -> async_api.Playwright:
        """Give the Playwright of this event loop, started once however many ask at the same time."""
        loop = asyncio.get_running_loop()
        start = self._starts.get(loop)
        if start is None or (start.done() and start.exception() is not None):
            from playwright.async_api import async_playwright

            start = self._starts[loop] = loop.create_task(async_playwright().start())
        # Who gives up waiting does not leave a process behind that nobody knows of.
        return await asyncio.shield(start)

    async def aclose(self) -> None:
        """End Playwright's process. The browsers that it was connected to go on."""
        start = self._starts.pop(asyncio.get_running_loop(), None)
        if start is not None:
            await (await start).stop()

    async def connect(
        self, cdp_url: str, *, name: str, target_id: object = None, is_to_be_closed: bool = False
    ) -> async_api.Browser:
        """Connect to the browser of a session, and to no other.

        Args:
            name: The session's, for the messages.
            target_id: That of the page that was saved: it tells the browser where the endpoint does not.
            is_to_be_closed: Refuse one of which neither tells that it is the same.
        Raises: BrowserUnreachable, BrowserReplaced: it is not there any more, or must not be contacted.
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
            # A browser answers to its own id only, so this was not the one that was saved: tell what is.
            await self._found(cdp_url, name=name)
            told = mask_endpoints(failure, cdp_url=cdp_url)
            raise BrowserUnreachable(f"The browser of “{name}” cannot be connected to: {told}")
        return browser

    async def probe(self, cdp_url: str) -> Probe:
        return await asyncio.to_thread(probes.probe, cdp_url, allowed_hosts=self._allowed_hosts)

    async def _found(self, cdp_url: str, *, name: str) -> Address:
        """Ask a browser where it is; tell what is wrong where it is not there."""
        found = await self.probe(cdp_url)
        if found.liveness is Liveness.REPLACED:
            raise BrowserReplaced(_replaced(name, found.because))
        if found.address is None:
            raise BrowserUnreachable(
                f"The browser of “{name}” does not answer: {found.because}. The session is kept. If its "
                "browser was closed or has crashed, launch_session opens a new one."
            )
        return found.address

    async def open_chromium(self, profile_dir: Path, *, chosen: str, headless: bool) -> OpenChromium:
        """Start a Chromium that outlives this program, or find the one that uses the profile already.

        Args:
            chosen: The program; where it is blank, that of Playwright or of the system.
        Raises: SessionException: there is no Chromium, or it does not start.
        """
        endpoint = read_endpoint(profile_dir) or ""
        # Its session may have been removed while it went on.
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
        """End the browser of a session, and wait until it has let go of its port.

        Raises: BrowserUnreachable, BrowserReplaced: see ``connect``; and nothing is ended that cannot be
            told from another browser.
        """
        browser = await self.connect(cdp_url, name=name, target_id=target_id, is_to_be_closed=True)
        from playwright.async_api import Error

        session = await browser.new_browser_cdp_session()
        with suppress(Error):
            await session.send("Browser.close")
        until = time.monotonic() + CLOSE_SECONDS
        while (await self.probe(cdp_url)).liveness is Liveness.ALIVE:
            if time.monotonic() > until:
                raise SessionException(f"The browser of “{name}” was told to close, and has not done so.")
            await asyncio.sleep(POLL_SECONDS)


async def _connected(
    playwright: async_api.Playwright, socket_url: str
) -> tuple[async_api.Browser | None, str]:
    """Connect, or give the first line of why not: the error itself holds the endpoint."""
    from playwright.async_api import Error

    try:
        return await playwright.chromium.connect_over_cdp(socket_url, timeout=CONNECT_MILLISECONDS), ""
    except Error as error:
        return None, error.message.splitlines()[0]


async def _check_identity(address: Address, *, name: str, target_id: object, is_needed: bool) -> None:
    """Look for the page that was saved in a browser whose endpoint does not tell which it is."""
    if target_id:
        if not await asyncio.to_thread(probes.has_target, address, target_id):
            because = f"the one at {address.place} does not have the page that was saved"
            raise BrowserReplaced(_replaced(name, because))
    elif is_needed:
        raise SessionException(
            f"The browser of “{name}” is left alone: nothing that was saved tells it from another one at "
            f"{address.place}. Restore it and save it again first."
        )


def _replaced(name: str, because: str) -> str:
    return (
        f"The browser of “{name}” was replaced: {because}. It is left alone. Save a new session, with "
        "launch_session for example."
    )


@asynccontextmanager
async def disconnecting_on_failure(browser: async_api.Browser) -> AsyncIterator[None]:
    """Let go of a connection that nobody is given."""
    try:
        yield
    except BaseException:
        await browser.close()
        raise


async def find_page(browser: async_api.Browser, *, name: str, metadata: object = None) -> async_api.Page:
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
    saved = metadata if isinstance(metadata, dict) else {}
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
        reason = safe_message(error).partition("\n")[0]
        raise SessionException(f"The page cannot be opened: {reason}") from None


async def _target_id(page: async_api.Page) -> str:
    from playwright.async_api import Error

    # A page may be closed while it is asked.
    with suppress(Error):
        session = await page.context.new_cdp_session(page)
        told = await session.send("Target.getTargetInfo")
        await session.detach()
        return str(told["targetInfo"]["targetId"])
    return ""
