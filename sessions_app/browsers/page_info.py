"""Reads what is saved about a page and its browser, and finds where that browser listens."""

from __future__ import annotations

import inspect
import platform
import re
import warnings
from collections.abc import Coroutine, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from sessions_app.browsers import probe
from sessions_app.browsers.launcher import read_endpoint
from sessions_app.exceptions import MissingEndpointWarning, SessionException
from sessions_app.session.info import SessionInfo
from sessions_app.session.masking import safe_message

_T = TypeVar("_T")

_LOOPBACK = ("127.0.0.1",)
_PORT = re.compile(r"--remote-debugging-port=(\d+)")
# The value has no end marker: the next switch begins after a space.
_PROFILE = re.compile(r"--user-data-dir=\"?(.+?)\"?(?= --|$)")

HOW_TO_LAUNCH = (
    "To be able to restore it, launch Chromium with args=[“--remote-debugging-port=0”], or with "
    "SessionManager.launch_session."
)


@dataclass(frozen=True)
class PageFacts:
    """Facts about a page and its browser."""

    browser_type: str
    browser_version: str
    page_url: str
    page_title: str
    target_id: str = ""
    command_line: str = field(default="", repr=False)
    known_endpoint: str = field(default="", repr=False)

    @property
    def metadata(self) -> dict[str, str]:
        """Facts that are saved: for people, and to find the page again."""
        found = {
            "page_url": self.page_url,
            "page_title": self.page_title,
            "page_target_id": self.target_id,
            "browser_version": self.browser_version,
            "host": platform.node(),
        }
        return {key: value for key, value in found.items() if value or key in ("page_url", "page_title")}


def is_async(page: Any) -> bool:
    """Check whether a page belongs to Playwright's asynchronous API."""
    return inspect.iscoroutinefunction(page.title)


async def ask_page(page: Any) -> PageFacts:
    """Read the facts about a page of either Playwright API and its browser.

    With a page of the synchronous API nothing is awaited: see ``run_without_loop``.
    """
    browser = page.context.browser
    facts = {
        "browser_type": browser.browser_type.name if browser else "",
        "browser_version": browser.version if browser else "",
        "page_url": page.url,
        "page_title": await _settled(page.title()),
        # Playwright's own browsers lack this attribute; wrappers may have it.
        "known_endpoint": await _wrapper_endpoint(browser),
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


async def _wrapper_endpoint(browser: Any) -> str:
    endpoint = getattr(browser, "ws_endpoint", "")
    endpoint = await _settled(endpoint() if callable(endpoint) else endpoint)
    return endpoint if isinstance(endpoint, str) else ""


@contextmanager
def converting_failures() -> Iterator[None]:
    """Raise a ``SessionException`` for a page that cannot be read, such as a closed one."""
    try:
        yield
    except SessionException:
        raise
    except Exception as error:
        # An error of either Playwright API; its first line says what happened.
        if not type(error).__module__.startswith("playwright"):
            raise
        message = safe_message(error).partition("\n")[0]
        raise SessionException(f"The page cannot be saved: {message}") from None


def run_without_loop(coroutine: Coroutine[Any, Any, _T]) -> _T:
    """Run a coroutine that awaits nothing, without an event loop."""
    try:
        coroutine.send(None)
    except StopIteration as end:
        result: _T = end.value
        return result
    coroutine.close()
    raise RuntimeError("The coroutine awaits something, and there is no event loop.")


def find_endpoint(facts: PageFacts, *, saved: str, allowed_hosts: Iterable[str]) -> str:
    """Find where the browser of a page listens; blank if it does not listen.

    Playwright does not expose this. The command line of the browser has a port, or the profile in which the
    browser writes its port. Finding this page at the endpoint proves that it belongs to this browser.

    Args:
        saved: Endpoint of the session that is replaced; the only clue for a browser on another machine.
        allowed_hosts: Hosts and networks on which the saved endpoint may be.
    """
    if facts.known_endpoint:
        return facts.known_endpoint
    for candidate, hosts in (
        *((candidate, _LOOPBACK) for candidate in _candidates(facts.command_line)),
        (saved, tuple(allowed_hosts)),
    ):
        address = probe.probe(candidate, allowed_hosts=hosts).address if candidate else None
        if address is not None and probe.has_target(address, facts.target_id):
            return address.socket_url
    return ""


def _candidates(command_line: str) -> Iterable[str]:
    if profile := _PROFILE.search(command_line):
        yield read_endpoint(Path(profile[1])) or ""
    if (port := _PORT.search(command_line)) and port[1] != "0":
        yield f"http://127.0.0.1:{port[1]}"


def check_endpoint(info: SessionInfo) -> SessionInfo:
    """Warn if a saved session cannot be restored; return it."""
    if not info.cdp_url:
        warnings.warn(
            f"The session was saved with the problem missing_cdp_url: {HOW_TO_LAUNCH}",
            MissingEndpointWarning,
            stacklevel=4,
        )
    return info
