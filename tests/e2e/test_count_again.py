"""A real worker counts the numbers of a large panel again while the page is open."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest
from playwright.sync_api import Page, expect

from tests.e2e.panel import Panel
from tests.e2e.steps import WIDE, log_in

PASSWORD = "correct horse battery staple"
WORK_MILLISECONDS = 60_000
# The address of a page that has waited for some seconds; after two minutes it stops.
ASKED = (
    "from sessions_app.models.clock import database_now; from datetime import timedelta; "
    "from sessions_app.models import StorageSnapshot as S; from django.db.models import F; "
    "S.objects.update(taken_at=F('taken_at') - timedelta(hours=1)); "
    "print((database_now() - timedelta(seconds={})).isoformat())"
)
MANY = (
    "from sessions_app.models import BrowserSession as S; from datetime import datetime, UTC; "
    "now = datetime.now(UTC); "
    "S.objects.bulk_create((S(namespace='many', name=f'many-{n}', session_id='x', browser_type='chromium', "
    "cdp_url='ws://127.0.0.1:9222/x', created_at=now, last_accessed=now, document=b'{}', size_bytes=2) "
    "for n in range(20100)), batch_size=500)"
)
ONE_MORE = MANY.replace("many-{n}", "more-{now}").replace("20100", "1")
# The tests start each count themselves.
NO_SCHEDULE = (
    "from sessions_app.models import QueuedTask; from datetime import timedelta; "
    "from sessions_app.models.clock import database_now; now = database_now(); "
    "job = dict(task='sessions_app.tasks.take_snapshot', arguments=[]); "
    "QueuedTask.objects.filter(**job, finished_at=None).delete(); "
    # A job that is running is not queued again.
    "QueuedTask.objects.create(**job, started_at=now, heartbeat_at=now + timedelta(days=1))"
)
COUNT = (
    "from sessions_app.reports import take_snapshot; from sessions_app.models.clock import database_now; "
    "take_snapshot(as_of=database_now(), max_age_days=7)"
)


@pytest.fixture(scope="module")
def panel(tmp_path_factory: pytest.TempPathFactory, prepared: Path) -> Iterator[Panel]:
    panel = Panel.copy_of(prepared, tmp_path_factory.mktemp("panel"))
    try:
        panel.start_and_wait(RAPTOR_ADMIN_PASSWORD=PASSWORD)
        panel.shell(NO_SCHEDULE)
        panel.shell(MANY)
        yield panel
    finally:
        panel.stop()


@pytest.fixture
def admin(page: Page, panel: Panel) -> Page:
    log_in(page, panel, PASSWORD)
    return page


def focus_far_below(page: Page) -> float:
    """Focus a link in the middle of the page, as a reader does, and return its position."""
    link = page.get_by_role("link", name="90 days")
    link.focus()
    link.evaluate("element => element.scrollIntoView({ block: 'center' })")
    return float(page.evaluate("window.scrollY"))


@WIDE
def test_the_page_shows_the_new_numbers_by_itself(admin: Page, panel: Panel) -> None:
    panel.shell(COUNT)
    panel.shell(ONE_MORE)
    admin.goto(f"{panel.url}/admin/")
    number = admin.locator(".raptor-tiles dd").first
    before = int(number.inner_text().replace(",", ""))
    admin.get_by_role("button", name="Count again").click()
    status = admin.get_by_role("status")
    expect(status).to_have_text(re.compile("This page will show the new figures|the new figures"))
    expect(status).to_have_text("These are the new figures.", timeout=WORK_MILLISECONDS)
    expect(number).to_have_text(f"{before + 1:,}")
    expect(admin.get_by_role("link", name="Reload this page")).to_have_count(0)


def test_new_numbers_do_not_move_the_reader(admin: Page, panel: Panel) -> None:
    # The page has a chart before and after, so its length does not change.
    panel.shell(f"{COUNT}; {COUNT}")
    asked_at = panel.shell(ASKED.format(1))
    admin.goto(f"{panel.url}/admin/sessions_app/browsersession/storage/?asked_at={quote(asked_at)}")
    status = admin.get_by_role("status")
    expect(status).to_contain_text("This page will show the new figures when they are ready.")
    place = focus_far_below(admin)
    assert place > 0
    panel.shell(COUNT)
    expect(status).to_have_text("These are the new figures.")
    expect(admin.get_by_role("link", name="90 days")).to_be_focused()
    # The notice above has become one line shorter.
    assert abs(admin.evaluate("window.scrollY") - place) < 50


@WIDE
def test_without_a_worker_the_page_stops_waiting_and_reports_it(admin: Page, panel: Panel) -> None:
    asked_at = panel.shell(ASKED.format(100))
    admin.goto(f"{panel.url}/admin/?asked_at={quote(asked_at)}")
    status = admin.get_by_role("status")
    expect(status).to_contain_text("The worker is counting")
    expect(status).to_contain_text("no worker seems to be running", timeout=WORK_MILLISECONDS)
    expect(admin.get_by_role("link", name="Reload this page")).to_be_visible()
