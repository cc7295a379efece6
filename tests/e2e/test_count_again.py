"""The numbers of a large panel, counted again by a real worker while somebody looks at them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from urllib.parse import quote

import pytest
from playwright.sync_api import Page, expect

from tests.e2e.panel import Panel, free_port

PASSWORD = "correct horse battery staple"
WORK_MILLISECONDS = 60_000
# As a page that has waited for almost two minutes, of a worker that does not count meanwhile.
ASKED = (
    "from sessions_app.models.clock import database_now; from datetime import timedelta; "
    "from sessions_app.models import StorageSnapshot as S; from django.db.models import F; "
    "S.objects.update(taken_at=F('taken_at') - timedelta(hours=1)); "
    "print((database_now() - timedelta(seconds=110)).isoformat())"
)
MANY = (
    "from sessions_app.models import BrowserSession as S; from datetime import datetime, UTC; "
    "now = datetime.now(UTC); "
    "S.objects.bulk_create((S(namespace='many', name=f'many-{n}', session_id='x', browser_type='chromium', "
    "cdp_url='ws://127.0.0.1:9222/x', created_at=now, last_accessed=now, document=b'{}', size_bytes=2) "
    "for n in range(20100)), batch_size=500)"
)
ONE_MORE = MANY.replace("many-{n}", "more-{now}").replace("20100", "1")
# The tests say when it counts.
NO_SCHEDULE = (
    "from django_q.models import Schedule as S; from datetime import datetime, timedelta, UTC; "
    "S.objects.filter(name='take_snapshot').update(next_run=datetime.now(UTC) + timedelta(days=1))"
)
COUNT = (
    "from sessions_app.reports import take_snapshot; from sessions_app.models.clock import database_now; "
    "take_snapshot(as_of=database_now(), max_age_days=7)"
)


@pytest.fixture(scope="module")
def panel(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Panel]:
    panel = Panel(tmp_path_factory.mktemp("panel"), free_port())
    try:
        panel.start_and_wait(RAPTOR_ADMIN_PASSWORD=PASSWORD)
        panel.shell(NO_SCHEDULE)
        panel.shell(MANY)
        yield panel
    finally:
        panel.stop()


@pytest.fixture
def admin(page: Page, panel: Panel) -> Page:
    page.goto(f"{panel.url}/")
    page.get_by_label("Username").fill("admin")
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Log in").click()
    expect(page).to_have_url(f"{panel.url}/admin/")
    return page


def focus_far_below(page: Page) -> float:
    """Put the focus on a link in the middle of the page, as somebody who reads on, and give the place."""
    link = page.get_by_role("link", name="90 days")
    link.focus()
    link.evaluate("element => element.scrollIntoView({ block: 'center' })")
    return float(page.evaluate("window.scrollY"))


def test_the_page_shows_the_new_numbers_by_itself(admin: Page, panel: Panel) -> None:
    panel.shell(COUNT)
    panel.shell(ONE_MORE)
    admin.goto(f"{panel.url}/admin/")
    number = admin.locator(".raptor-tiles dd").first
    before = int(number.inner_text().replace(",", ""))
    admin.get_by_role("button", name="Count again").click()
    told = admin.get_by_role("status")
    expect(told).to_have_text(re.compile("This page will show the new figures|the new figures"))
    expect(told).to_have_text("These are the new figures.", timeout=WORK_MILLISECONDS)
    expect(number).to_have_text(f"{before + 1:,}")
    expect(admin.get_by_role("link", name="Reload this page")).to_have_count(0)


def test_who_reads_on_is_left_where_they_are(admin: Page, panel: Panel) -> None:
    # With a chart before as after, the page is of one length.
    panel.shell(f"{COUNT}; {COUNT}")
    asked_at = panel.shell(ASKED)
    admin.goto(f"{panel.url}/admin/sessions_app/browsersession/storage/?asked_at={quote(asked_at)}")
    told = admin.get_by_role("status")
    expect(told).to_contain_text("This page will show the new figures when they are ready.")
    place = focus_far_below(admin)
    assert place > 0
    panel.shell(COUNT)
    expect(told).to_have_text("These are the new figures.")
    expect(admin.get_by_role("link", name="90 days")).to_be_focused()
    # What the page says above has become a line shorter.
    assert abs(admin.evaluate("window.scrollY") - place) < 50


def test_without_a_worker_it_gives_up_and_says_so(admin: Page, panel: Panel) -> None:
    asked_at = panel.shell(ASKED)
    admin.goto(f"{panel.url}/admin/?asked_at={quote(asked_at)}")
    told = admin.get_by_role("status")
    expect(told).to_contain_text("The worker is counting")
    expect(told).to_contain_text("no worker seems to be running", timeout=20_000)
    expect(admin.get_by_role("link", name="Reload this page")).to_be_visible()
