"""Check every page of a demo with 2,000 sessions: accessibility, width, size, title and console messages.

Each page is loaded once; its width and theme are then changed in place, which saves most of the time.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page, expect

from tests.e2e.crawl import crawl
from tests.e2e.demo import PASSWORD
from tests.e2e.panel import Panel
from tests.e2e.steps import log_in

WIDE, TABLET, PHONE = (1280, 900), (1024, 800), (390, 844)
MAX_PAGE_BYTES = 150 * 1024
MAX_FIRST_LOAD_BYTES = 300 * 1024
# axe-core leaves out by default: targets have 24 pixels, and the name of a control contains its visible text.
ALL_RULES = {"rules": {"target-size": {"enabled": True}, "label-content-name-mismatch": {"enabled": True}}}
# Other rules see no difference between light and dark.
COLORS = {"runOnly": {"type": "rule", "values": ["color-contrast"]}}
# The time of axe-core grows with the square of the rows, and the others are like the first ones.
SHORTEN = "() => document.querySelectorAll('tbody tr:nth-child(n+13)').forEach((row) => row.remove())"
# The whole page, and its list, which could scroll separately. Charts get their width in the next frame.
OVERFLOW = (
    "async () => {"
    " await new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)));"
    " const boxes = [document.documentElement, ...document.querySelectorAll('.results')];"
    " return Math.max(...boxes.map((box) => box.scrollWidth - box.clientWidth));"
    "}"
)
RECEIVED = (
    "[...performance.getEntriesByType('navigation'), ...performance.getEntriesByType('resource')]"
    ".reduce((sum, entry) => sum + entry.transferSize, 0)"
)
# Pages without a link to them.
UNLINKED = (
    "nowhere/",
    "sessions_app/browsersession/?q=zebra",
    "sessions_app/browsersession/?_facets=True&problem=any",
    "sessions_app/browsersession/?p=2&o=2",
    "sessions_app/cleanuprun/?outcome=waits",
    "sessions_app/archivedsession/?q=a",
)


@pytest.fixture(scope="module")
def context(chromium: Browser, demo: Panel) -> Iterator[BrowserContext]:
    """A browser context in which the administrator has logged in."""
    context = chromium.new_context(reduced_motion="reduce")
    page = context.new_page()
    log_in(page, demo, PASSWORD)
    page.close()
    yield context
    context.close()


@pytest.fixture(scope="module")
def pages(context: BrowserContext, demo: Panel) -> list[str]:
    """The URLs of all pages."""
    return [*crawl(context, f"{demo.url}/admin/"), *(f"{demo.url}/admin/{path}" for path in UNLINKED)]


@pytest.fixture
def page(context: BrowserContext, complaints: list[str]) -> Iterator[Page]:
    page = context.new_page()

    def note(message: ConsoleMessage) -> None:
        # Chromium also reports the status of error pages.
        if message.type in ("error", "warning") and "404 (Not Found)" not in message.text:
            complaints.append(f"{message.type} on {page.url}: {message.text}")

    page.on("console", note)
    page.on("pageerror", lambda error: complaints.append(f"uncaught on {page.url}: {error}"))
    yield page
    page.close()


@pytest.fixture
def complaints() -> list[str]:
    return []


def violations(page: Page, options: dict[str, Any], where: str) -> list[str]:
    found = Axe().run(page, options=options).response["violations"]
    return [
        f"{page.url} {where}: {rule['id']}: {node['html'][:200]}" for rule in found for node in rule["nodes"]
    ]


def check(page: Page) -> list[str]:
    """Check the current page: wide and on a phone, light and dark, and its width on a tablet."""
    found = []
    for width, height in (PHONE, TABLET):
        page.set_viewport_size({"width": width, "height": height})
        wider = page.evaluate(OVERFLOW)
        found += [f"{page.url} is {wider} pixels wider than {width}"] if wider > 0 else []
    page.evaluate(SHORTEN)
    for width, height in (PHONE, WIDE):
        page.set_viewport_size({"width": width, "height": height})
        found += violations(page, ALL_RULES, f"light at {width}")
        page.emulate_media(color_scheme="dark")
        found += violations(page, COLORS, f"dark at {width}")
        page.emulate_media(color_scheme="light")
    return found


def test_every_page_is_accessible_fits_and_keeps_the_console_quiet(
    page: Page, pages: list[str], complaints: list[str]
) -> None:
    assert len(pages) >= 40, pages
    found, noise, titles = [], [], Counter[str]()
    for address in pages:
        complaints.clear()
        response = page.goto(address)
        assert response is not None
        # axe-core itself sets inline styles, which the policy refuses and Chromium reports.
        noise += complaints
        size = len(response.body())
        found += [f"{address} has {size:,} bytes"] if size > MAX_PAGE_BYTES else []
        found += check(page)
        titles[page.title()] += "?" not in address
    assert found == [], "\n".join(found)
    assert noise == []
    assert [title for title, count in titles.items() if count > 1] == []


def test_responses_to_forms_are_accessible(page: Page, demo: Panel) -> None:
    page.goto(f"{demo.url}/admin/sessions_app/browsersession/1/change/")
    page.get_by_role("button", name="Show endpoint").click()
    expect(page.get_by_role("heading", name="Endpoint")).to_be_visible()
    found = check(page)
    page.goto(f"{demo.url}/admin/auth/user/add/")
    page.get_by_role("button", name="Save", exact=True).click()
    expect(page.get_by_text("This field is required")).to_be_visible()
    found += check(page)
    page.get_by_label("Username").fill("someone")
    page.get_by_role("button", name="Save", exact=True).click()
    expect(page.get_by_text("it is not shown again")).to_be_visible()
    found += check(page)
    page.wait_for_load_state()
    page.keyboard.press("?")
    expect(page.get_by_role("dialog")).to_be_visible()
    found += check(page)
    assert found == [], "\n".join(found)


def test_the_login_page_is_accessible(chromium: Browser, demo: Panel) -> None:
    context = chromium.new_context()
    page = context.new_page()
    page.goto(f"{demo.url}/")
    assert check(page) == []
    context.close()


def test_the_first_load_is_small(chromium: Browser, demo: Panel) -> None:
    """Measure all compressed bytes that the dashboard loads with an empty cache."""
    context = chromium.new_context(viewport={"width": WIDE[0], "height": WIDE[1]})
    page = context.new_page()
    log_in(page, demo, PASSWORD)
    state = context.storage_state()
    context.close()
    fresh = chromium.new_context(viewport={"width": WIDE[0], "height": WIDE[1]}, storage_state=state)
    page = fresh.new_page()
    page.goto(f"{demo.url}/admin/", wait_until="networkidle")
    received = page.evaluate(RECEIVED)
    assert 10_000 < received <= MAX_FIRST_LOAD_BYTES, f"{received:,} bytes"
    fresh.close()
