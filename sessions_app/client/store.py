"""The sessions that one ``SessionManager`` works on: those of a namespace, or those of one folder.

Everything here is what the panel does too, under the names of the guide: sessions come and go by way
of the same plans and runs, and the documents in a folder are mirrored both ways.
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
"""So often is tried again what somebody else's write came between."""

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
        """The names of all sessions, sorted."""
        self.sync()
        # By Python: databases sort by rules of their own.
        return sorted(self.sessions.order_by().values_list("name", flat=True))

    def count(self) -> int:
        self.sync()
        return self.sessions.count()

    def size_bytes(self) -> int:
        """Bytes of the documents, not of disk."""
        self.sync()
        total: int = self.sessions.aggregate(bytes=Sum("size_bytes", default=0))["bytes"]
        return total

    def find(self, name: str) -> BrowserSession | None:
        if why_not_a_name(name):
            return None
        self.sync()
        return _only(self.sessions.filter(name=name))

    def get(self, name: str) -> BrowserSession:
        """Give a session by its name.

        Raises: SessionNotFound: there is none; the message names those with similar names.
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
        """Give what a session's document says; None where there is none, or none that can be read."""
        return _info_of(self.find(name))

    def get_info(self, name: str) -> SessionInfo:
        """As ``find_info``, but one that cannot be read is empty.

        Raises: SessionNotFound: see ``get``.
        """
        return _info_of(self.get(name)) or SessionInfo()

    def get_valid_info(self, name: str) -> SessionInfo:
        """As ``get_info``.

        Raises: SessionNotFound, SessionInvalid: the message tells the problems.
        """
        session = self.get(name)
        if session.problems:
            told = " ".join(f"{problem.sentence} ({problem.code})" for problem in session.problem_set)
            raise SessionInvalid(f"The session “{name}” is invalid: {told} Save it again.")
        return _info_of(session) or SessionInfo()

    def save(self, name: str, content: dict[str, Any]) -> SessionInfo:
        """Save a session, and give what was saved.

        One that has the name is replaced; when it was created, and its pin, are kept.

        Args:
            content: The document, but for the two times.
        Raises: SessionException: the name or the document cannot be stored.
        """
        self.check_name(name)
        for _ in range(ATTEMPTS):
            self.sync()
            # Somebody saves the name for the first time at the same time: that one is replaced.
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
            # Before the file: a first save of the name by somebody else is waited for here.
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
                # Where capital letters do not count it may be the file of another name.
                if folder.has(file_name):
                    raise _FileNameTaken
        return session

    @retried_when_busy
    def touch(self, name: str) -> None:
        """Date the last access of a session now.

        A power cut may take that back: a restore does not wait for the disk.

        Raises: SessionNotFound: it has been removed meanwhile.
        """
        with repeatable_transaction():
            session = self._locked(name)
            if session is None:
                raise SessionNotFound(f"The session “{name}” has just been removed.")
            try:
                content = read_document(current_document(session))
            except BusyFile:
                # Whoever writes the file dates it.
                return
            if content is not None:
                store_document(session, {**content, "last_accessed": session.read_at.isoformat()})

    def _locked(self, name: str) -> Any:
        """The session of a name, which nobody else writes meanwhile, with the instant as ``read_at``."""
        named = self.sessions.filter(name=name).annotate(read_at=DatabaseClock())
        return _only(named.select_for_update())

    def delete(self, name: str) -> bool:
        """Move a session to the archive; False where there is none.

        Raises: SessionException: it is pinned, or somebody else keeps writing to it.
        """
        for _ in range(ATTEMPTS):
            session = self.find(name)
            if session is None:
                return False
            if session.is_pinned:
                raise SessionException(f"The session “{name}” is pinned. Unpin it in the panel first.")
            if self._clean_up(Criteria(session_ids=(session.pk,))):
                return True
        raise SessionException(f"The session “{name}” is being written to again and again: it was kept.")

    def remove_expired(self, max_age_days: float) -> int:
        """Remove expired sessions, by a plan and a run as every cleanup does; give their number.

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
        # The ledger is of cleanups that had something to do: test runs ask for many that have not.
        if not BrowserSession.objects.filter(criteria.matching(database_now())).exists():
            return 0
        try:
            plan = plan_cleanup(criteria, trigger=TRIGGER, actor=user_name())
            return run_cleanup(plan).removed_count
        except CleanupRefused as refusal:
            raise SessionException(str(refusal)) from None

    def sync(self) -> None:
        """Take in what others have done to the folder."""
        if self.directory is None:
            return
        try:
            sync_when_free(self.directory, trigger=TRIGGER, actor=user_name())
        except DirectoryError as error:
            raise SessionException(str(error)) from None

    def check_name(self, name: str) -> None:
        """Refuse what cannot be the name of a session here.

        Raises: SessionException: with the reason.
        """
        reason = why_not_a_name(name)
        if not reason and self.directory is not None:
            reason = why_not_a_file_name(name)
        if reason:
            raise SessionException(f"{name!r:.80} cannot be the name of a session: {reason}.")


def open_store(*, namespace: str | None, storage_dir: str | Path | None) -> SessionStore:
    """Open the sessions of a namespace, or of a folder, which is made and registered where it is new.

    Raises: SessionException: the folder or the namespace cannot be used.
    """
    try:
        if storage_dir is None:
            check_namespace(namespace or "")
            return SessionStore(namespace or settings.RAPTOR_NAMESPACE)
        if not str(storage_dir).strip():
            raise SessionException("The folder of a manager cannot be blank: name one, or give none.")
        directory = register_own_folder(Path(storage_dir).expanduser().resolve(), namespace or "")
    except DirectoryError as error:
        raise SessionException(str(error)) from None
    except (OSError, RuntimeError, ValueError) as error:
        if message := disk_full_message(error, folder=storage_dir or ""):
            raise SessionException(message) from None
        raise SessionException(f"The folder {str(storage_dir)!r} cannot be used: {error}.") from None
    return SessionStore(directory.namespace, directory)


def _only(named: QuerySet[BrowserSession]) -> BrowserSession | None:
    """Give the session of a name: there is one at most.

    In no order, and without its directory, which few have: with both a touch took a quarter longer.
    """
    return next(iter(named.order_by()), None)


def _info_of(session: BrowserSession | None) -> SessionInfo | None:
    content = None if session is None else read_document(bytes(session.document))
    return None if content is None else SessionInfo.from_dict(content)


class _FileNameTaken(Exception):
    """Where a new session's file is to lie is another one."""
