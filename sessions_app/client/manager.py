"""``SessionManager``, as the guide has it: on this panel's database, and with real browsers."""

from __future__ import annotations

import logging
from collections.abc import Coroutine
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, overload
from uuid import uuid4

from sessions_app.client.runtime import in_database, set_up, without_blocking
from sessions_app.exceptions import (
    SessionException,
    hide_traceback,
)
from sessions_app.session.info import SessionInfo

if TYPE_CHECKING:
    from sessions_app.browsers.client import AsyncPage, Driver, SyncPage
    from sessions_app.browsers.page_info import PageFacts

logger = logging.getLogger(__name__)


class SessionManager:
    """Saves browsers as sessions, restores and removes them.

    What is awaited belongs to the event loop in which it is; all else may be called from anywhere: a script,
    a thread, a running event loop. What is removed goes to the panel's archive.

    Args:
        config: Ignored; RAPTOR's own manager has it.
        storage_dir: Folder of session documents to work on, mirrored both ways; it is made where it is
            missing. Without one, the sessions are in the database alone.
        auto_cleanup_on_init: Remove expired sessions, then invalid ones, right away.
        max_age_days: Age in days after which a session is expired.
        namespace: Whose sessions these are; ``RAPTOR_NAMESPACE`` where not given, and for a new folder a
            namespace of its own.
    Raises: SessionException: the folder, the namespace or the database cannot be used.
    """

    @hide_traceback
    def __init__(
        self,
        config: object = None,
        storage_dir: str | Path | None = None,
        auto_cleanup_on_init: bool = False,
        max_age_days: float = 7,
        namespace: str | None = None,
    ) -> None:
        set_up()
        from sessions_app.client.store import open_store

        self.max_age_days = max_age_days
        self._driver: Driver | None = None
        self._store = in_database(open_store, namespace=namespace, storage_dir=storage_dir)
        if auto_cleanup_on_init:
            expired = self.cleanup_expired_sessions()
            invalid = self.cleanup_invalid_sessions()
            logger.info(
                "Automatic cleanup complete: %s expired, %s invalid sessions removed", expired, invalid
            )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exception: object) -> None:
        await self.aclose()

    @property
    def namespace(self) -> str:
        return self._store.namespace

    # Found and told

    @hide_traceback
    def list_sessions(self) -> list[str]:
        """Give the names of all sessions, valid or not, sorted."""
        return in_database(self._store.names)

    @hide_traceback
    def get_session_info(self, session_name: str) -> SessionInfo | None:
        """Give what a session's document says; None where there is none, or none that can be read."""
        return in_database(self._store.find_info, session_name)

    @hide_traceback
    def validate_session(self, session_name: str) -> bool:
        """Tell whether there is such a session, and it breaks no rule of validity."""
        session = in_database(self._store.find, session_name)
        return session is not None and not session.problems

    @hide_traceback
    def get_session_count(self) -> int:
        return in_database(self._store.count)

    @hide_traceback
    def get_storage_size(self) -> int:
        """Give the bytes of all documents."""
        return in_database(self._store.size_bytes)

    def get_storage_dir(self) -> Path | None:
        """Give the folder of the documents; None where they are in the database alone."""
        directory = self._store.directory
        return None if directory is None else Path(directory.path)

    # Removed

    @hide_traceback
    def delete_session(self, session_name: str) -> bool:
        """Remove a session; False where there is none.

        Raises: SessionException: it is pinned.
        """
        return in_database(self._store.delete, session_name)

    @hide_traceback
    def cleanup_expired_sessions(self, max_age_days: float | None = None) -> int:
        """Remove sessions last accessed longer ago than that, or of unreadable age; give their number."""
        days = self.max_age_days if max_age_days is None else max_age_days
        return in_database(self._store.remove_expired, days)

    @hide_traceback
    def cleanup_invalid_sessions(self) -> int:
        """Remove sessions that break a rule of validity; give their number."""
        return in_database(self._store.remove_invalid)

    @hide_traceback
    def cleanup_all_sessions(self) -> int:
        """Remove all sessions of this folder, or else namespace, pinned ones too; give their number."""
        return in_database(self._store.remove_all)

    # Saved and restored

    @overload
    def save_session(
        self, page: SyncPage, session_name: str, metadata: dict[str, Any] | None = None
    ) -> SessionInfo: ...

    @overload
    def save_session(
        self, page: AsyncPage, session_name: str, metadata: dict[str, Any] | None = None
    ) -> Coroutine[Any, Any, SessionInfo]: ...

    @hide_traceback
    def save_session(
        self, page: AsyncPage | SyncPage, session_name: str, metadata: dict[str, Any] | None = None
    ) -> SessionInfo | Coroutine[Any, Any, SessionInfo]:
        """Save the browser of a page; to be awaited with a page of Playwright's asynchronous API.

        A session that has the name is replaced; when it was created, and its pin, are kept. A browser that
        cannot be connected to later is saved all the same, with a ``MissingEndpointWarning``.

        Args:
            metadata: What else is to be kept, as JSON has it; the address and title of the page, the
                version of the browser and the name of this machine are added.
        Raises: SessionException: the name or the metadata cannot be stored.
        """
        from sessions_app.browsers import page_info

        if page_info.is_async(page):
            return self._save_later(page, session_name, metadata)
        with page_info.telling_failures():
            facts = page_info.run_now(page_info.ask_page(page))
        return page_info.warned(in_database(self._save, facts, session_name, metadata))

    @hide_traceback
    async def _save_later(self, page: Any, session_name: str, metadata: dict[str, Any] | None) -> SessionInfo:
        from sessions_app.browsers import page_info

        with page_info.telling_failures():
            facts = await page_info.ask_page(page)
        return page_info.warned(await without_blocking(self._save, facts, session_name, metadata))

    def _save(self, facts: PageFacts, session_name: str, metadata: dict[str, Any] | None) -> SessionInfo:
        from django.conf import settings

        from sessions_app.browsers import page_info

        if not isinstance(metadata or {}, dict):
            raise SessionException(f"The metadata of “{session_name}” is no dictionary.")
        replaced = self._store.find(session_name)
        endpoint = page_info.find_endpoint(
            facts,
            saved=replaced.cdp_url if replaced else "",
            allowed_hosts=settings.RAPTOR_CDP_ALLOWED_HOSTS,
        )
        content = {
            "session_id": str(uuid4()),
            "cdp_url": endpoint,
            "browser_type": facts.browser_type,
            "metadata": {**(metadata or {}), **facts.metadata},
        }
        return self._store.save(session_name, content)

    @hide_traceback
    async def restore_session(self, session_name: str) -> AsyncPage:
        """Connect to the browser of a session, and give the page that was saved.

        The session counts as accessed now. The connection lasts until ``aclose``.

        Raises: SessionException: SessionNotFound, SessionInvalid, BrowserUnreachable, BrowserReplaced or
            PageNotFound; the message says what happened and what to do.
        """
        from sessions_app.browsers import client

        info = await without_blocking(self._store.get_valid_info, session_name)
        browser = await self._get_driver().connect(
            info.cdp_url, name=session_name, target_id=info.page_target_id
        )
        async with client.disconnecting_on_failure(browser):
            page = await client.find_page(browser, name=session_name, metadata=info.metadata)
            await without_blocking(self._store.touch, session_name)
        return page

    @hide_traceback
    async def launch_session(
        self,
        session_name: str,
        *,
        url: str = "",
        headless: bool = True,
        metadata: dict[str, Any] | None = None,
    ) -> AsyncPage:
        """Start a Chromium that goes on when this program ends, save it, and give its page.

        Its profile is a folder of its own, which a later launch of the same name takes up again; and so is
        a browser that still runs with it, though its session was removed.

        Args:
            url: The page to open first.
        Raises: SessionException: the session's browser runs already, there is no Chromium, or the page
            cannot be opened.
        """
        from django.conf import settings

        from sessions_app.browsers import client, launcher
        from sessions_app.browsers.page_info import ask_page

        await without_blocking(self._store.check_name, session_name)
        driver = self._get_driver()
        profile_dir = launcher.profile_of(settings.RAPTOR_VAR_DIR / "browsers", self.namespace, session_name)
        async with launcher.locked(profile_dir):
            await self._refuse_running(session_name)
            opened = await driver.open_chromium(
                profile_dir, chosen=settings.RAPTOR_CHROMIUM, headless=headless
            )
            try:
                browser = await driver.connect(opened.cdp_url, name=session_name)
                page = await client.find_page(browser, name=session_name)
                if url:
                    await client.open_page(page, url)
                facts = replace(await ask_page(page), known_endpoint=opened.cdp_url)
                kept = {**(metadata or {}), "profile_dir": str(profile_dir)}
                await without_blocking(self._save, facts, session_name, kept)
            except BaseException:
                opened.take_back()
                raise
        return page

    async def _refuse_running(self, session_name: str) -> None:
        from sessions_app.browsers.probe import Liveness

        session = await without_blocking(self._store.find, session_name)
        if session is None or not session.cdp_url:
            return
        found = await self._get_driver().probe(session.cdp_url)
        if found.liveness is Liveness.ALIVE:
            raise SessionException(
                f"The browser of “{session_name}” runs already. Use restore_session to connect to it, or "
                "close_session to end it first."
            )

    @hide_traceback
    async def close_session(self, session_name: str) -> None:
        """End the browser of a session. The session itself is kept, and so is the profile.

        Raises: SessionException: there is no such session, or its browser does not answer any more.
        """
        info = await without_blocking(self._store.get_info, session_name)
        await self._get_driver().close_browser(info.cdp_url, name=session_name, target_id=info.page_target_id)

    async def aclose(self) -> None:
        """Let go of all browsers, which go on, and end Playwright's process."""
        if self._driver is not None:
            await self._driver.aclose()

    def _get_driver(self) -> Driver:
        from django.conf import settings

        from sessions_app.browsers.client import Driver

        if self._driver is None:
            self._driver = Driver(settings.RAPTOR_CDP_ALLOWED_HOSTS)
        return self._driver
