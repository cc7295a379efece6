"""Reads what is saved about a page and its browser, and finds where that browser listens."""

from __future__ import annotations

import hashlib
import inspect
import platform
import re
import warnings
from collections.abc import Coroutine, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar

from sessions_app.browsers.client import is_playwright_error
from sessions_app.browsers.guard import LOOPBACK, NoAnswer
from sessions_app.browsers.launcher import read_endpoint
from sessions_app.browsers.opening import both_families
from sessions_app.browsers.pages import HOW_TO_SHARE
from sessions_app.browsers.probe import probe
from sessions_app.browsers.tabs import list_tabs
from sessions_app.exceptions import MissingEndpointWarning, SeparateContextWarning, SessionException
from sessions_app.session.info import OURS, SessionInfo
from sessions_app.session.masking import safe_message

_T = TypeVar("_T")

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
    is_separate: bool = False
    command_line: str = field(default="", repr=False)
    known_endpoint: str = field(default="", repr=False)

    def metadata(self, before: Mapping[str, Any], **more: str) -> dict[str, Any]:
        """Return the facts to save: RAPTOR's keys, and ours under a separate key.

        Args:
            before: What the caller has under our key. Only our own facts in it are replaced.
            more: Further facts of ours.
        """
        ours = {
            "page_target_id": self.target_id,
            "browser_version": self.browser_version,
            "host": platform.node(),
            "machine_id": machine_id(),
            **more,
        }
        return {
            "page_url": self.page_url,
            "page_title": self.page_title,
            OURS: {
                **{key: value for key, value in before.items() if key not in ours},
                **{key: value for key, value in ours.items() if value},
            },
        }


@lru_cache
def machine_id() -> str:
    """Return an id that distinguishes machines of the same name; blank if the system has none.

    The system's own id should stay on the machine (``man machine-id``), so this is a hash.
    """
    for path in ("/etc/machine-id", "/var/lib/dbus/machine-id"):
        with suppress(OSError):
            if text := Path(path).read_text("ascii", errors="replace").strip():
                return hashlib.sha256(f"raptor-admin {text}".encode()).hexdigest()[:16]
    return ""


def is_async(page: Any) -> bool:
    """Check whether a page belongs to Playwright's asynchronous API."""
    # Mocks of a page have its class, and methods that are not functions.
    is_mock = page.__class__.__module__.startswith("playwright.async_api")
    return is_mock or inspect.iscoroutinefunction(page.title)


async def ask_page(page: Any) -> PageFacts:
    """Read the facts about a page of either Playwright API and its browser.

    With a page of the synchronous API nothing is awaited: see ``run_without_loop``.

    Raises: SessionException: the page has no browser.
    """
    browser = page.context.browser
    if browser is None:
        raise SessionException(
            "The page is not attached to a browser, so there is nothing to save. Upgrade Playwright to 1.53 "
            "or newer if it is a page of launch_persistent_context."
        )
    # Playwright's own browsers lack this attribute; wrappers of Chromium may have it.
    known_endpoint = await _wrapper_endpoint(browser)
    kind = "chromium" if known_endpoint else _text(browser.browser_type.name)
    version, title = _text(browser.version), await _settled(page.title())
    facts = PageFacts(kind, version, _text(page.url), _text(title), known_endpoint=known_endpoint)
    if kind == "chromium" and not known_endpoint:
        return await _ask_chromium(page, browser, facts)
    return facts


async def _ask_chromium(page: Any, browser: Any, facts: PageFacts) -> PageFacts:
    of_page = await _settled(page.context.new_cdp_session(page))
    target = (await _settled(of_page.send("Target.getTargetInfo")))["targetInfo"]
    await _settled(of_page.detach())
    of_browser = await _settled(browser.new_browser_cdp_session())
    contexts = await _settled(of_browser.send("Target.getBrowserContexts"))
    system = await _settled(of_browser.send("SystemInfo.getInfo"))
    await _settled(of_browser.detach())
    return replace(
        facts,
        target_id=target["targetId"],
        is_separate=target.get("browserContextId") in contexts["browserContextIds"],
        command_line=system["commandLine"],
    )


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


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
        if not is_playwright_error(error):
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
        *((candidate, LOOPBACK) for candidate in _candidates(facts.command_line)),
        (saved, tuple(allowed_hosts)),
    ):
        address = probe(candidate, allowed_hosts=hosts).address if candidate else None
        if address is None:
            continue
        with suppress(NoAnswer):
            if facts.target_id in (tab.target_id for tab in list_tabs(address)):
                return address.socket_url
    return ""


def _candidates(command_line: str) -> Iterable[str]:
    if (profile := _PROFILE.search(command_line)) and (written := read_endpoint(Path(profile[1]))):
        yield from both_families(written)
    if (port := _PORT.search(command_line)) and port[1] != "0":
        yield from both_families(f"http://127.0.0.1:{port[1]}")


def warn_of_losses(info: SessionInfo, facts: PageFacts) -> SessionInfo:
    """Warn if a saved session cannot be restored, or not whole; return it."""
    if not info.cdp_url:
        warnings.warn(
            f"The session was saved with the problem missing_cdp_url: {HOW_TO_LAUNCH}",
            MissingEndpointWarning,
            stacklevel=5,
        )
    elif facts.is_separate:
        warnings.warn(
            f"The saved page has a separate context. When the session is restored, {HOW_TO_SHARE}",
            SeparateContextWarning,
            stacklevel=5,
        )
    return info
