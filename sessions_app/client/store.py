"""Stores the sessions of a ``SessionManager``: the sessions of a namespace or of one folder.

The store uses the same services as the panel: sessions are removed through plans and runs, and the
documents in a folder are mirrored in both directions.
"""

from __future__ import annotations

import logging
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from django.conf import settings
from django.db import IntegrityError, transaction

from sessions_app.access.actors import user_name
from sessions_app.cleanup import CleanupRefused, plan_cleanup, run_cleanup, was_pinned
from sessions_app.cleanup.folders import open_folder
from sessions_app.client.lookup import TRIGGER, SessionLookup, info_of, only
from sessions_app.client.writer import Checked, check_content, current_document, store_document
from sessions_app.exceptions import SessionException, SessionNotFound
from sessions_app.mirror.registry import (
    DirectoryError,
    check_namespace,
    register_own_folder,
)
from sessions_app.models import BrowserSession, DatabaseClock
from sessions_app.models.clock import database_now
from sessions_app.session.criteria import Criteria, InvalidCriteria
from sessions_app.session.document import read_document
from sessions_app.session.files import SUFFIX, BusyFile
from sessions_app.session.info import SessionInfo
from sessions_app.transactions import repeatable_transaction, retried_when_busy
from sessions_app.transactions.disk import disk_full_message

logger = logging.getLogger(__name__)

ATTEMPTS = 5
"""Maximum attempts of an operation that conflicts with other writers."""


@dataclass(frozen=True)
class SessionStore(SessionLookup):
    """The sessions of a namespace or of a folder, to be changed."""

    def save(self, name: str, content: dict[str, Any]) -> SessionInfo:
        """Save a session and return its info.

        An existing session of this name is replaced; its creation time and its pin are kept.

        Args:
            content: The document without its two times.
        Raises: SessionException: the name or the document cannot be stored.
        """
        name = self.check_name(name)
        checked = check_content(name, content)
        for _ in range(ATTEMPTS):
            self.sync()
            # Another process may save this name for the first time. The next attempt replaces that session.
            with suppress(IntegrityError, _FileNameTaken):
                return info_of(self._save(name, content, checked)) or SessionInfo()
        raise SessionException(
            f"The name “{name}” is taken: by a session of another folder in the namespace {self.namespace}, "
            "or by a file that cannot be read. Choose another name, or another namespace."
        )

    @retried_when_busy
    def _save(self, name: str, content: dict[str, Any], checked: Checked) -> BrowserSession:
        with transaction.atomic():
            session = self._locked(name)
            now = session.read_at if session else database_now()
            created_at = (session.created_at if session else None) or now
            times = {"created_at": created_at.isoformat(), "last_accessed": now.isoformat()}
            # Insert before writing the file, because this waits for other processes that save a new name.
            session = session or self._new(name)
            checked = checked.at(created_at=created_at, last_accessed=now)
            store_document(session, {**content, **times}, checked)
        return session

    def _new(self, name: str) -> BrowserSession:
        file_name = "" if self.directory is None else name + SUFFIX
        session = BrowserSession.objects.create(
            namespace=self.namespace,
            name=name,
            directory=self.directory,
            file_name=file_name,
            is_pinned=was_pinned(self.namespace, name, self.directory),
        )
        if self.directory is not None:
            with open_folder(self.directory) as folder:
                # On a case-insensitive file system another session's file may have this name.
                if folder.has(file_name):
                    raise _FileNameTaken
        return session

    def touch(self, name: str) -> None:
        """Set the last access of a session to now.

        A power failure may undo this, so that restoring a session does not wait for the disk.

        Raises: SessionNotFound: the session has been removed.
        """
        for _ in range(ATTEMPTS):
            session = only(self.sessions.filter(name=name)) or only(
                self.sessions.filter(name=self.reduced(name))
            )
            if session is None:
                raise SessionNotFound(f"The session “{name}” has just been removed.")
            try:
                data = current_document(session)
                content = read_document(data)
                if content is None or self._touch(session, data, content):
                    return
            except BusyFile:
                # The process that is writing the file sets its own time.
                return

    def _touch(self, session: BrowserSession, data: bytes, content: dict[str, Any]) -> bool:
        """Set the last access of a session; return False if its document was changed in the meantime."""
        checked = check_content(session.name, content)

        @retried_when_busy
        def store() -> bool:
            with repeatable_transaction():
                locked = self._locked(session.name)
                if locked is None or current_document(locked) != data:
                    return False
                times = {"last_accessed": locked.read_at.isoformat()}
                store_document(locked, {**content, **times}, checked.at(last_accessed=locked.read_at))
                return True

        return store()

    def _locked(self, name: str) -> Any:
        """Lock and return the session of a name, with the current time as ``read_at``."""
        named = self.sessions.filter(name=name).annotate(read_at=DatabaseClock())
        # Its document is read after the lock was taken. A join would read it as it was before, on PostgreSQL.
        return next(iter(named.order_by().select_for_update()), None)

    def delete(self, name: str) -> bool:
        """Move a session to the archive; return False if there is none.

        Raises: SessionException: the session is pinned, or other processes keep changing it.
        """
        for _ in range(ATTEMPTS):
            session = self.find(name)
            if session is None:
                return False
            if session.is_pinned:
                raise SessionException(f"The session “{name}” is pinned. Unpin it in the panel first.")
            if self._clean_up(Criteria(session_ids=(session.pk,))):
                logger.info("The session “%s” was removed.", session.name)
                return True
        raise SessionException(f"Other programs keep changing the session “{name}”. It was kept.")

    def remove_expired(self, max_age_days: float) -> int:
        """Remove expired sessions and return their number.

        Raises: SessionException: the age is out of range.
        """
        try:
            criteria = Criteria(expired=True, max_age_days=max_age_days)
        except InvalidCriteria as error:
            raise SessionException(str(error)) from None
        return self._remove(criteria)

    def remove_invalid(self) -> int:
        return self._remove(Criteria(invalid=True))

    def remove_all(self) -> int:
        """Remove all sessions, pinned ones too."""
        return self._remove(Criteria(all=True))

    def _remove(self, criteria: Criteria) -> int:
        self.sync()
        directory = None if self.directory is None else self.directory.pk
        return self._clean_up(replace(criteria, namespace=self.namespace, directory=directory))

    def _clean_up(self, criteria: Criteria) -> int:
        # Test runs request many cleanups that match nothing. Keep them out of the history.
        if not BrowserSession.objects.filter(criteria.matching(database_now())).exists():
            return 0
        try:
            plan = plan_cleanup(criteria, trigger=TRIGGER, actor=user_name())
            return run_cleanup(plan).removed_count
        except CleanupRefused as refusal:
            raise SessionException(str(refusal)) from None


def open_store(*, namespace: str | None, storage_dir: str | Path | None) -> SessionStore:
    """Open the sessions of a namespace or of a folder; a new folder is created and registered.

    Raises: SessionException: the folder or the namespace cannot be used.
    """
    try:
        if storage_dir is None:
            check_namespace(namespace or "")
            return SessionStore(namespace or settings.RAPTOR_NAMESPACE)
        if not str(storage_dir).strip():
            raise SessionException("storage_dir cannot be blank. Pass a folder, or omit it.")
        directory = register_own_folder(Path(storage_dir).expanduser().resolve(), namespace or "")
    except DirectoryError as error:
        raise SessionException(str(error)) from None
    except (OSError, RuntimeError, ValueError) as error:
        if message := disk_full_message(error, folder=storage_dir or ""):
            raise SessionException(message) from None
        raise SessionException(f"The folder {str(storage_dir)!r} cannot be used: {error}.") from None
    return SessionStore(directory.namespace, directory)


class _FileNameTaken(Exception):
    """Another file has the name of a new session's file."""
