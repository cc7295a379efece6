"""``SessionManager`` of the guide, on the panel's database and with real browsers."""

from __future__ import annotations

import logging
from collections.abc import Coroutine
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, overload

from sessions_app.client import browsing, saving
from sessions_app.client.runtime import run_sync, set_up
from sessions_app.exceptions import hide_traceback
from sessions_app.session.info import SessionInfo

if TYPE_CHECKING:
    from sessions_app.browsers.client import AsyncPage, Driver, SyncPage

logger = logging.getLogger(__name__)


class SessionManager:
    """Saves browsers as sessions, restores and removes them.

    Coroutines belong to the event loop that awaits them. Other methods may be called from anywhere: a script,
    a thread, a running event loop. Removed sessions go to the panel's archive.

    Args:
        config: Ignored; RAPTOR's own manager accepts it.
        storage_dir: Folder of session documents, mirrored both ways and created if missing. Without it, the
            sessions are in the database only.
        auto_cleanup_on_init: Remove expired sessions, then invalid ones, at once.
        max_age_days: Age in days after which a session is expired.
        namespace: Namespace of the sessions; ``RAPTOR_NAMESPACE`` by default, and a new one for a new folder.
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
        self._store = run_sync(open_store, namespace=namespace, storage_dir=storage_dir)
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

    def __repr__(self) -> str:
        folder = self.get_storage_dir()
        where = f"namespace={self.namespace!r}" if folder is None else f"storage_dir={str(folder)!r}"
        return f"SessionManager({where})"

    @property
    def namespace(self) -> str:
        return self._store.namespace

    # Tests of RAPTOR's users read these two.

    @property
    def _storage_dir(self) -> Path | None:
        return self.get_storage_dir()

    @hide_traceback
    def _get_session_file_path(self, session_name: str) -> Path:
        return run_sync(self._store.file_path, session_name)

    # Read

    @hide_traceback
    def list_sessions(self) -> list[str]:
        """Return the names of all sessions, valid or not, sorted."""
        return run_sync(self._store.names)

    @hide_traceback
    def get_session_info(self, session_name: str) -> SessionInfo | None:
        """Return the content of a session's document, or None if it does not exist or cannot be read."""
        return run_sync(self._store.find_info, session_name)

    @hide_traceback
    def validate_session(self, session_name: str) -> bool:
        """Check whether a session exists and breaks no rule of validity."""
        session = run_sync(self._store.find, session_name)
        return session is not None and not session.problems

    @hide_traceback
    def get_session_count(self) -> int:
        return run_sync(self._store.count)

    @hide_traceback
    def get_storage_size(self) -> int:
        """Return the size of all documents in bytes."""
        return run_sync(self._store.size_bytes)

    def get_storage_dir(self) -> Path | None:
        """Return the folder of the documents, or None if they are in the database only."""
        directory = self._store.directory
        return None if directory is None else Path(directory.path)

    # Remove

    @hide_traceback
    def delete_session(self, session_name: str) -> bool:
        """Remove a session; return False if it does not exist.

        Raises: SessionException: it is pinned.
        """
        return run_sync(self._store.delete, session_name)

    @hide_traceback
    def cleanup_expired_sessions(self, max_age_days: float | None = None) -> int:
        """Remove sessions above that age, or of unreadable age; return their number."""
        days = self.max_age_days if max_age_days is None else max_age_days
        return run_sync(self._store.remove_expired, days)

    @hide_traceback
    def cleanup_invalid_sessions(self) -> int:
        """Remove sessions that break a rule of validity; return their number."""
        return run_sync(self._store.remove_invalid)

    @hide_traceback
    def cleanup_all_sessions(self) -> int:
        """Remove all sessions of this folder or namespace, pinned ones included; return their number."""
        return run_sync(self._store.remove_all)

    # Save and restore

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
        """Save the browser of a page; await the result with a page of Playwright's asynchronous API.

        An existing session of that name is replaced, and keeps its creation time and its pin. A browser that
        cannot be reconnected to is saved too, with a ``MissingEndpointWarning``, and a page that will lack
        its cookies with a ``SeparateContextWarning``.

        Args:
            metadata: JSON values to keep. Address and title of the page are added, and what else a restore
                needs under the key ``raptor_admin``.
        Raises: SessionException: the name or the metadata cannot be stored, or the page has no browser.
        """
        from sessions_app.browsers.page_info import is_async

        if is_async(page):
            return self._save_async(page, session_name, metadata)
        return saving.save(self._store, page, session_name, metadata)

    @hide_traceback
    async def _save_async(self, page: Any, session_name: str, metadata: dict[str, Any] | None) -> SessionInfo:
        return await saving.save_async(self._store, page, session_name, metadata)

    @hide_traceback
    async def restore_session(self, session_name: str) -> AsyncPage:
        """Connect to the browser of a session and return the page that was saved.

        The session counts as accessed now. The connection lasts until ``aclose``.

        Raises: SessionException: SessionNotFound, SessionInvalid, BrowserUnreachable, BrowserReplaced,
            TabUnresponsive, PageNotFound or PageCrashed; the message says what happened and what to do.
        """
        return await browsing.restore(self._store, self._get_driver(), session_name)

    @hide_traceback
    async def launch_session(
        self,
        session_name: str,
        *,
        url: str = "",
        headless: bool = True,
        metadata: dict[str, Any] | None = None,
        replace: bool = False,
    ) -> AsyncPage:
        """Start a Chromium that outlives this program, save it, and return its page.

        A later launch of the same name uses the same profile folder, and connects to a browser that is still
        running with it after its session was removed.

        Args:
            url: Address to open first.
            replace: End the browser of the session first, if it is running and can be identified. Forget a
                browser that cannot be reached.
        Raises: SessionException: the session's browser may be running, there is no Chromium, or the page
            cannot be opened.
        """
        return await browsing.launch(
            self._store,
            self._get_driver(),
            session_name,
            url=url,
            headless=headless,
            metadata=metadata,
            is_replacing=replace,
        )

    @hide_traceback
    async def close_session(self, session_name: str, *, tabs: str = "all") -> None:
        """End the browser of a session, and keep the session and its profile.

        Args:
            tabs: ``"all"``, or ``"unresponsive"`` to close only tabs that hang or have crashed; the browser
                then keeps running.
        Raises: SessionException: the session does not exist, or its browser does not answer.
        """
        await browsing.close(self._store, self._get_driver().allowed_hosts, session_name, tabs=tabs)

    async def aclose(self) -> None:
        """Disconnect from all browsers, which keep running, and stop Playwright's process."""
        if self._driver is not None:
            await self._driver.aclose()

    def _get_driver(self) -> Driver:
        from django.conf import settings

        from sessions_app.browsers.client import Driver

        if self._driver is None:
            self._driver = Driver(settings.RAPTOR_CDP_ALLOWED_HOSTS)
        return self._driver
