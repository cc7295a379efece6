"""Reads the pages of a browser and takes screenshots of them. Nothing is stored."""

from __future__ import annotations

import time
from base64 import b64decode
from collections.abc import Iterable
from typing import Any

from sessions_app.browsers.address import Address
from sessions_app.browsers.devtools import DevTools, devtools
from sessions_app.browsers.guard import NoAnswer
from sessions_app.browsers.identity import identify, refused
from sessions_app.browsers.tabs import Tab, list_tabs

SCREENSHOT_SECONDS = 5.0
QUALITY = 60


def pages_of(cdp_url: str, *, allowed_hosts: Iterable[str], name: str, target_id: str) -> list[Tab]:
    """Return the pages of a session's browser.

    Raises: SessionException: BrowserUnreachable, BrowserReplaced.
    """
    address = identify(cdp_url, allowed_hosts=allowed_hosts, name=name, target_id=target_id)
    try:
        return list_tabs(address)
    except NoAnswer as failure:
        raise refused(failure, name=name) from None


def screenshot_of(
    cdp_url: str, *, allowed_hosts: Iterable[str], name: str, target_id: str, number: int
) -> bytes | None:
    """Return a JPEG of a page in a session's browser; None if the page does not exist or hangs.

    Args:
        number: Position of the page among ``pages_of``, from 0.
    Raises: SessionException: BrowserUnreachable, BrowserReplaced.
    """
    address = identify(cdp_url, allowed_hosts=allowed_hosts, name=name, target_id=target_id)
    try:
        tabs = list_tabs(address)
        return _screenshot(address, tabs[number].target_id) if number < len(tabs) else None
    except NoAnswer as failure:
        if failure.is_silent:
            return None
        raise refused(failure, name=name) from None


def _screenshot(address: Address, target_id: str) -> bytes | None:
    until = time.monotonic() + SCREENSHOT_SECONDS
    with devtools(address) as browser:
        session = browser.call("Target.attachToTarget", targetId=target_id, flatten=True)["sessionId"]
        number = browser.send("Page.captureScreenshot", session=session, format="jpeg", quality=QUALITY)
        data = _result(browser, number, until).get("data")
    return b64decode(data) if isinstance(data, str) else None


def _result(browser: DevTools, number: int, until: float) -> dict[str, Any]:
    while (message := browser.receive(until)).get("id") != number:
        pass
    result = message.get("result")
    return result if isinstance(result, dict) else {}
