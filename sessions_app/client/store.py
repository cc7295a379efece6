"""Stores the sessions of a ``SessionManager``: the sessions of a namespace or of one folder.

The store uses the same services as the panel: sessions are removed through plans and runs, and the
documents in a folder are mirrored in both directions.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from django.conf import settings
from django.db import IntegrityError, transaction
from django.db.models import QuerySet, Sum

from sessions_app.access.actors import user_name
from sessions_app.cleanup import CleanupRefused, plan_cleanup, run_cleanup, was_pinned
from sessions_app.cleanup.folders import open_folder
from sessions_app.client.writer import current_document, store_document
from sessions_app.exceptions import SessionException, SessionInvalid, SessionNotFound
from sessions_app.mirror.registry import (
    DirectoryError,
    check_namespace,
    register_own_folder,
    sync_when_free,
)
from sessions_app.models import BrowserSession, DatabaseClock, SessionDirectory
from sessions_app.models.clock import database_now
from sessions_app.session.criteria import Criteria, InvalidCriteria
from sessions_app.session.document import read_document
from sessions_app.session.files import SUFFIX, BusyFile
from sessions_app.session.info import SessionInfo
from sessions_app.session.names import why_not_a_file_name, why_not_a_name
from sessions_app.text import did_you_mean
from sessions_app.transactions import repeatable_transaction, retried_when_busy
from sessions_app.transactions.disk import disk_full_message

TRIGGER = "api"
ATTEMPTS = 5
"""Maximum attempts of an operation that conflicts with other writers."""

NAMES_COMPARED = 5_000


@dataclass(frozen=True)
class SessionStore:
    """The sessions of a namespace, or of a folder that is mirrored into one."""

    namespace: str
    directory: SessionDirectory | None = None

    @property
    def sessions(self) -> QuerySet[BrowserSession]:
        found = BrowserSession.objects.filter(namespace=self.namespace)
        return found if self.directory is None else found.filter(directory=self.directory)

    def names(self) -> list[str]:
        """Return the names of all sessions, sorted."""
        self.sync()
        # Sort in Python, because the collations of databases differ.
        return sorted(self.sessions.order_by().values_list("name", flat=True))

    def count(self) -> int:
        self.sync()
        return self.sessions.count()

    def size_bytes(self) -> int:
        """Return the bytes of the documents, not of disk."""
        self.sync()
        total: int = self.sessions.aggregate(bytes=Sum("size_bytes", default=0))["bytes"]
        return total

    def find(self, name: str) -> BrowserSession | None:
        if why_not_a_name(name):
            return None
        self.sync()
        return _only(self.sessions.filter(name=name))

    def saved_endpoint(self, name: str) -> str:
        """Return the endpoint of a session as the database has it, without a sync; blank if there is none."""
        if why_not_a_name(name):
            return ""
        endpoints = self.sessions.filter(name=name).order_by().values_list("cdp_url", flat=True)
        return next(iter(endpoints), "")

    def get(self, name: str) -> BrowserSession:
        """Return a session by its name.

        Raises: SessionNotFound: there is none; the message suggests similar names.
        """
        session = self.find(name)
        if session is None:
            some = self.sessions.order_by("name").values_list("name", flat=True)[:NAMES_COMPARED]
            hint = did_you_mean(str(name), some)
            raise SessionNotFound(
                f"There is no session “{name}” in the namespace {self.namespace}. {hint}".rstrip()
            )
        return session

    def find_info(self, name: str) -> SessionInfo | None:
        """Return the info of a session; None if the session does not exist or is corrupted."""
        return _info_of(self.find(name))

    def get_info(self, name: str) -> SessionInfo:
        """Return the info of a session; it is empty if the document is corrupted.

        Raises: SessionNotFound: see ``get``.
        """
        return _info_of(self.get(name)) or SessionInfo()

    def get_valid_info(self, name: str) -> SessionInfo:
        """Return the info of a valid session.

        Raises: SessionNotFound, SessionInvalid: the message lists the problems.
        """
        session = self.get(name)
        if session.problems:
            problems = " ".join(f"{problem.sentence} ({problem.code})" for problem in session.problem_set)
            raise SessionInvalid(f"The session “{name}” is invalid: {problems} Save it again.")
        return _info_of(session) or SessionInfo()

    def save(self, name: str, content: dict[str, Any]) -> SessionInfo:
        """Save a session and return its info.

        An existing session of this name is replaced; its creation time and its pin are kept.

        Args:
            content: The document without its two times.
        Raises: SessionException: the name or the document cannot be stored.
        """
        self.check_name(name)
        for _ in range(ATTEMPTS):
            self.sync()
            # Another process may save this name for the first time. The next attempt replaces that session.
            with suppress(IntegrityError, _FileNameTaken):
                return _info_of(self._save(name, content)) or SessionInfo()
        raise SessionException(
            f"The name “{name}” is taken: by a session of another folder in the namespace {self.namespace}, "
            "or by a file that cannot be read. Choose another name, or another namespace."
        )

    @retried_when_busy
    def _save(self, name: str, content: dict[str, Any]) -> BrowserSession:
        with transaction.atomic():
            session = self._locked(name)
            now = session.read_at if session else database_now()
            created_at = session.created_at if session else None
            times = {"created_at": (created_at or now).isoformat(), "last_accessed": now.isoformat()}
            # Insert before writing the file, because this waits for other processes that save a new name.
            session = session or self._new(name)
            store_document(session, {**content, **times})
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

    @retried_when_busy
    def touch(self, name: str) -> None:
        """Set the last access of a session to now.

        A power failure may undo this, so that restoring a session does not wait for the disk.

        Raises: SessionNotFound: the session has been removed.
        """
        with repeatable_transaction():
            session = self._locked(name)
            if session is None:
                raise SessionNotFound(f"The session “{name}” has just been removed.")
            try:
                content = read_document(current_document(session))
            except BusyFile:
                # The process that is writing the file sets its own time.
                return
            if content is not None:
                store_document(session, {**content, "last_accessed": session.read_at.isoformat()})

    def _locked(self, name: str) -> Any:
        """Lock and return the session of a name, with the current time as ``read_at``."""
        named = self.sessions.filter(name=name).annotate(read_at=DatabaseClock())
        return _only(named.select_for_update())

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

    def sync(self) -> None:
        """Apply the changes of other programs to the folder."""
        if self.directory is None:
            return
        try:
            sync_when_free(self.directory, trigger=TRIGGER, actor=user_name())
        except DirectoryError as error:
            raise SessionException(str(error)) from None

    def check_name(self, name: str) -> None:
        """Validate the name of a session.

        Raises: SessionException: the name cannot be used; the message gives the reason.
        """
        reason = why_not_a_name(name)
        if not reason and self.directory is not None:
            reason = why_not_a_file_name(name)
        if reason:
            raise SessionException(f"{name!r:.80} cannot be the name of a session: {reason}.")


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


def _only(named: QuerySet[BrowserSession]) -> BrowserSession | None:
    """Return the only session of a queryset, or None.

    Sorting, and joining the directory that few sessions have, made ``touch`` 25 percent slower.
    """
    return next(iter(named.order_by()), None)


def _info_of(session: BrowserSession | None) -> SessionInfo | None:
    content = None if session is None else read_document(bytes(session.document))
    return None if content is None else SessionInfo.from_dict(content)


class _FileNameTaken(Exception):
    """Another file has the name of a new session's file."""
