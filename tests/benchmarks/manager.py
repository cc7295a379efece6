"""Measure the cost of ``SessionManager`` for a test: browsers that it restores and closes, and its start.

``python -m tests.benchmarks.manager`` prints the rows of the table as JSON, one a line.
"""

from __future__ import annotations

import asyncio
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from tests.benchmarks.sync import print_row
from tests.browser import find_chromium

RESTORES = 40
STARTS = 10
SCREENSHOTS = 200
LIMIT = 1.5
SCREENSHOT_LIMIT = 1.3
CLOSE_SECONDS = 1.0
HANG = "setTimeout(() => { for (;;) {} }, 100)"
NAME = "checkout"

# The clock starts before the first import of either program.
_TIMED = """
import time
began = time.perf_counter()
{work}
print(time.perf_counter() - began)
"""
_MANAGER = """
from raptor.core.session_manager import SessionManager
SessionManager().list_sessions()
"""
_DJANGO = """
import django
django.setup()
from sessions_app.models import BrowserSession
BrowserSession.objects.count()
"""


def measure() -> None:
    """Measure in a plain program on the database of the environment, and create its tables."""
    os.environ.pop("DJANGO_SETTINGS_MODULE", None)
    from raptor.core.session_manager import SessionManager

    program = find_chromium()
    assert program is not None, "There is no Chromium: python -m tests.browser finds or installs one."
    asyncio.run(_measure_browser(SessionManager(), program))
    _measure_starts()


async def _measure_browser(manager: Any, program: str) -> None:
    from sessions_app.browsers.launcher import start

    with tempfile.TemporaryDirectory(prefix="raptor-bench-profile-", ignore_cleanup_errors=True) as folder:
        opened = start(program, Path(folder), headless=True)
        try:
            playwright = await manager._get_driver().playwright()
            browser = await playwright.chromium.connect_over_cdp(opened.cdp_url)
            await manager.save_session(browser.contexts[0].pages[0], NAME)
            await browser.close()

            async def connect() -> Any:
                browser = await playwright.chromium.connect_over_cdp(opened.cdp_url)
                return browser.contexts[0].pages[0]

            async def restore() -> Any:
                return await manager.restore_session(NAME)

            await _measure_restores(restore, connect)
            await _measure_screenshots(restore, connect)
            await _measure_close(manager)
        finally:
            opened.take_back()
            await manager.aclose()


async def _measure_restores(*works: Callable[[], Awaitable[Any]]) -> None:
    """Compare restoring a session with connecting to its browser, alternately, in one Playwright."""
    times, plain_times = await _by_turns(*works)
    against = "connect_over_cdp and the first page"
    print_row(f"restore_session, the fastest of {RESTORES}", against, min(times), min(plain_times), LIMIT)
    # Most connections to a browser take twice the time of the fastest one.
    median = statistics.median
    print_row("restore_session, the median", against, median(times), median(plain_times), LIMIT)


async def _measure_screenshots(*works: Callable[[], Awaitable[Any]]) -> None:
    """Compare screenshots of a restored page, which pass the relay, with those of a direct connection."""
    times: list[float] = []
    for work in works:
        page = await work()
        await page.set_content("<h1>Checkout</h1>" * 200)
        await page.screenshot()
        began = time.perf_counter()
        for _ in range(SCREENSHOTS):
            await page.screenshot()
        times.append(time.perf_counter() - began)
        await page.context.browser.close()
    restored, plain = times
    what = f"{SCREENSHOTS} screenshots of a restored page"
    print_row(what, "connect_over_cdp", restored, plain, SCREENSHOT_LIMIT)


async def _measure_close(manager: Any) -> None:
    """Close a browser with a tab that hangs."""
    page = await manager.restore_session(NAME)
    other = await page.context.new_page()
    await other.evaluate(HANG)
    await page.context.browser.close()
    await asyncio.sleep(1)
    began = time.perf_counter()
    await manager.close_session(NAME)
    seconds = time.perf_counter() - began
    print_row("close_session with a tab that hangs", "a second", seconds, CLOSE_SECONDS, 1)


async def _by_turns(*works: Callable[[], Awaitable[Any]]) -> list[list[float]]:
    times: list[list[float]] = [[] for _ in works]
    for _ in range(RESTORES):
        for work, taken in zip(works, times, strict=True):
            began = time.perf_counter()
            page = await work()
            taken.append(time.perf_counter() - began)
            # Otherwise the browser would have to notify more and more clients.
            await page.context.browser.close()
    return times


def _measure_starts() -> None:
    """Start new processes alternately; each measures its own time."""
    plain = {**os.environ, "DJANGO_SETTINGS_MODULE": "raptor_admin.settings"}
    of_manager = {name: value for name, value in plain.items() if name != "DJANGO_SETTINGS_MODULE"}
    seconds, plain_seconds = [], []
    for _ in range(STARTS):
        seconds.append(_seconds_of(_MANAGER, of_manager))
        plain_seconds.append(_seconds_of(_DJANGO, plain))
    print_row(
        "first list_sessions of a fresh process",
        "django.setup() and a count",
        min(seconds),
        min(plain_seconds),
        LIMIT,
    )


def _seconds_of(work: str, environment: dict[str, str]) -> float:
    command = [sys.executable, "-c", _TIMED.format(work=work)]
    done = subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE, text=True)
    return float(done.stdout)


if __name__ == "__main__":
    measure()
