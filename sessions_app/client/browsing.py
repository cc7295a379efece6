"""Restores, launches and closes the browsers of sessions."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sessions_app.client.runtime import run_async
from sessions_app.client.saving import make_content
from sessions_app.exceptions import SessionException
from sessions_app.session.info import SessionInfo

if TYPE_CHECKING:
    from sessions_app.browsers.client import AsyncPage, Driver
    from sessions_app.client.store import SessionStore

ALL, UNRESPONSIVE = "all", "unresponsive"


async def restore(store: SessionStore, driver: Driver, name: str) -> AsyncPage:
    """Connect to the browser of a session and return its page; see ``SessionManager.restore_session``."""
    from sessions_app.browsers import client, pages
    from sessions_app.browsers.identity import target_of

    info = await run_async(store.get_valid_info, name)
    target_id = target_of(info.cdp_url, info.page_target_id)
    connection = await driver.connect(info.cdp_url, name=name, target_id=target_id)
    async with client.disconnecting_on_failure(connection.browser):
        page = await pages.find_page(connection, name=name, target_id=target_id, page_url=info.page_url)
        pages.warn_of_separate_context(page, connection.tabs, name=name, target_id=target_id)
        await run_async(store.touch, name)
    return page


async def launch(
    store: SessionStore,
    driver: Driver,
    name: str,
    *,
    url: str,
    headless: bool,
    metadata: dict[str, Any] | None,
    is_replacing: bool,
) -> AsyncPage:
    """Start a Chromium, save it, and return its page; see ``SessionManager.launch_session``."""
    from django.conf import settings

    from sessions_app.browsers import client, launcher, opening

    await run_async(store.check_name, name)
    profile_dir: Path = launcher.profile_of(settings.RAPTOR_VAR_DIR / "browsers", store.namespace, name)
    async with launcher.locked(profile_dir):
        await _make_way(store, driver, name, is_replacing=is_replacing)
        opened = await opening.open_chromium(
            driver,
            profile_dir,
            chosen=settings.RAPTOR_CHROMIUM,
            headless=headless,
            name=name,
            session=f"{store.namespace}/{name}",
            replace=is_replacing,
        )
        try:
            connection = await opening.connect(driver, opened, name=name)
            page = await opening.first_page(connection)
            if url:
                await client.open_page(page, url)
            await _save(store, page, name, metadata, endpoint=opened.cdp_url, profile_dir=profile_dir)
        except BaseException:
            opened.take_back()
            raise
    return page


async def _save(
    store: SessionStore,
    page: AsyncPage,
    name: str,
    metadata: dict[str, Any] | None,
    *,
    endpoint: str,
    profile_dir: Path,
) -> None:
    from sessions_app.browsers.page_info import ask_page

    facts = replace(await ask_page(page), known_endpoint=endpoint)
    await run_async(store.save, name, make_content(name, facts, metadata, profile=str(profile_dir)))


async def _make_way(store: SessionStore, driver: Driver, name: str, *, is_replacing: bool) -> None:
    """End the saved browser, or refuse to start another one beside it.

    Raises: SessionException: the saved browser may be running.
    """
    from sessions_app.browsers.probe import Liveness, probe

    session = await run_async(store.find, name)
    if session is None or not session.cdp_url:
        return
    if is_replacing:
        # A browser that is gone, or that cannot be reached or identified, is left alone and forgotten.
        with suppress(SessionException):
            await close(store, driver.allowed_hosts, name, tabs=ALL)
        return
    found = await asyncio.to_thread(probe, session.cdp_url, allowed_hosts=driver.allowed_hosts)
    if found.liveness is Liveness.ALIVE:
        raise SessionException(
            f"The browser of “{name}” is already running. Use restore_session to connect to it, or "
            f'close_session to end it. If neither works, use launch_session("{name}", replace=True).'
        )
    if found.may_be_running:
        raise SessionException(
            f"The browser of “{name}” may be running: {found.reason}. "
            f'launch_session("{name}", replace=True) forgets it and starts a new one.'
        )


async def close(store: SessionStore, allowed_hosts: tuple[str, ...], name: str, *, tabs: str) -> None:
    """End the browser of a session, or close some of its tabs; see ``SessionManager.close_session``."""
    from sessions_app.browsers import closing
    from sessions_app.client.lookup import info_of

    if tabs not in (ALL, UNRESPONSIVE):
        raise SessionException(f"tabs is {tabs!r}; it can be “{ALL}” or “{UNRESPONSIVE}”.")
    session = await run_async(store.get, name)
    info = info_of(session) or SessionInfo()
    work = closing.close_browser if tabs == ALL else closing.close_unresponsive_tabs
    await asyncio.to_thread(
        work, session.cdp_url, allowed_hosts=allowed_hosts, name=name, target_id=info.page_target_id
    )
