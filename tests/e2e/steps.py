"""Steps of a user in a browser."""

from __future__ import annotations

import pytest
from playwright.sync_api import Locator, Page, expect

from tests.e2e.panel import Panel

WIDE = pytest.mark.parametrize("viewport", [(1440, 900)], ids=["wide"])
"""Marks tests that would show the same on a phone."""


class Clicks:
    """Counts the clicks of a task. Typing and choosing with the keyboard do not count."""

    def __init__(self) -> None:
        self.count = 0

    def on(self, target: Locator) -> None:
        target.click()
        self.count += 1


def log_in(page: Page, panel: Panel, password: str, *, username: str = "admin") -> None:
    """Log in, as the administrator by default."""
    page.goto(f"{panel.url}/")
    page.get_by_label("Username").fill(username)
    page.get_by_label("Password").fill(password)
    page.get_by_role("button", name="Log in").click()
    expect(page).to_have_url(f"{panel.url}/admin/")
    # The scripts, which handle keys, run at the end of loading.
    page.wait_for_load_state()


def follow(target: Locator) -> None:
    """Click what leads to another page, and wait until its scripts have run.

    The next step could find its target on the old page, or on a page without scripts.
    """
    with target.page.expect_navigation():
        target.click()


def visit(page: Page, panel: Panel, path: str) -> None:
    page.goto(f"{panel.url}/admin/{path}")


def tab_to(page: Page, target: Locator, key: str = "Tab") -> None:
    """Press Tab until the element has the focus."""
    for _ in range(150):
        page.keyboard.press(key)
        if target.evaluate("element => element === document.activeElement"):
            return
    pytest.fail(f"{key} does not lead to {target}.")
