"""The menu and the keyboard shortcuts in a real Chromium."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import Page, expect

from tests.e2e.demo import PASSWORD
from tests.e2e.panel import Panel
from tests.e2e.steps import log_in, visit

WIDE = pytest.mark.parametrize("viewport", [(1280, 900)], ids=["wide"])
PHONE = pytest.mark.parametrize("viewport", [(390, 844)], ids=["phone"])


@pytest.fixture
def admin(page: Page, demo: Panel) -> Page:
    log_in(page, demo, PASSWORD)
    return page


@PHONE
def test_on_a_phone_a_button_opens_the_menu_and_escape_closes_it(admin: Page) -> None:
    button = admin.get_by_role("button", name="Menu")
    menu = admin.get_by_role("navigation", name="Main")
    expect(menu).to_be_hidden()
    button.press("Enter")
    expect(button).to_have_attribute("aria-expanded", "true")
    expect(menu.get_by_role("link", name="Sessions")).to_be_visible()
    admin.keyboard.press("Escape")
    expect(menu).to_be_hidden()
    expect(button).to_be_focused()
    button.click()
    menu.get_by_role("link", name="Runs").click()
    expect(admin.get_by_role("heading", name="Runs", level=1)).to_be_visible()
    expect(menu).to_be_hidden()


@WIDE
def test_on_a_desktop_the_menu_is_always_open(admin: Page) -> None:
    expect(admin.get_by_role("button", name="Menu")).to_be_hidden()
    expect(admin.get_by_role("navigation", name="Main")).to_be_visible()


@WIDE
def test_keys_open_screens_and_the_search(admin: Page, demo: Panel) -> None:
    for key, path in {"s": "browsersession/", "r": "cleanuprun/", "p": "cleanuppolicy/"}.items():
        admin.keyboard.press("g")
        admin.keyboard.press(key)
        expect(admin).to_have_url(f"{demo.url}/admin/sessions_app/{path}")
        admin.wait_for_load_state()
    visit(admin, demo, "sessions_app/browsersession/")
    admin.keyboard.press("/")
    search = admin.get_by_role("textbox", name="Search")
    expect(search).to_be_focused()
    admin.keyboard.type("gr/?")
    expect(search).to_have_value("gr/?")
    expect(admin).to_have_url(re.compile("browsersession/$"))
    expect(admin.get_by_role("dialog")).to_have_count(0)


@WIDE
def test_the_help_lists_the_shortcuts_and_can_disable_them(admin: Page, demo: Panel) -> None:
    admin.keyboard.press("?")
    help_ = admin.get_by_role("dialog", name="Keyboard shortcuts")
    expect(help_).to_contain_text("Directories")
    admin.keyboard.press("Escape")
    expect(help_).to_be_hidden()
    admin.get_by_role("button", name="Keyboard shortcuts").click()
    help_.get_by_label("Use keyboard shortcuts in this browser").uncheck()
    help_.get_by_role("button", name="Done").click()
    visit(admin, demo, "")
    admin.keyboard.press("?")
    expect(help_).to_be_hidden()


@PHONE
def test_without_scripts_the_menu_is_open(demo: Panel, page: Page) -> None:
    log_in(page, demo, PASSWORD)
    assert page.context.browser is not None
    context = page.context.browser.new_context(
        viewport={"width": 390, "height": 844},
        java_script_enabled=False,
        storage_state=page.context.storage_state(),
    )
    plain = context.new_page()
    plain.goto(f"{demo.url}/admin/")
    expect(plain.get_by_role("link", name="Sessions", exact=True).first).to_be_visible()
    context.close()
