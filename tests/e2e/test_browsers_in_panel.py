"""A user probes, looks into and closes real browsers in the panel."""

from __future__ import annotations

import os
import re
import signal
import socket
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.e2e.panel import Panel
from tests.e2e.scripts import browsers
from tests.e2e.steps import log_in, visit

PASSWORD = "correct horse battery staple"
WORK_MILLISECONDS = 60_000


@pytest.fixture(scope="module")
def panel(tmp_path_factory: pytest.TempPathFactory, prepared: Path) -> Iterator[Panel]:
    panel = Panel.copy_of(prepared, tmp_path_factory.mktemp("panel"))
    try:
        panel.start_and_wait(RAPTOR_ADMIN_PASSWORD=PASSWORD)
        yield panel
    finally:
        panel.stop()
        # Browsers keep running when the program that started them ends.
        for pid in browsers(panel):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


@pytest.fixture
def viewport() -> tuple[int, int]:
    return (1280, 900)


@pytest.fixture
def admin(page: Page, panel: Panel) -> Page:
    log_in(page, panel, PASSWORD)
    return page


def open_browser(panel: Panel, name: str) -> int:
    """Open a browser as a test project does, and return its port."""
    report = panel.manage("open_browser", name, "--headless", "--url", f"{panel.url}/admin/login/")
    found = re.search(r"listens at 127\.0\.0\.1:(\d+)", report)
    assert found, report
    return int(found[1])


def to_session(page: Page, panel: Panel, name: str) -> None:
    visit(page, panel, f"sessions_app/browsersession/?q={name}")
    page.get_by_role("link", name=name, exact=True).first.click()


def test_a_browser_is_probed_shown_and_closed(admin: Page, panel: Panel) -> None:
    open_browser(panel, "login")
    to_session(admin, panel, "login")
    main = admin.locator("#content-main")
    main.get_by_role("button", name="Probe now").click()
    expect(main).to_contain_text("Alive")
    main.get_by_role("button", name="Look inside").click()
    picture = admin.locator("figure img").first
    picture.scroll_into_view_if_needed()
    expect(picture).to_have_js_property("complete", True)
    assert picture.evaluate("image => image.naturalWidth") > 100
    expect(admin.locator("figcaption").first).to_contain_text("Log in")
    admin.get_by_role("link", name="Back to the session").click()
    main.get_by_role("link", name="Close its browser…").click()
    admin.get_by_role("button", name="Close 1 browser").click()
    expect(main).to_contain_text("Browser gone")
    expect(main).to_contain_text("Browser closed")
    expect(main.get_by_role("link", name="Close its browser…")).to_have_count(0)


def test_closing_a_browser_in_use_requires_the_number(admin: Page, panel: Panel) -> None:
    port = open_browser(panel, "busy")
    to_session(admin, panel, "busy")
    main = admin.locator("#content-main")
    with socket.create_connection(("127.0.0.1", port)):
        main.get_by_role("button", name="Probe now").click()
        expect(main).to_contain_text("In use")
        main.get_by_role("link", name="Close its browser…").click()
        admin.get_by_role("button", name="Close 1 browser").click()
        expect(main).to_contain_text("Nothing was closed. Type 1 to confirm.")
        admin.get_by_label("Type the number").fill("1")
        admin.get_by_role("button", name="Close 1 browser").click()
        expect(main).to_contain_text("Browser gone")


def test_a_browser_is_opened_by_the_worker(admin: Page, panel: Panel) -> None:
    visit(admin, panel, "sessions_app/browsersession/open-browser/")
    admin.locator("#id_name").fill("opened-here")
    admin.get_by_role("button", name="Open a browser").click()
    expect(admin.locator(".messagelist")).to_contain_text("The worker opens a browser")
    link = admin.get_by_role("link", name="opened-here", exact=True)
    for _ in range(WORK_MILLISECONDS // 1_000):
        if link.count():
            break
        admin.wait_for_timeout(1_000)
        admin.reload()
    link.first.click()
    admin.locator("#content-main").get_by_role("button", name="Probe now").click()
    expect(admin.locator("#content-main")).to_contain_text("Alive")
