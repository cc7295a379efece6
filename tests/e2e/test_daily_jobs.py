"""The tasks of a working day on 2,000 sessions, with the number of clicks for each."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Locator, Page, expect

from tests.e2e.panel import Panel
from tests.e2e.steps import WIDE, follow, log_in, visit
from tests.e2e.working_day import SESSIONS

PASSWORD = "correct horse battery staple"
LIST = "sessions_app/browsersession/"
FILL = "from tests.e2e import working_day; working_day.fill()"
HOLD = "from tests.e2e import working_day; working_day.hold_a_run()"
WORK_MILLISECONDS = 60_000


@pytest.fixture(scope="module")
def panel(tmp_path_factory: pytest.TempPathFactory, prepared: Path) -> Iterator[Panel]:
    panel = Panel.copy_of(prepared, tmp_path_factory.mktemp("panel"))
    try:
        panel.start_and_wait(RAPTOR_ADMIN_PASSWORD=PASSWORD)
        panel.shell(FILL)
        yield panel
    finally:
        panel.stop()


class Clicks:
    """Clicks as a user does, and counts the clicks."""

    def __init__(self) -> None:
        self.count = 0

    def __call__(self, target: Locator, **options: object) -> None:
        self.count += 1
        target.click(**options)  # type: ignore[arg-type]


@pytest.fixture
def click() -> Clicks:
    return Clicks()


@pytest.fixture
def admin(page: Page, panel: Panel) -> Page:
    log_in(page, panel, PASSWORD)
    return page


def set_filter(page: Page, click: Clicks, name: str) -> None:
    """Choose a filter. On a narrow screen, first open the drawer with the filters."""
    link = page.locator("#changelist-filter").get_by_role("link", name=name, exact=True).first
    if not link.is_visible():
        page.get_by_role("button", name=re.compile("^Filters")).click()
    with page.expect_navigation():
        click(link)


def live_count(panel: Panel, code: str) -> int:
    return int(panel.shell(f"from sessions_app.models import BrowserSession as S; print({code})"))


def test_the_sessions_of_a_user_are_found(admin: Page, panel: Panel, click: Clicks) -> None:
    visit(admin, panel, LIST)
    click(admin.get_by_role("textbox", name="Search"))
    admin.keyboard.type("grace")
    admin.keyboard.press("Enter")
    expect(admin.locator(".raptor-total")).to_contain_text("200 sessions")
    assert click.count == 1


def test_the_expired_sessions_of_a_namespace_are_cleaned_up_and_restored(
    admin: Page, panel: Panel, click: Clicks
) -> None:
    before = live_count(panel, "S.objects.count()")
    assert before > SESSIONS - 10
    visit(admin, panel, LIST)
    with admin.expect_navigation():
        click(admin.get_by_role("link", name="Clean up…", exact=True))
    admin.get_by_label("Namespace").fill("shop")
    click(admin.get_by_label("Invalid sessions: those with a problem"))
    click(admin.get_by_role("button", name="Preview"))
    click(admin.get_by_role("button", name=re.compile("^Clean up [0-9]+ sessions")))
    expect(admin.get_by_text(re.compile("^Run .*: ([0-9]+) of \\1 sessions removed"))).to_be_visible()
    assert click.count <= 4

    undo = Clicks()
    undo(admin.get_by_role("button", name="Undo"))
    expect(admin.get_by_text(re.compile("([0-9]+) of \\1 sessions were restored."))).to_be_visible()
    assert undo.count == 1
    assert live_count(panel, "S.objects.count()") == before


def test_ten_sessions_are_pinned(admin: Page, panel: Panel, click: Clicks) -> None:
    panel.shell("from sessions_app.models import BrowserSession as S; S.objects.update(is_pinned=False)")
    visit(admin, panel, LIST)
    rows = admin.locator("#result_list .action-select")
    click(rows.nth(0))
    click(rows.nth(9), modifiers=["Shift"])
    expect(admin.locator(".action-counter")).to_contain_text("10 of 100 selected")
    click(admin.get_by_role("button", name="Pin", exact=True))
    expect(admin.get_by_text("10 sessions were pinned.")).to_be_visible()
    assert click.count <= 4
    assert live_count(panel, "S.objects.filter(is_pinned=True).count()") == 10


@WIDE
def test_the_reason_of_a_removal_is_found(admin: Page, panel: Panel, click: Clicks) -> None:
    name = panel.shell(
        "from sessions_app.models import BrowserSession as S; "
        "print(S.objects.filter(namespace='bank', is_pinned=False, idle_since__lt='2026-01-01').first() or "
        "S.objects.filter(namespace='bank', is_pinned=False).order_by('idle_since').first())"
    ).removeprefix("bank/")
    visit(admin, panel, f"{LIST}?q={name}")
    admin.locator("#result_list .action-select").check()
    admin.get_by_role("button", name="Clean up selected…").click()
    admin.get_by_role("button", name="Clean up 1 session").click()
    expect(admin.get_by_text("1 of 1 session removed")).to_be_visible()

    visit(admin, panel, LIST)
    click(admin.get_by_role("textbox", name="Search"))
    admin.keyboard.type(name)
    with admin.expect_navigation():
        admin.keyboard.press("Enter")
    click(admin.get_by_role("link", name="1 more in the archive"))
    expect(admin.locator("#result_list")).to_contain_text("Selected manually.")
    assert click.count <= 2

    # The page of the removed session also explains and undoes the removal; its old URL redirects there.
    admin.get_by_role("link", name=name).click()
    expect(admin.get_by_text(re.compile("Last accessed .* ago; the limit is 7 days.")).first).to_be_visible()
    address = admin.url.replace("archivedsession", "browsersession").partition("?")[0]
    admin.goto(address)
    expect(admin).to_have_url(re.compile("archivedsession"))
    admin.get_by_role("button", name="Restore").click()
    expect(admin).to_have_url(address)
    expect(admin.get_by_text(f"“{name}” was restored.")).to_be_visible()


@WIDE
def test_the_filtered_list_is_exported(admin: Page, panel: Panel, click: Clicks) -> None:
    visit(admin, panel, f"{LIST}?metadata.user=grace&namespace=shop&o=1")
    expect(admin.locator(".raptor-total")).to_contain_text("100 sessions")
    with admin.expect_download() as download:
        click(admin.get_by_role("link", name="Download CSV"))
    assert click.count == 1
    with Path(download.value.path()).open() as file:
        rows = list(csv.DictReader(file))
    assert [row["name"] for row in rows] == sorted(row["name"] for row in rows)
    assert (len(rows), {row["namespace"] for row in rows}) == (100, {"shop"})
    with admin.expect_download() as download:
        admin.get_by_role("link", name="Download JSON").click()
    text = Path(download.value.path()).read_text()
    assert len(json.loads(text)["sessions"]) == 100
    assert "devtools" not in text


@WIDE
def test_a_run_is_approved_on_the_dashboard(admin: Page, panel: Panel, click: Clicks) -> None:
    panel.shell(HOLD)
    visit(admin, panel, "")
    note = admin.locator("section.raptor-note").filter(has_text="Needs approval")
    click(note.get_by_role("button", name=re.compile("^Approve")).first)
    expect(admin.get_by_text("Succeeded").first).to_be_visible(timeout=WORK_MILLISECONDS)
    assert click.count <= 2
    admin.get_by_role("button", name="Undo").click()
    expect(admin.get_by_text("Undone", exact=True).first).to_be_visible(timeout=WORK_MILLISECONDS)


def test_a_metadata_key_becomes_a_column_with_a_filter_and_filters_are_kept(
    admin: Page, panel: Panel, click: Clicks
) -> None:
    visit(admin, panel, LIST)
    admin.get_by_role("button", name="Columns").click()
    admin.get_by_role("checkbox", name="user").check()
    follow(admin.get_by_role("button", name="Show", exact=True))
    set_filter(admin, click, "grace")
    set_filter(admin, click, "shop")
    cells = admin.locator("#result_list td.field-metadata")
    expect(cells.first).to_have_text("grace")
    assert set(cells.all_inner_texts()) == {"grace"}
    expect(admin.locator(".raptor-total")).to_contain_text("100 sessions")
    address = admin.url
    admin.locator("#result_list tbody th a").first.click()
    admin.get_by_role("navigation", name="Breadcrumbs").get_by_role("link", name="Sessions").click()
    expect(admin).to_have_url(address)


@pytest.mark.parametrize("viewport", [(1024, 800), (1280, 800), (390, 844)], ids=["1024", "1280", "390"])
def test_the_lists_fit_without_sideways_scrolling(admin: Page, panel: Panel) -> None:
    for path in (LIST, "sessions_app/archivedsession/", "sessions_app/cleanuprun/"):
        visit(admin, panel, path)
        wider = admin.evaluate(
            "[document.documentElement, ...document.querySelectorAll('.results')]"
            ".map(element => element.scrollWidth - element.clientWidth)"
        )
        assert max(wider) <= 0, f"{path}: {wider}"
        button = admin.get_by_role("button", name=re.compile("^Filters"))
        drawer = admin.locator("#changelist-filter")
        if button.is_visible():
            expect(drawer).to_be_hidden()
            button.click()
        expect(drawer).to_be_visible()
