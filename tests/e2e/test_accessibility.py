"""Check every page with axe-core: wide and narrow, light and dark."""

from __future__ import annotations

import shutil
from collections.abc import Iterator

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect

from tests.e2e.panel import PROJECT_DIR, Panel, free_port
from tests.e2e.steps import log_in

FILES = PROJECT_DIR / "tests" / "session_files" / "sessions"
PASSWORD = "correct horse battery staple"
PAGES = (
    "",
    "password_change/",
    "auth/group/",
    "auth/user/",
    "auth/user/add/",
    "sessions_app/queuedtask/",
    "sessions_app/archivedsession/",
    "sessions_app/browsersession/",
    "sessions_app/browsersession/?_facets=True",
    "sessions_app/browsersession/?problem=any&q=a",
    "sessions_app/browsersession/1/change/",
    "sessions_app/browsersession/storage/",
    "sessions_app/cleanuppolicy/",
    "sessions_app/cleanuppolicy/1/change/",
    "sessions_app/cleanuppolicy/add/",
    "sessions_app/cleanuprun/",
    "sessions_app/cleanuprun/new/",
    "sessions_app/cleanuprun/1/change/",
    "sessions_app/cleanuprun/2/plan/",
    "sessions_app/limitednamespace/",
    "sessions_app/limitednamespace/add/",
    "sessions_app/policychange/",
    "sessions_app/sessiondirectory/",
    "sessions_app/sessiondirectory/1/change/",
    "sessions_app/sessiondirectory/add/",
)


@pytest.fixture(scope="module")
def panel(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Panel]:
    """A panel with sessions, a run that removed some of them and a plan of others."""
    panel = Panel(tmp_path_factory.mktemp("panel"), free_port())
    shutil.copytree(FILES, panel.directory / "home" / ".raptor" / "sessions")
    try:
        panel.start_and_wait(RAPTOR_ADMIN_PASSWORD=PASSWORD)
        panel.manage("cleanup_sessions", "--expired", "--max-age-days", "300", "--yes")
        panel.manage("cleanup_sessions", "--invalid", "--dry-run")
        yield panel
    finally:
        panel.stop()


@pytest.fixture(params=["light", "dark"])
def page(request: pytest.FixtureRequest, chromium: Browser, viewport: tuple[int, int]) -> Iterator[Page]:
    width, height = viewport
    context = chromium.new_context(
        viewport={"width": width, "height": height}, color_scheme=request.param, reduced_motion="reduce"
    )
    yield context.new_page()
    context.close()


def violations(page: Page) -> list[str]:
    found = Axe().run(page).response["violations"]
    return [f"{page.url}: {rule['id']}: {node['html'][:200]}" for rule in found for node in rule["nodes"]]


def test_no_page_has_a_violation(page: Page, panel: Panel) -> None:
    page.goto(f"{panel.url}/")
    found = violations(page)
    log_in(page, panel, PASSWORD)
    for path in PAGES:
        response = page.goto(f"{panel.url}/admin/{path}")
        assert response is not None
        assert response.status == 200, path
        found += violations(page)
    page.goto(f"{panel.url}/admin/sessions_app/browsersession/1/change/")
    page.get_by_role("button", name="Show endpoint").click()
    expect(page.get_by_role("heading", name="Endpoint")).to_be_visible()
    found += violations(page)
    assert found == []
