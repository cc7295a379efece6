"""What a page tells about itself and its browser, and where that browser listens."""

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
# Its end is not marked: the next switch begins after a space.
_PROFILE = re.compile(r"--user-data-dir=\"?(.+?)\"?(?= --|$)")

HOW_TO_LAUNCH = (
    "Launch Chromium with args=[“--remote-debugging-port=0”], or with SessionManager.launch_session, to be "
    "able to restore it."
)


@dataclass(frozen=True)
class PageFacts:
    """What a page and its browser tell about themselves."""

    browser_type: str
    browser_version: str
    page_url: str
    page_title: str
    target_id: str = ""
    command_line: str = field(default="", repr=False)
    known_endpoint: str = field(default="", repr=False)

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
        "known_endpoint": await _endpoint_told(browser),
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


async def _endpoint_told(browser: Any) -> str:
    told = getattr(browser, "ws_endpoint", "")
    told = await _settled(told() if callable(told) else told)
    return told if isinstance(told, str) else ""


@contextmanager
def telling_failures() -> Iterator[None]:
    """Tell of a page that cannot be asked, as one that was closed, by a ``SessionException``."""
    try:
        yield
    except SessionException:
        raise
    except Exception as error:
        # Playwright's own, of either API; its first line says what happened.
        if not type(error).__module__.startswith("playwright"):
            raise
        reason = safe_message(error).partition("\n")[0]
        raise SessionException(f"The page cannot be saved: {reason}") from None


def run_now(coroutine: Coroutine[Any, Any, _T]) -> _T:
    """Run to its end a coroutine that awaits nothing."""
    try:
        coroutine.send(None)
    except StopIteration as end:
        result: _T = end.value
        return result
    coroutine.close()
    raise RuntimeError("It awaits something, and there is no event loop.")


def find_endpoint(facts: PageFacts, *, saved: str, allowed_hosts: Iterable[str]) -> str:
    """Find where the browser of a page listens; blank where it does not.

    Playwright does not tell. The browser's own command line has a port, or the profile in which the
    browser writes the port down; that this very page is to be found there proves that it is no other's.

    Args:
        saved: The endpoint of the session that is replaced: a browser on another machine is known by it.
        allowed_hosts: Where that may be.
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


def warned(info: SessionInfo) -> SessionInfo:
    """Warn whoever saved a session that cannot be restored, and give it back."""
    if not info.cdp_url:
        warnings.warn(
            f"The session was saved with the problem missing_cdp_url: {HOW_TO_LAUNCH}",
            MissingEndpointWarning,
            stacklevel=4,
        )
    return info
