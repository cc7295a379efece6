"""Tasks with policies on the demo, with the number of clicks, and the demo itself."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.e2e.panel import UP, Panel
from tests.e2e.steps import WIDE, Clicks, log_in, visit

PASSWORD = "correct horse battery staple"
MOST_CLICKS = 8
REFRESH_MILLISECONDS = 60_000
POLICY = "from sessions_app.models import CleanupPolicy as P; p = P.objects.get(name='{}'); {}"
NEWEST = (
    "from sessions_app.policies import preview; from sessions_app.models import BrowserSession as S; "
    "from django.db.models import Count; "
    "print(sum(max(0, row['n'] - 50) for row in S.objects.values('namespace').annotate(n=Count('id'))), "
    "preview(p).steps[0].session_count, S.objects.filter(is_pinned=True).count())"
)


@pytest.fixture(scope="module")
def panel(tmp_path_factory: pytest.TempPathFactory, prepared: Path) -> Iterator[Panel]:
    panel = Panel.copy_of(prepared, tmp_path_factory.mktemp("demo"))
    own = panel.directory / "home" / ".raptor" / "sessions"
    own.mkdir(parents=True)
    (own / "mine.json").write_text("{}")
    try:
        panel.start_and_wait([*UP, "--demo"], RAPTOR_ADMIN_PASSWORD=PASSWORD)
        yield panel
    finally:
        panel.stop()


@pytest.fixture
def admin(page: Page, panel: Panel) -> Page:
    log_in(page, panel, PASSWORD)
    return page


def test_the_demo_has_2000_sessions_and_does_not_mirror_the_users_own(panel: Panel) -> None:
    count = panel.shell("from sessions_app.models import BrowserSession as S; print(S.objects.count())")
    assert int(count) >= 2_000
    mine = "from sessions_app.models import BrowserSession as S; print(S.objects.filter(name='mine').count())"
    assert panel.shell(mine) == "0"
    assert "rm -r" in panel.output
    assert "make up" in panel.output


def test_a_weekly_policy_that_keeps_the_newest_50_of_each_namespace(
    admin: Page, panel: Panel, viewport: tuple[int, int]
) -> None:
    """Each choice in a list counts as a click, although the test uses the keyboard."""
    name, clicks = f"Weekly {viewport[0]}", Clicks()
    if viewport[0] < 1_000:
        clicks.on(admin.get_by_role("button", name="Menu"))
    clicks.on(admin.get_by_role("link", name="Policies", exact=True))
    clicks.on(admin.get_by_role("link", name="Add cleanup policy"))
    admin.get_by_label("Name:").fill(name)
    admin.get_by_label("When:").select_option("weekly")
    clicks.count += 1
    clicks.on(admin.get_by_label("Enabled"))
    step = admin.locator("#steps-0")
    step.get_by_label("Removes:").select_option("newest")
    clicks.count += 1
    expect(step.get_by_label("Of each:")).to_have_value("namespace")
    step.get_by_label("Keep newest:").fill("50")
    expect(step.get_by_label("Maximum age in days:")).to_be_hidden()
    expect(admin.get_by_label("Schedule:")).to_be_hidden()
    expect(admin.locator("#schedule-words")).to_contain_text(re.compile("Monday.*Monday.*Monday"))
    names = admin.locator("#live-preview .raptor-names tbody tr")
    expect(names).to_have_count(50)
    shown = admin.locator("#live-preview").inner_text()
    clicks.on(admin.get_by_role("button", name="Save", exact=True))
    expect(admin.locator(".messagelist .success")).to_contain_text(name)
    assert clicks.count <= MOST_CLICKS
    policy = POLICY.format(name, "print(p.schedule, p.is_enabled, p.steps.get().keep_count)")
    assert panel.shell(policy) == "0 2 * * 1 True 50"
    older, previewed, pinned = map(int, panel.shell(POLICY.format(name, NEWEST)).split())
    assert older - pinned <= previewed <= older
    assert f"{previewed:,}" in shown


@WIDE
def test_the_switch_of_the_list_takes_one_click(admin: Page, panel: Panel) -> None:
    visit(admin, panel, "sessions_app/cleanuppolicy/")
    switch = admin.get_by_role("switch", name="Production")
    was = switch.get_attribute("aria-checked")
    switch.click()
    expect(switch).to_have_attribute("aria-checked", "false" if was == "true" else "true")


@WIDE
def test_the_dashboard_refreshes_itself(admin: Page, panel: Panel) -> None:
    tile = admin.locator(".raptor-tiles dd.raptor-big").first
    before = int(tile.inner_text().replace(",", ""))
    criteria = ("--expired", "--max-age-days", "25", "--namespace", "bank")
    output = panel.manage("cleanup_sessions", *criteria, "--yes", "--format", "json")
    run = json.loads(output[output.index("{") : output.rindex("}") + 1])
    try:
        assert run["removed"]
        expect(tile).not_to_have_text(f"{before:,}", timeout=REFRESH_MILLISECONDS)
    finally:
        panel.manage("undo_cleanup", str(run["run"]))


def test_findings_are_above_the_numbers_and_the_chart(admin: Page) -> None:
    places = [
        admin.locator(selector).first.bounding_box()
        for selector in (".raptor-note", ".raptor-tiles", ".raptor-chart")
    ]
    tops = [place["y"] for place in places if place]
    assert len(tops) == 3
    assert tops == sorted(tops)
