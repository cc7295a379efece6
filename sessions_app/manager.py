"""``SessionManager``, as the guide has it: on this panel's database, and with real browsers."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Coroutine
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ParamSpec, Self, TypeVar, overload
from uuid import uuid4

from sessions_app import standalone
from sessions_app.endpoints import mask_endpoints
from sessions_app.exceptions import SessionException, SessionInvalid

if TYPE_CHECKING:
    from sessions_app.browsers import AsyncPage, Driver, PageFacts, SyncPage

logger = logging.getLogger(__name__)
_P = ParamSpec("_P")
_T = TypeVar("_T")


@dataclass
class SessionInfo:
    """What a session document says; the two times as ISO 8601 text, as they stand there."""

    session_id: str = ""
    cdp_url: str = field(default="", repr=False)
    browser_type: str = ""
    created_at: str = ""
    last_accessed: str = ""
    metadata: dict[str, Any] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Give the document as JSON has it."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Self:
        """Read a document; keys that it has besides the six are left out."""
        names = {known.name for known in fields(cls)}
        return cls(**{name: value for name, value in data.items() if name in names})


class SessionManager:
    """Saves browsers as sessions, restores and removes them.

    Every method but ``restore_session``, ``launch_session``, ``close_session`` and ``aclose`` may be called
    from anywhere: a script, a thread, a running event loop. What is removed goes to the panel's archive.

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

    def __init__(
        self,
        config: object = None,
        storage_dir: str | Path | None = None,
        auto_cleanup_on_init: bool = False,
        max_age_days: float = 7,
        namespace: str | None = None,
    ) -> None:
        standalone.set_up()
        from sessions_app.stores import open_store

        self.max_age_days = max_age_days
        self._driver: Driver | None = None
        self._store = _told(open_store, namespace=namespace, storage_dir=storage_dir)
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

    def list_sessions(self) -> list[str]:
        """Give the names of all sessions, valid or not, sorted."""
        return _told(self._store.names)

    def get_session_info(self, session_name: str) -> SessionInfo | None:
        """Give what a session's document says; None where there is none, or none that can be read."""
        return _told(self._info, session_name)

    def _info(self, session_name: str) -> SessionInfo | None:
        from sessions_app import documents

        session = self._store.find(session_name)
        content = None if session is None else documents.read(bytes(session.document))
        return None if content is None else SessionInfo.from_dict(content)

    def validate_session(self, session_name: str) -> bool:
        """Tell whether there is such a session, and it breaks no rule of validity."""
        session = _told(self._store.find, session_name)
        return session is not None and not session.problems

    def get_session_count(self) -> int:
        return _told(self._store.count)

    def get_storage_size(self) -> int:
        """Give the bytes of all documents."""
        return _told(self._store.size_bytes)

    def get_storage_dir(self) -> Path | None:
        """Give the folder of the documents; None where they are in the database alone."""
        directory = self._store.directory
        return None if directory is None else Path(directory.path)

    # Removed

    def delete_session(self, session_name: str) -> bool:
        """Remove a session; False where there is none.

        Raises: SessionException: it is pinned.
        """
        return _told(self._store.delete, session_name)

    def cleanup_expired_sessions(self, max_age_days: float | None = None) -> int:
        """Remove sessions last accessed longer ago than that, or of unreadable age; give their number."""
        days = self.max_age_days if max_age_days is None else max_age_days
        return _told(self._store.remove_expired, days)

    def cleanup_invalid_sessions(self) -> int:
        """Remove sessions that break a rule of validity; give their number."""
        return _told(self._store.remove_invalid)

    def cleanup_all_sessions(self) -> int:
        """Remove all sessions of this namespace, pinned ones too; give their number."""
        return _told(self._store.remove_all)

    # Saved and restored

    @overload
    def save_session(
        self, page: SyncPage, session_name: str, metadata: dict[str, Any] | None = None
    ) -> SessionInfo: ...

    @overload
    def save_session(
        self, page: AsyncPage, session_name: str, metadata: dict[str, Any] | None = None
    ) -> Coroutine[Any, Any, SessionInfo]: ...

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
        from sessions_app import browsers

        asking = browsers.ask_page(page)
        if browsers.is_async(page):
            return self._save_later(asking, session_name, metadata)
        return self._warned(_told(self._save, browsers.run_now(asking), session_name, metadata))

    async def _save_later(
        self, asking: Coroutine[Any, Any, PageFacts], session_name: str, metadata: dict[str, Any] | None
    ) -> SessionInfo:
        facts = await asking
        return self._warned(await _told_later(self._save, facts, session_name, metadata))

    def _save(self, facts: PageFacts, session_name: str, metadata: dict[str, Any] | None) -> SessionInfo:
        from sessions_app import browsers, documents

        content = {
            "session_id": str(uuid4()),
            "cdp_url": browsers.find_endpoint(facts),
            "browser_type": facts.browser_type,
            "metadata": {**(metadata or {}), **facts.metadata},
        }
        session = self._store.save(session_name, content)
        return SessionInfo.from_dict(documents.read(bytes(session.document)) or {})

    @staticmethod
    def _warned(info: SessionInfo) -> SessionInfo:
        from sessions_app import browsers

        if not info.cdp_url:
            warnings.warn(
                f"The session was saved with the problem missing_cdp_url: {browsers.HOW_TO_LAUNCH}",
                browsers.MissingEndpointWarning,
                stacklevel=3,
            )
        return info

    async def restore_session(self, session_name: str) -> AsyncPage:
        """Connect to the browser of a session, and give the page that was saved.

        The session counts as accessed now. The connection lasts until ``aclose``.

        Raises: SessionException: SessionNotFound, SessionInvalid, BrowserUnreachable, BrowserReplaced or
            PageNotFound; the message says what happened and what to do.
        """
        from sessions_app import browsers

        info = await _told_later(self._valid, session_name)
        browser = await self._get_driver().connect(info.cdp_url, name=session_name)
        page = await browsers.find_page(browser, name=session_name, metadata=info.metadata)
        await _told_later(self._store.touch, session_name)
        return page

    def _valid(self, session_name: str) -> SessionInfo:
        from sessions_app import documents

        session = self._store.get(session_name)
        if session.problems:
            told = " ".join(f"{problem.sentence} ({problem.code})" for problem in session.problem_set)
            raise SessionInvalid(f"The session “{session_name}” is invalid: {told} Save it again.")
        return SessionInfo.from_dict(documents.read(bytes(session.document)) or {})

    async def launch_session(
        self,
        session_name: str,
        *,
        url: str = "",
        headless: bool = True,
        metadata: dict[str, Any] | None = None,
    ) -> AsyncPage:
        """Start a Chromium that goes on when this program ends, save it, and give its page.

        Its profile is a folder of its own, which a later launch of the same name takes up again.

        Args:
            url: The page to open first.
        Raises: SessionException: the session's browser runs already, there is no Chromium, or the page
            cannot be opened.
        """
        from django.conf import settings

        from sessions_app import browsers, chromium

        await _told_later(self._store.check_name, session_name)
        driver = self._get_driver()
        await self._refuse_running(session_name)
        profile_dir = chromium.profile_of(settings.RAPTOR_VAR_DIR / "browsers", self.namespace, session_name)
        opened, browser = await driver.open_chromium(
            profile_dir, chosen=settings.RAPTOR_CHROMIUM, headless=headless, name=session_name
        )
        try:
            page = await browsers.find_page(browser, name=session_name)
            if url:
                await browsers.open_page(page, url)
            facts = replace(await browsers.ask_page(page), known_endpoint=opened.cdp_url)
            kept = {**(metadata or {}), "profile_dir": str(profile_dir)}
            await _told_later(self._save, facts, session_name, kept)
        except BaseException:
            opened.kill()
            raise
        return page

    async def _refuse_running(self, session_name: str) -> None:
        from sessions_app.probes import Liveness

        session = await _told_later(self._store.find, session_name)
        if session is None or not session.cdp_url:
            return
        found = await self._get_driver().probe(session.cdp_url)
        if found.liveness is Liveness.ALIVE:
            raise SessionException(
                f"The browser of “{session_name}” runs already. Use restore_session to connect to it, or "
                "close_session to end it first."
            )

    async def close_session(self, session_name: str) -> None:
        """End the browser of a session. The session itself is kept, and so is the profile.

        Raises: SessionException: there is no such session, or its browser does not answer any more.
        """
        session = await _told_later(self._store.get, session_name)
        await self._get_driver().close_browser(session.cdp_url, name=session_name)

    async def aclose(self) -> None:
        """Let go of all browsers, which go on, and end Playwright's process."""
        if self._driver is not None:
            await self._driver.aclose()

    def _get_driver(self) -> Driver:
        from django.conf import settings

        from sessions_app.browsers import Driver

        if self._driver is None:
            self._driver = Driver(settings.RAPTOR_CDP_ALLOWED_HOSTS)
        return self._driver


def _told(work: Callable[_P, _T], /, *args: _P.args, **kwargs: _P.kwargs) -> _T:
    """Do work with the database; a failure of the database is a ``SessionException`` too."""
    from django.db import DatabaseError

    try:
        return standalone.in_database(work, *args, **kwargs)
    except DatabaseError as error:
        raise _refusal(error) from None


async def _told_later(work: Callable[_P, _T], /, *args: _P.args, **kwargs: _P.kwargs) -> _T:
    from django.db import DatabaseError

    try:
        return await standalone.without_blocking(work, *args, **kwargs)
    except DatabaseError as error:
        raise _refusal(error) from None


def _refusal(error: Exception) -> SessionException:
    # A database's error may quote a whole row.
    return SessionException(f"The database has refused: {mask_endpoints(str(error)).strip()}")
