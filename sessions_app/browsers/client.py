"""Connects Playwright to real browsers; the only module that imports Playwright."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple
from weakref import WeakKeyDictionary

from sessions_app.browsers import tabs
from sessions_app.browsers.address import Address
from sessions_app.browsers.closing import describe_hanging
from sessions_app.browsers.guard import NoAnswer
from sessions_app.browsers.identity import find, identify, refused
from sessions_app.browsers.relay import Relay
from sessions_app.browsers.tabs import Tab
from sessions_app.exceptions import BrowserUnreachable, SessionException, TabUnresponsive
from sessions_app.session.endpoint import mask_endpoints

if TYPE_CHECKING:
    from playwright import async_api, sync_api

    AsyncPage = async_api.Page
    SyncPage = sync_api.Page

PATIENCE_SECONDS = 1.0
"""Connections that take longer are examined: maybe a tab hangs."""

CONNECT_SECONDS = 60.0
"""Limit for a browser whose tabs all respond. 300 tabs took over 6 s on a busy machine."""

UNKNOWN_SECONDS = 4.0
"""Limit for a browser that does not list its tabs: it hangs, or a gateway allows one connection only."""


class Connection(NamedTuple):
    """A connected browser and its tabs; None if it did not list them."""

    browser: async_api.Browser
    tabs: Sequence[Tab] | None


class Driver:
    """Playwright's driver process: started when a browser is first needed, stopped by ``aclose``.

    Each event loop has its own, which must be stopped in the same loop: Playwright allows nothing else.

    Args:
        allowed_hosts: Hosts and networks that may be contacted.
    """

    def __init__(self, allowed_hosts: Iterable[str]) -> None:
        self.allowed_hosts = tuple(allowed_hosts)
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

    async def chromium_path(self) -> Path:
        """Return where Playwright's own Chromium is, if it is installed."""
        return Path((await self.playwright()).chromium.executable_path)

    async def connect(
        self, cdp_url: str, *, name: str, target_id: str = "", allowed_hosts: tuple[str, ...] = ()
    ) -> Connection:
        """Connect to the browser of a session, and to no other.

        Args:
            name: Name of the session, for the messages.
            target_id: Target of the saved page. It identifies the browser if the endpoint does not.
            allowed_hosts: Hosts for this connection; blank for those of the driver.
        Raises: BrowserUnreachable, BrowserReplaced: the browser is gone, or must not be contacted.
            TabUnresponsive: Playwright waits for a tab that hangs.
        """
        playwright = await self.playwright()
        hosts = allowed_hosts or self.allowed_hosts
        address = await asyncio.to_thread(
            identify, cdp_url, allowed_hosts=hosts, name=name, target_id=target_id
        )
        relay = Relay(address)
        connecting = asyncio.ensure_future(
            playwright.chromium.connect_over_cdp(relay.url, timeout=1_000 * CONNECT_SECONDS)
        )
        try:
            found = await asyncio.to_thread(_list_tabs, address, relay.dialed)
            await _wait_for(connecting, address, found, name=name, target_id=target_id)
            return Connection(connecting.result(), found)
        except BaseException as error:
            relay.close()
            connecting.add_done_callback(_forget)
            if is_playwright_error(error):
                raise await _failure(cdp_url, hosts, relay.failure or str(error), name=name) from None
            raise


def is_playwright_error(error: BaseException) -> bool:
    """Check for an error of Playwright, whose classes cannot be imported where it may be missing."""
    return type(error).__module__.startswith("playwright")


async def _failure(
    cdp_url: str, allowed_hosts: tuple[str, ...], message: str, *, name: str
) -> SessionException:
    """Return what is wrong with a browser that cannot be connected to."""
    # A browser accepts its own id only, so another one may answer by now.
    await asyncio.to_thread(find, cdp_url, allowed_hosts=allowed_hosts, name=name)
    # The other lines hold the address of the relay.
    message = mask_endpoints(message.splitlines()[0], cdp_url=cdp_url)
    return BrowserUnreachable(f"The browser of “{name}” cannot be connected to: {message}")


async def _wait_for(
    connecting: asyncio.Future[async_api.Browser],
    address: Address,
    listed: Sequence[Tab] | None,
    *,
    name: str,
    target_id: str,
) -> None:
    """Wait for a connection as long as the tabs of the browser respond.

    Args:
        listed: The tabs of the browser; None if it did not list them. Then they cannot be examined.
    Raises: TabUnresponsive: one does not. BrowserUnreachable: the browser does not answer.
    """
    done, _ = await asyncio.wait({connecting}, timeout=PATIENCE_SECONDS)
    if done:
        return
    try:
        if listed is None:
            raise NoAnswer(f"{address.place} did not list its tabs")
        found = await asyncio.to_thread(tabs.find_unresponsive, address)
    except NoAnswer as failure:
        await asyncio.wait({connecting}, timeout=UNKNOWN_SECONDS)
        if not connecting.done():
            raise refused(failure, name=name) from None
        return
    if found.hanging and not connecting.done():
        raise TabUnresponsive(describe_hanging(found.hanging, name=name, target_id=target_id))
    await asyncio.wait({connecting})


def _list_tabs(address: Address, dialed: threading.Event) -> list[Tab] | None:
    # Some gateways allow only one connection, which must be the connection of the relay.
    dialed.wait()
    with suppress(NoAnswer):
        return tabs.list_tabs(address)
    return None


def _forget(connecting: asyncio.Future[async_api.Browser]) -> None:
    """Retrieve the failure of a connection that nobody waits for: asyncio would log it."""
    if not connecting.cancelled():
        connecting.exception()


@asynccontextmanager
async def disconnecting_on_failure(browser: async_api.Browser) -> AsyncIterator[None]:
    """Close a connection that is not handed to the caller."""
    try:
        yield
    except BaseException:
        await browser.close()
        raise


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
