"""What a page tells about itself and its browser, and where that browser listens."""

from __future__ import annotations

import inspect
import platform
import re
from collections.abc import Coroutine, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from sessions_app import probes
from sessions_app.chromium import read_endpoint
from sessions_app.probes import Liveness, NoAnswer

_T = TypeVar("_T")

_LOOPBACK = ("127.0.0.1",)
_PORT = re.compile(r"--remote-debugging-port=(\d+)")
# Its end is not marked: the next switch begins after a space.
_PROFILE = re.compile(r"--user-data-dir=\"?(.+?)\"?(?= --|$)")

HOW_TO_LAUNCH = (
    "Launch Chromium with args=[“--remote-debugging-port=0”], or with SessionManager.launch_session, to be "
    "able to restore it."
)


class MissingEndpointWarning(UserWarning):
    """A session was saved of a browser that cannot be connected to later."""


@dataclass(frozen=True)
class PageFacts:
    """What a page and its browser tell about themselves."""

    browser_type: str
    browser_version: str
    page_url: str
    page_title: str
    target_id: str = ""
    command_line: str = ""
    known_endpoint: str = ""

    @property
    def metadata(self) -> dict[str, str]:
        """What is saved of them for people, and to find the page again."""
        found = {
            "page_url": self.page_url,
            "page_title": self.page_title,
            "page_target_id": self.target_id,
            "browser_version": self.browser_version,
            "host": platform.node(),
        }
        return {key: value for key, value in found.items() if value or key in ("page_url", "page_title")}


def is_async(page: Any) -> bool:
    """Whether a page is one of Playwright's asynchronous API."""
    return inspect.iscoroutinefunction(page.title)


async def ask_page(page: Any) -> PageFacts:
    """Ask a page of either API of Playwright, and its browser, what they are.

    With a page of the synchronous API nothing is awaited: see ``run_now``.
    """
    browser = page.context.browser
    facts = {
        "browser_type": browser.browser_type.name if browser else "",
        "browser_version": browser.version if browser else "",
        "page_url": page.url,
        "page_title": await _settled(page.title()),
        # Playwright's own browsers have none; wrappers may.
        "known_endpoint": _text(getattr(browser, "ws_endpoint", "")),
    }
    if facts["browser_type"] == "chromium" and not facts["known_endpoint"]:
        facts.update(await _ask_chromium(page, browser))
    return PageFacts(**{key: str(value) for key, value in facts.items()})


async def _ask_chromium(page: Any, browser: Any) -> dict[str, str]:
    of_page = await _settled(page.context.new_cdp_session(page))
    target = await _settled(of_page.send("Target.getTargetInfo"))
    await _settled(of_page.detach())
    of_browser = await _settled(browser.new_browser_cdp_session())
    system = await _settled(of_browser.send("SystemInfo.getInfo"))
    await _settled(of_browser.detach())
    return {"target_id": target["targetInfo"]["targetId"], "command_line": system["commandLine"]}


async def _settled(value: Any) -> Any:
    return await value if inspect.isawaitable(value) else value


def _text(value: Any) -> str:
    value = value() if callable(value) else value
    return value if isinstance(value, str) else ""


def run_now(coroutine: Coroutine[Any, Any, _T]) -> _T:
    """Run to its end a coroutine that awaits nothing."""
    try:
        coroutine.send(None)
    except StopIteration as end:
        result: _T = end.value
        return result
    coroutine.close()
    raise RuntimeError("It awaits something, and there is no event loop.")


def find_endpoint(facts: PageFacts) -> str:
    """Find where the browser of a page listens; blank where it does not.

    Playwright does not tell. The browser's own command line has a port, or the profile in which the
    browser writes the port down; that this very page is to be found there proves that it is no other's.
    """
    if facts.known_endpoint:
        return facts.known_endpoint
    return next(filter(None, map(_endpoint_at, _candidates(facts.command_line), [facts.target_id] * 2)), "")


def _candidates(command_line: str) -> Iterable[str]:
    if profile := _PROFILE.search(command_line):
        yield read_endpoint(Path(profile[1])) or ""
    if (port := _PORT.search(command_line)) and port[1] != "0":
        yield f"http://127.0.0.1:{port[1]}"


def _endpoint_at(candidate: str, target_id: str) -> str:
    if not candidate:
        return ""
    found = probes.probe(candidate, allowed_hosts=_LOOPBACK)
    if found.liveness is not Liveness.ALIVE or found.address is None:
        return ""
    try:
        targets = probes.ask(found.address, "/json/list")
    except NoAnswer:
        return ""
    ids = [target.get("id") for target in targets if isinstance(target, dict)]
    return found.address.socket_url if target_id in ids else ""
