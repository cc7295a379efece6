"""Daily use in a real Chromium, on a panel that was started with ``make up``."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.e2e.panel import PROJECT_DIR, Panel
from tests.e2e.steps import WIDE, follow, log_in, tab_to, visit

FILES = PROJECT_DIR / "tests" / "session_files" / "sessions"
FRESH = "saved-just-now.json"
PASSWORD = "correct horse battery staple"
SWEEP_MILLISECONDS = 90_000
WORK_MILLISECONDS = 60_000
# Valid sessions that no other test selects.
CROWD = (
    "from sessions_app.models import BrowserSession as S; from datetime import datetime, UTC; "
    "now = datetime.now(UTC); "
    "S.objects.bulk_create((S(namespace='crowd', name=f'crowd-{n}', session_id='x', browser_type='chromium', "
    "cdp_url='ws://127.0.0.1:9222/x', created_at=now, last_accessed=now, document=b'{}', size_bytes=2) "
    "for n in range(6000)), batch_size=500)"
)
COUNT_CROWD = (
    "from sessions_app.models import BrowserSession as S; print(S.objects.filter(namespace='crowd').count())"
)
SNAPSHOTS = (
    "from sessions_app.reports import take_snapshot; from django.utils import timezone; "
    "from datetime import timedelta; now = timezone.now(); "
    "[take_snapshot(as_of=now - timedelta(hours=n), max_age_days=7) for n in (50, 3, 0)]"
)
COUNT_SNAPSHOTS = "from sessions_app.models import StorageSnapshot as S; print(S.objects.count())"
SET_THEME = "theme => { document.documentElement.dataset.theme = theme; }"
COLOUR = "canvas => window.Chart.getChart(canvas).data.datasets[0].borderColor"
DRAWN = "canvas => { const empty = canvas.cloneNode(); return canvas.toDataURL() !== empty.toDataURL(); }"
KEYS = CROWD.replace("'crowd'", "'keys'").replace("crowd-", "keyed-").replace("range(6000)", "range(150)")
PAGES = (
    "",
    "sessions_app/browsersession/",
    "sessions_app/browsersession/?namespace=crowd&pinned=no&q=crowd-1&o=-7",
    "sessions_app/browsersession/storage/",
    "sessions_app/cleanuprun/",
    "sessions_app/cleanuprun/?outcome=waits&planned=7&q=admin",
    "sessions_app/archivedsession/",
    "sessions_app/sessiondirectory/",
    "sessions_app/sessiondirectory/add/",
    "sessions_app/sessiondirectory/1/change/",
    "sessions_app/queuedtask/",
)


@pytest.fixture(scope="module")
def panel(tmp_path_factory: pytest.TempPathFactory, prepared: Path) -> Iterator[Panel]:
    panel = Panel.copy_of(prepared, tmp_path_factory.mktemp("panel"))
    shutil.copytree(FILES, folder_of(panel))
    try:
        panel.start_and_wait(RAPTOR_ADMIN_PASSWORD=PASSWORD)
        yield panel
    finally:
        panel.stop()


@pytest.fixture
def admin(page: Page, panel: Panel) -> Page:
    """A page of the administrator, who has logged in through the form."""
    log_in(page, panel, PASSWORD)
    return page


@pytest.fixture
def restored(panel: Panel) -> None:
    """Restore all documents in the folder and the panel, and add one that was saved just now."""
    for file in FILES.iterdir():
        if not (folder_of(panel) / file.name).exists():
            shutil.copy(file, folder_of(panel))
    now = datetime.now(UTC).isoformat()
    fresh = {"session_id": "x", "cdp_url": "ws://127.0.0.1:9222/x", "browser_type": "chromium"}
    file = folder_of(panel) / FRESH
    file.write_text(json.dumps(fresh | {"created_at": now, "last_accessed": now}))
    panel.manage("sync_directories")


def folder_of(panel: Panel) -> Path:
    return Path(panel.environment["HOME"]) / ".raptor" / "sessions"


@pytest.mark.usefixtures("restored")
def test_find_select_confirm_and_see_the_run(admin: Page, panel: Panel) -> None:
    visit(admin, panel, "sessions_app/browsersession/")
    drawer = admin.get_by_role("button", name=re.compile("^Filters"))
    if drawer.is_visible():
        # On a phone.
        drawer.click()
    follow(admin.get_by_role("link", name="Any problem"))
    expect(admin).to_have_url(re.compile(r"problem=any"))
    for name in ("null-session-id", "missing-cdp-url"):
        admin.get_by_role("row", name=re.compile(rf"\b{name}\b")).get_by_role("checkbox").check()
    admin.get_by_role("button", name="Clean up selected…").click()

    expect(admin.get_by_role("heading", name="Clean up sessions?")).to_be_visible()
    plan = admin.get_by_role("table", name="Sessions to remove")
    expect(plan.get_by_role("row")).to_have_count(3)
    expect(plan).to_contain_text("The session id is missing.")
    admin.get_by_role("button", name="Clean up 2 sessions").click()

    expect(admin.get_by_text("2 of 2 sessions removed")).to_be_visible()
    expect(admin.get_by_role("heading", name=re.compile(r"^Run \d+$"))).to_be_visible()
    archived = admin.get_by_role("table", name="Sessions in the archive")
    expect(archived.get_by_role("row")).to_have_count(3)
    left = {file.name for file in folder_of(panel).iterdir()}
    assert left - {FRESH} == {file.name for file in FILES.iterdir()} - {
        "null-session-id.json",
        "missing-cdp-url.json",
    }

    visit(admin, panel, "sessions_app/browsersession/?problem=any")
    expect(admin.get_by_role("link", name="empty-session-id")).to_be_visible()
    expect(admin.get_by_role("link", name="null-session-id")).to_have_count(0)


@pytest.mark.usefixtures("restored")
@WIDE
def test_a_due_sweep_runs_and_is_shown(admin: Page, panel: Panel) -> None:
    panel.shell(
        "from django.utils import timezone; from django_q.models import Schedule; "
        "from sessions_app.models import CleanupPolicy; "
        "assert CleanupPolicy.objects.filter(is_enabled=True).update(next_run_at=timezone.now()) == 1; "
        "assert Schedule.objects.filter(name='tick').update(next_run=timezone.now()) == 1"
    )
    run = admin.get_by_role("row", name=re.compile(r"Succeeded.*Schedule.*expired"))
    for _ in range(SWEEP_MILLISECONDS // 1_000):
        visit(admin, panel, "sessions_app/cleanuprun/?trigger__exact=schedule")
        if run.count():
            break
        admin.wait_for_timeout(1_000)
    run.first.get_by_role("link").first.click()
    expect(admin.get_by_text("Succeeded")).to_be_visible()
    expect(admin.get_by_role("table", name="Sessions in the archive")).to_contain_text("Last accessed")
    visit(admin, panel, "sessions_app/browsersession/?expired=yes")
    expect(admin.get_by_text("0 browser sessions")).to_be_visible()
    assert not (folder_of(panel) / "old-and-invalid.json").exists()
    assert (folder_of(panel) / FRESH).exists()


@WIDE
def test_a_large_cleanup_shows_its_progress_and_is_undone(admin: Page, panel: Panel) -> None:
    panel.shell(CROWD)
    visit(admin, panel, "sessions_app/browsersession/?namespace=crowd")
    admin.get_by_role("checkbox", name="Select all").check()
    admin.get_by_role("button", name="Select all 6,000 that match").click()
    admin.get_by_role("button", name="Clean up selected…").click()

    number = admin.get_by_label("Type the number of sessions to confirm")
    number.fill("60")
    admin.get_by_role("button", name="Clean up 6,000 sessions").click()
    expect(number).to_have_accessible_description(re.compile("Nothing was removed"))
    number.fill("6,000")
    admin.get_by_role("button", name="Clean up 6,000 sessions").click()

    bar = admin.get_by_role("progressbar", name="Removed")
    expect(bar).to_be_visible()
    expect(admin.get_by_text("Succeeded")).to_be_visible(timeout=WORK_MILLISECONDS)
    expect(bar).to_have_count(0)
    expect(admin.get_by_text(re.compile("Sessions 1 to 100 of 6,000"))).to_be_visible()
    with admin.expect_download() as download:
        admin.get_by_role("link", name="Download CSV").click()
    assert len(Path(download.value.path()).read_text().splitlines()) == 6_001

    admin.get_by_role("button", name="Undo").click()
    expect(admin.get_by_role("progressbar", name="Restored")).to_be_visible()
    expect(admin.get_by_text("Undone", exact=True).first).to_be_visible(timeout=WORK_MILLISECONDS)
    expect(admin.get_by_text("6,000 sessions by admin")).to_be_visible()
    assert panel.shell(COUNT_CROWD) == "6000"


@WIDE
def test_all_matching_sessions_are_cleaned_up_and_restored_with_the_keyboard(
    admin: Page, panel: Panel
) -> None:
    panel.shell(KEYS)
    visit(admin, panel, "sessions_app/browsersession/?namespace=keys")
    tab_to(admin, admin.get_by_role("textbox", name="Search"))
    admin.keyboard.type("keyed")
    with admin.expect_navigation():
        admin.keyboard.press("Enter")
    expect(admin.get_by_text("150 results")).to_be_visible()
    expect(admin.get_by_role("note")).to_contain_text("Searched: name, host, session id and metadata")

    tab_to(admin, admin.get_by_role("checkbox", name="Select all"))
    admin.keyboard.press("Space")
    status = admin.get_by_role("status")
    expect(status).to_contain_text("100 of 100 selected")
    tab_to(admin, admin.get_by_role("button", name="Select all 150 that match"), "Shift+Tab")
    admin.keyboard.press("Space")
    expect(status).to_contain_text("All 150 that match selected")
    expect(admin.get_by_role("button", name="Clear selection")).to_be_focused()
    tab_to(admin, admin.get_by_role("button", name="Clean up selected…"), "Shift+Tab")
    admin.keyboard.press("Enter")

    expect(admin.get_by_role("heading", name="Clean up sessions?")).to_be_visible()
    criteria = "sessions with “keyed” in name, host, session id or metadata, in namespace keys"
    expect(admin.get_by_text(criteria)).to_be_visible()
    # Another session is added while the user reads.
    panel.shell(KEYS.replace("range(150)", "range(150, 151)"))
    tab_to(admin, admin.get_by_label("Type the number of sessions to confirm"))
    admin.keyboard.type("150")
    admin.keyboard.press("Enter")
    expect(admin.get_by_text("150 of 150 sessions removed")).to_be_visible()

    tab_to(admin, admin.get_by_role("button", name="Undo"))
    admin.keyboard.press("Enter")
    expect(admin.get_by_text("150 of 150 sessions were restored.")).to_be_visible()


@pytest.mark.usefixtures("restored")
def test_every_page_has_no_console_message_and_fits(
    admin: Page, panel: Panel, viewport: tuple[int, int]
) -> None:
    visit(admin, panel, "sessions_app/browsersession/?q=big-metadata")
    session = admin.get_by_role("link", name="big-metadata").get_attribute("href")
    assert session is not None
    for path in (*PAGES, session.removeprefix("/admin/")):
        visit(admin, panel, path)
        expect(admin.locator("h1")).to_be_visible()
        wider = admin.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
        assert wider <= 0, f"{path} is {wider} pixels wider than a screen of {viewport[0]}"


@WIDE
@pytest.mark.usefixtures("restored")
def test_the_reports_download(admin: Page, panel: Panel) -> None:
    visit(admin, panel, "sessions_app/browsersession/")
    follow(admin.get_by_role("link", name="Storage report"))
    for kind in ("CSV", "JSON"):
        with admin.expect_download() as download:
            admin.get_by_role("link", name=f"Download {kind}").click()
        assert re.fullmatch(rf"raptor-storage-[\d-]+\.{kind.lower()}", download.value.suggested_filename)


@WIDE
@pytest.mark.usefixtures("restored")
def test_the_charts_are_drawn_and_follow_the_theme(admin: Page, panel: Panel) -> None:
    panel.manage("cleanup_sessions", "--invalid", "--yes")
    panel.shell(SNAPSHOTS)
    for path, names in (("", ["growth"]), ("sessions_app/browsersession/storage/", ["growth", "freed"])):
        visit(admin, panel, path)
        for name in names:
            chart = admin.locator(f"canvas[data-chart={name}]")
            expect(chart).to_be_visible()
            canvas = chart.element_handle()
            admin.evaluate(SET_THEME, "light")
            admin.wait_for_function(DRAWN, arg=canvas)
            light = chart.evaluate(COLOUR)
            admin.evaluate(SET_THEME, "dark")
            admin.wait_for_function(f"([canvas, light]) => ({COLOUR})(canvas) !== light", arg=[canvas, light])
            admin.wait_for_function(DRAWN, arg=canvas)
    table = admin.get_by_role("table", name="Sessions and bytes over the last 30 days")
    expect(table).to_be_hidden()
    admin.get_by_text("As a table").first.press("Enter")
    expect(table.get_by_role("rowheader")).not_to_have_count(0)


@WIDE
def test_the_report_is_printed_with_its_tables_open(admin: Page, panel: Panel) -> None:
    panel.shell(SNAPSHOTS)
    visit(admin, panel, "sessions_app/browsersession/storage/")
    follow(admin.get_by_role("link", name="7 days", exact=True))
    table = admin.get_by_role("table", name="Sessions and bytes over the last 7 days")
    admin.evaluate("window.print = () => window.dispatchEvent(new Event('beforeprint'))")
    admin.get_by_role("button", name="Print").click()
    expect(table).to_be_visible()
    admin.emulate_media(media="print")
    expect(admin.locator("#nav-sidebar")).to_be_hidden()
    expect(admin.get_by_role("link", name="Download CSV")).to_be_hidden()
    admin.emulate_media(media="screen")
    admin.evaluate("window.dispatchEvent(new Event('afterprint'))")
    expect(table).to_be_hidden()


@pytest.mark.usefixtures("restored")
@WIDE
def test_the_worker_takes_a_snapshot_and_is_shown_as_running(admin: Page, panel: Panel) -> None:
    before = int(panel.shell(COUNT_SNAPSHOTS))
    panel.shell(
        "from sessions_app.queue.enqueue import Task; from sessions_app.queue.outbox import enqueue; "
        "enqueue(Task.TAKE_SNAPSHOT)"
    )
    for _ in range(SWEEP_MILLISECONDS // 1_000):
        if int(panel.shell(COUNT_SNAPSHOTS)) > before:
            break
        admin.wait_for_timeout(1_000)
    assert int(panel.shell(COUNT_SNAPSHOTS)) > before
    visit(admin, panel, "")
    expect(admin.get_by_text("Running", exact=True)).to_be_visible()
    admin.locator(".raptor-tiles").get_by_role("link").nth(2).click()
    expect(admin).to_have_url(re.compile(r"expired=yes"))
