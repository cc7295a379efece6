"""Give a colleague read-only access, and log in as the colleague."""

from __future__ import annotations

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.e2e.demo import PASSWORD
from tests.e2e.panel import Panel
from tests.e2e.steps import Clicks, log_in

COLLEAGUE = "grace.hopper"


@pytest.mark.parametrize("viewport", [(1280, 900)], ids=["wide"])
def test_a_colleague_gets_read_only_access_in_four_clicks(page: Page, demo: Panel, chromium: Browser) -> None:
    log_in(page, demo, PASSWORD)
    clicks = Clicks()
    clicks.on(page.get_by_role("navigation", name="Main").get_by_role("link", name="Users"))
    clicks.on(page.get_by_role("link", name="Add user"))
    page.get_by_label("Username").fill(COLLEAGUE)
    page.get_by_label("Role").select_option("Viewer")
    clicks.on(page.get_by_role("button", name="Save", exact=True))
    expect(page.get_by_text("it is not shown again")).to_be_visible()
    password = page.locator("#generated-password").inner_text()
    assert clicks.count <= 4

    context = chromium.new_context(viewport={"width": 1280, "height": 900})
    theirs = context.new_page()
    log_in(theirs, demo, password, username=COLLEAGUE)
    menu = theirs.get_by_role("navigation", name="Main")
    expect(menu.get_by_role("link", name="Clean up")).to_have_count(0)
    menu.get_by_role("link", name="Sessions").click()
    expect(theirs.get_by_role("heading", name="Sessions", level=1)).to_be_visible()
    expect(theirs.locator("#result_list tbody tr")).to_have_count(100)
    expect(theirs.get_by_role("option", name="Clean up selected…")).to_have_count(0)
    context.close()
