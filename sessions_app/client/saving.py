"""Saves the browser of a page as a session."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from sessions_app.client.runtime import run_async, run_sync
from sessions_app.exceptions import SessionException
from sessions_app.session.info import OURS, SessionInfo

if TYPE_CHECKING:
    from sessions_app.browsers.page_info import PageFacts
    from sessions_app.client.store import SessionStore


def save(store: SessionStore, page: Any, name: str, metadata: dict[str, Any] | None) -> SessionInfo:
    """Save a page of Playwright's synchronous API; see ``SessionManager.save_session``."""
    from sessions_app.browsers import page_info

    known_name = run_sync(store.check_name, name)
    with page_info.converting_failures():
        facts = page_info.run_without_loop(page_info.ask_page(page))
    saved = run_sync(store.saved_endpoint, known_name)
    content = make_content(name, facts, metadata, saved_endpoint=saved)
    return page_info.warn_of_losses(run_sync(store.save, name, content), facts)


async def save_async(
    store: SessionStore, page: Any, name: str, metadata: dict[str, Any] | None
) -> SessionInfo:
    """Save a page of Playwright's asynchronous API."""
    from sessions_app.browsers import page_info

    known_name = await run_async(store.check_name, name)
    with page_info.converting_failures():
        facts = await page_info.ask_page(page)
    saved = await run_async(store.saved_endpoint, known_name)
    content = await asyncio.to_thread(make_content, name, facts, metadata, saved_endpoint=saved)
    return page_info.warn_of_losses(await run_async(store.save, name, content), facts)


def make_content(
    name: str,
    facts: PageFacts,
    metadata: dict[str, Any] | None,
    *,
    saved_endpoint: str = "",
    profile: str = "",
) -> dict[str, Any]:
    """Return the document of a page without its times. It contacts the browser, but not the database.

    Args:
        metadata: What the caller keeps. Only what the manager itself has added before is replaced.
        saved_endpoint: See ``page_info.find_endpoint``.
        profile: Folder of the browser's profile, if the manager has launched it.
    """
    from django.conf import settings

    from sessions_app.browsers.page_info import find_endpoint

    if not isinstance(metadata or {}, dict):
        raise SessionException(f"The metadata of “{name}” is not a dictionary.")
    kept = metadata or {}
    before = kept.get(OURS, {})
    if not isinstance(before, dict):
        raise SessionException(
            f"The metadata of “{name}” has a value of yours under the key “{OURS}”. Choose another key: the "
            "manager keeps its own values there."
        )
    profile = profile or before.get("profile_dir", "")
    return {
        "session_id": name,
        "cdp_url": find_endpoint(
            facts, saved=saved_endpoint, allowed_hosts=settings.RAPTOR_CDP_ALLOWED_HOSTS
        ),
        "browser_type": facts.browser_type,
        "metadata": {
            **kept,
            **facts.metadata(before, machine=settings.RAPTOR_MACHINE, profile_dir=profile),
        },
    }
