"""The page that was saved, or an error: closed pages, separate contexts, and metadata of the caller."""

from __future__ import annotations

from tests.e2e.scripts import Project, browsers

SHOW = """
    import warnings
    async def show(work):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            try:
                page = await work
            except SessionException as error:
                report([type(error).__name__, error.message])
                return None
        report([[warning.category.__name__, str(warning.message), warning.filename] for warning in caught])
        return page
"""


def test_a_closed_page_is_not_replaced_by_another(project: Project, shop: str) -> None:
    """Save two sessions of one browser, and close the page of one."""
    project.script(
        f"""
        first = await manager.launch_session("a", url="{shop}/#a")
        second = await first.context.new_page()
        await second.goto("{shop}/#b")
        await manager.save_session(second, "b")
        await second.close()
        """
    )
    refused, dates, url = project.script(
        SHOW
        + """
    before = manager.get_session_info("b").last_accessed
    await show(manager.restore_session("b"))
    report([before, manager.get_session_info("b").last_accessed])
    report((await manager.restore_session("a")).url)
    """
    )
    assert refused[0] == "PageNotFound"
    assert 'launch_session("b", replace=True)' in refused[1]
    assert dates[0] == dates[1]
    assert url == f"{shop}/#a"
    assert len(browsers(project)) == 1


SEPARATE = """
    from playwright.async_api import async_playwright
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(
            executable_path={program!r}, args=["--no-sandbox", "--remote-debugging-port=0"]
        )
        {open}
        await page.goto({url!r})
        info = await show(manager.save_session(page, "separate"))
        page = await show(manager.restore_session("separate"))
        report(page.url)
"""


def test_a_page_of_its_own_context_raises_a_warning_when_saved_and_restored(
    project: Project, shop: str
) -> None:
    program = project.environment["RAPTOR_CHROMIUM"]
    for opened in (
        "page = await browser.new_page()",
        "page = await (await browser.new_context()).new_page()",
    ):
        saved, restored, url = project.script(
            SHOW + SEPARATE.format(program=program, url=f"{shop}/", open=opened)
        )
        assert url == f"{shop}/"
        for ((kind, message, file_name),) in (saved, restored):
            assert kind == "SeparateContextWarning"
            assert "logged out" in message
            assert "launch_session" in message
            assert file_name == "<string>"


def test_a_page_of_the_default_context_raises_none(project: Project, shop: str) -> None:
    reported = project.script(
        SHOW
        + f"""
    page = await show(manager.launch_session("plain", url="{shop}/"))
    await show(manager.save_session(page, "plain"))
    await show(manager.restore_session("plain"))
    """
    )
    assert reported == [[], [], []]


def test_the_metadata_of_the_caller_is_kept(project: Project, shop: str) -> None:
    given = {"host": "shop-staging", "browser_version": "mine", "profile_dir": "x", "page_target_id": "y"}
    launched, saved, url = project.script(
        f"""
        page = await manager.launch_session("shop", url="{shop}/", metadata={given!r})
        report(manager.get_session_info("shop").metadata)
        other = await page.context.new_page()
        await manager.save_session(page, "shop", manager.get_session_info("shop").metadata)
        report(manager.get_session_info("shop").metadata)
        report((await manager.restore_session("shop")).url)
        """
    )
    for metadata in (launched, saved):
        assert {key: metadata[key] for key in given} == given
        assert metadata["page_url"] == f"{shop}/"
        assert metadata["page_title"] == "Shop"
        assert set(metadata["raptor_admin"]) >= {"page_target_id", "browser_version", "host", "profile_dir"}
    assert url == f"{shop}/"
