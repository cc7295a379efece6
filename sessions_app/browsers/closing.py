"""Ends browsers and closes tabs that do not respond, over the browser's own web socket.

Playwright would wait for each tab. The browser itself answers whatever state its tabs are in.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress

from sessions_app.browsers import tabs
from sessions_app.browsers.address import Address
from sessions_app.browsers.devtools import DevTools, devtools
from sessions_app.browsers.guard import NoAnswer
from sessions_app.browsers.identity import check_target, find, refused
from sessions_app.browsers.launcher import POLL_SECONDS
from sessions_app.browsers.probe import Liveness, probe
from sessions_app.browsers.tabs import Tab
from sessions_app.exceptions import SessionException

CLOSE_SECONDS = 10.0


def close_browser(cdp_url: str, *, allowed_hosts: Iterable[str], name: str, target_id: str) -> None:
    """End the browser of a session, and wait until it has released its port.

    A browser that cannot be identified is left alone.

    Raises: SessionException: BrowserUnreachable, BrowserReplaced, or it is still running.
    """
    hosts = tuple(allowed_hosts)
    until = time.monotonic() + CLOSE_SECONDS
    with _identified(cdp_url, hosts, name=name, target_id=target_id) as (browser, _):
        browser.send("Browser.close")
        with suppress(NoAnswer):
            while True:
                browser.receive(until)
    # A browser that hangs while it ends does not answer but still occupies its port.
    while (found := probe(cdp_url, allowed_hosts=hosts)).liveness is Liveness.ALIVE or found.is_silent:
        if time.monotonic() > until:
            raise SessionException(f"The browser of “{name}” was asked to close and is still running.")
        time.sleep(POLL_SECONDS)


def close_unresponsive_tabs(
    cdp_url: str, *, allowed_hosts: Iterable[str], name: str, target_id: str
) -> list[Tab]:
    """Close the tabs that hang or have crashed, wait until they are gone, and return them.

    Raises: SessionException: see ``close_browser``.
    """
    with _identified(cdp_url, tuple(allowed_hosts), name=name, target_id=target_id) as (_, address):
        return tabs.close_unresponsive(address)


@contextmanager
def _identified(
    cdp_url: str, allowed_hosts: tuple[str, ...], *, name: str, target_id: str
) -> Iterator[tuple[DevTools, Address]]:
    """Connect to the browser of a session, and identify it on this very connection."""
    address = find(cdp_url, allowed_hosts=allowed_hosts, name=name)
    saved = Address.parse(cdp_url)
    try:
        with devtools(address) as browser:
            if not saved.browser_id:
                wanted = saved.page_id or target_id
                if not wanted:
                    raise SessionException(
                        f"The browser of “{name}” is left alone: nothing that was saved identifies it at "
                        f'{address.place}. launch_session("{name}", replace=True) opens a new browser.'
                    )
                check_target(tabs.read_tabs(browser), address, name=name, target_id=wanted)
            yield browser, address
    except NoAnswer as failure:
        raise refused(failure, name=name) from None


def describe_hanging(hanging: Sequence[Tab], *, name: str, target_id: str) -> str:
    """Return a message that names the tabs that hang, and what closes them."""
    names = ", ".join(str(tab) for tab in hanging[:3])
    if len(hanging) > 3:
        names += f" and {len(hanging) - 3} more"
    what = "a tab that does not respond" if len(hanging) == 1 else "tabs that do not respond"
    message = (
        f"The browser of “{name}” has {what}: {names}. "
        f'close_session("{name}", tabs="unresponsive") closes it and keeps the others.'
    )
    if target_id in (tab.target_id for tab in hanging):
        message += f' It is the saved page: launch_session("{name}", replace=True) opens a new browser.'
    return message
