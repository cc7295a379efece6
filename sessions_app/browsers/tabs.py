"""Lists the tabs of a browser, finds those that hang or have crashed, and closes them."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass
from urllib.parse import urlsplit

from sessions_app.browsers.address import Address
from sessions_app.browsers.devtools import DevTools, devtools
from sessions_app.browsers.guard import NoAnswer
from sessions_app.session.endpoint import mask_endpoints

SILENCE_SECONDS = 2.5
"""A tab hangs if it has not answered when no tab has answered for this time."""

EXAMINE_SECONDS = 60.0
"""Limit for the examination of all tabs, however many there are."""

CLOSE_SECONDS = 10.0
POLL_SECONDS = 0.05
MAX_SHOWN_LENGTH = 100
"""Maximum characters of a title or an address in a message; pages choose both."""

# Playwright waits for these when it connects.
_WITH_PAGES = ("page", "background_page")


@dataclass(frozen=True)
class Tab:
    """A tab of a browser.

    Args:
        is_separate: Whether it belongs to a separate context, to which other programs cannot connect.
    """

    target_id: str
    title: str
    url: str
    is_separate: bool = False

    def __str__(self) -> str:
        """Return the title and the address, without the parts of the address that may be secret."""
        where = self._where()
        if self.title in ("", self.url):
            # A tab whose first page is still loading has neither.
            return f"“{_shown(where) or 'a tab without an address'}”"
        return f"“{_shown(self.title)}” ({_shown(where)})"

    def _where(self) -> str:
        try:
            parts = urlsplit(self.url)
        except ValueError:
            return "an address that cannot be read"
        if parts.hostname:
            return f"{parts.scheme}://{parts.hostname}{parts.path}"
        return f"{parts.scheme}:…" if parts.scheme in ("data", "blob", "javascript") else self.url


def _shown(text: str) -> str:
    """Mask a text, and cut it. A cut before the mask could hide what makes a part a secret."""
    masked = mask_endpoints(text)
    return masked if len(masked) <= MAX_SHOWN_LENGTH else f"{masked[: MAX_SHOWN_LENGTH - 1]}…"


def read_tabs(browser: DevTools) -> list[Tab]:
    """Return the tabs of a browser, without asking them.

    Raises: NoAnswer: the browser does not answer.
    """
    contexts = browser.call("Target.getBrowserContexts").get("browserContextIds", [])
    targets = browser.call("Target.getTargets").get("targetInfos", [])
    return [
        Tab(
            str(target.get("targetId")),
            str(target.get("title", "")),
            str(target.get("url", "")),
            target.get("browserContextId") in contexts,
        )
        for target in targets
        if target.get("type") in _WITH_PAGES
    ]


def list_tabs(address: Address) -> list[Tab]:
    """Connect to a browser and return its tabs; see ``read_tabs``."""
    with devtools(address) as browser:
        return read_tabs(browser)


@dataclass(frozen=True)
class Unresponsive:
    """Tabs that do not respond: hanging ones, and crashed ones."""

    hanging: tuple[Tab, ...] = ()
    crashed: tuple[Tab, ...] = ()


def find_unresponsive(address: Address) -> Unresponsive:
    """Ask each tab of a browser to compute something.

    Tabs of a busy machine answer one after the other, so a tab hangs only if all tabs have been silent for a
    while and it has not answered.

    Raises: NoAnswer: the browser itself does not answer.
    """
    with devtools(address) as browser:
        return _ask_all(browser)


def _ask_all(browser: DevTools) -> Unresponsive:
    waiting = {tab.target_id: tab for tab in read_tabs(browser)}
    crashed: list[Tab] = []
    targets: dict[str, str] = {}
    asked = {
        browser.send("Target.attachToTarget", targetId=target_id, flatten=True): target_id
        for target_id in waiting
    }
    until = time.monotonic() + EXAMINE_SECONDS
    quiet_at = time.monotonic() + SILENCE_SECONDS
    while waiting:
        try:
            message = browser.receive(min(quiet_at, until))
        except NoAnswer as failure:
            if failure.is_silent and quiet_at <= until:
                break
            raise
        method, session = message.get("method"), str(message.get("sessionId", ""))
        if method == "Target.attachedToTarget":
            session = str(message["params"]["sessionId"])
            targets[session] = str(message["params"]["targetInfo"]["targetId"])
            browser.send("Inspector.enable", session=session)
            browser.send("Runtime.evaluate", session=session, expression="1")
        elif "error" in message and message.get("id") in asked:
            # The tab was closed in the meantime.
            waiting.pop(asked[message["id"]], None)
        elif method == "Target.detachedFromTarget":
            waiting.pop(targets.get(str(message["params"]["sessionId"]), ""), None)
        elif method == "Inspector.targetCrashed" or "result" in message.get("result", {}):
            tab = waiting.pop(targets.get(session, ""), None)
            if tab is None:
                continue
            if method:
                crashed.append(tab)
            quiet_at = time.monotonic() + SILENCE_SECONDS
    return Unresponsive(tuple(waiting.values()), tuple(crashed))


def close_unresponsive(address: Address) -> list[Tab]:
    """Close the tabs that do not respond, wait until they are gone, and return them.

    Raises: NoAnswer: the browser does not answer, or they are still there.
    """
    found = find_unresponsive(address)
    if found.hanging:
        # A slow tab has a second chance: closing is permanent.
        again = find_unresponsive(address)
        found = Unresponsive(tuple(tab for tab in found.hanging if tab in again.hanging), again.crashed)
    tabs = [*found.hanging, *found.crashed]
    if tabs:
        # A separate connection, because the first one is attached to the tabs.
        with devtools(address) as browser:
            _close(browser, tabs)
    return tabs


def _close(browser: DevTools, tabs: Iterable[Tab]) -> None:
    ids = {tab.target_id for tab in tabs}
    for target_id in ids:
        browser.send("Target.closeTarget", targetId=target_id)
    until = time.monotonic() + CLOSE_SECONDS
    while ids & {tab.target_id for tab in read_tabs(browser)}:
        if time.monotonic() > until:
            raise NoAnswer("its tabs could not be closed")
        time.sleep(POLL_SECONDS)
