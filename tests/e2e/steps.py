"""Steps of a user in a browser."""

from __future__ import annotations

import pytest
from playwright.sync_api import Locator, Page, expect

from tests.e2e.panel import Panel


def log_in(page: Page, panel: Panel, password: str) -> None:
    """Log in as the administrator."""
    page.goto(f"{panel.url}/")
    page.get_by_label("Username").fill("admin")
    page.get_by_label("Password").fill(password)
    page.get_by_role("button", name="Log in").click()
    expect(page).to_have_url(f"{panel.url}/admin/")


def visit(page: Page, panel: Panel, path: str) -> None:
    page.goto(f"{panel.url}/admin/{path}")


def tab_to(page: Page, target: Locator, key: str = "Tab") -> None:
    """Press Tab until the element has the focus."""
    for _ in range(150):
        page.keyboard.press(key)
        if target.evaluate("element => element === document.activeElement"):
            return
    pytest.fail(f"{key} does not lead to {target}.")
