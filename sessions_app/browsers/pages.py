"""Finds the saved page among the pages of a connected browser."""

from __future__ import annotations

import asyncio
import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from sessions_app.browsers.client import is_playwright_error
from sessions_app.browsers.tabs import Tab
from sessions_app.exceptions import PageCrashed, PageNotFound, SeparateContextWarning

if TYPE_CHECKING:
    from sessions_app.browsers.client import AsyncPage, Connection

HOW_TO_SHARE = (
    "its cookies and logins stay behind, and new pages are logged out. Save a page of the browser's default "
    "context: of launch_session, of launch_persistent_context, or of connect_over_cdp(…).contexts[0]."
)


async def find_page(
    connection: Connection, *, name: str, target_id: str = "", page_url: str = ""
) -> AsyncPage:
    """Find the saved page: by its target; if that is not known, by its address, otherwise the first one.

    Raises:
        PageNotFound: the page was closed. Another page is never returned.
        PageCrashed: the page has crashed.
    """
    pages = [page for context in connection.browser.contexts for page in context.pages]
    known = {tab.target_id: tab for tab in connection.tabs or ()}
    if not target_id:
        found = next((page for page in pages if page.url == page_url), next(iter(pages), None))
    elif target_id in known and len(known) == len(pages) == 1:
        (found,) = pages
    else:
        found = await _with_target(pages, target_id, known.get(target_id))
    if found is not None:
        return found
    has_tab = target_id in known if target_id else bool(known)
    if has_tab:
        raise PageCrashed(
            f"The browser of “{name}” is running, but its page has crashed. "
            f'Restart the browser with launch_session("{name}", replace=True).'
        )
    raise PageNotFound(
        f"The browser of “{name}” is running, but the page that was saved was closed. Save another page "
        f'under this name, or restart the browser with launch_session("{name}", replace=True).'
    )


async def _with_target(pages: Sequence[AsyncPage], target_id: str, tab: Tab | None) -> AsyncPage | None:
    """Return the page with a target; ask the pages at its address first, which are few."""
    likely = [page for page in pages if tab is not None and page.url == tab.url]
    others = [page for page in pages if page not in likely]
    for some in (likely, others):
        ids = await asyncio.gather(*map(_target_id, some))
        if target_id in ids:
            return some[ids.index(target_id)]
    return None


async def _target_id(page: AsyncPage) -> str:
    try:
        session = await page.context.new_cdp_session(page)
        info: dict[str, Any] = await session.send("Target.getTargetInfo")
        await session.detach()
    except Exception as error:
        # The page may be closed in the meantime.
        if not is_playwright_error(error):
            raise
        return ""
    return str(info["targetInfo"]["targetId"])


def warn_of_separate_context(
    page: AsyncPage, tabs: Sequence[Tab] | None, *, name: str, target_id: str
) -> None:
    """Warn if a restored page comes from a separate context."""
    same = [tab for tab in tabs or () if (tab.target_id == target_id if target_id else tab.url == page.url)]
    if same and same[0].is_separate:
        warnings.warn(
            f"The page of “{name}” was opened in a separate context: {HOW_TO_SHARE}",
            SeparateContextWarning,
            stacklevel=5,
        )
