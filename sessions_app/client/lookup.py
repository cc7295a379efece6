"""Finds the sessions of a ``SessionManager``: those of a namespace or of one folder."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from django.db.models import QuerySet, Sum

from sessions_app.access.actors import user_name
from sessions_app.exceptions import SessionException, SessionInvalid, SessionNotFound
from sessions_app.mirror.registry import DirectoryError, sync_when_free
from sessions_app.models import BrowserSession, SessionDirectory
from sessions_app.session.document import read_document
from sessions_app.session.files import SUFFIX
from sessions_app.session.info import SessionInfo
from sessions_app.session.names import reduced_name, why_not_a_file_name, why_not_a_name
from sessions_app.text import did_you_mean

TRIGGER = "api"
NAMES_COMPARED = 5_000


@dataclass(frozen=True)
class SessionLookup:
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
        """Return a session by its name; in a folder, also by the file name that RAPTOR makes of it."""
        if why_not_a_name(name):
            return None
        self.sync()
        found = only(self.sessions.filter(name=name))
        if found is None and (reduced := self.reduced(name)):
            found = only(self.sessions.filter(name=reduced))
        return found

    def reduced(self, name: str) -> str:
        """Return the name of the file that RAPTOR would use, if no other file might be meant."""
        reduced = reduced_name(name)
        if self.directory is None or reduced in ("", name):
            return ""
        known = self.sessions.order_by().values_list("name", flat=True)
        return reduced if [other for other in known if reduced_name(other) == reduced] == [reduced] else ""

    def saved_endpoint(self, name: str) -> str:
        """Return the endpoint of a session as the database has it, without a sync; blank if there is none."""
        if why_not_a_name(name):
            return ""
        endpoints = self.sessions.filter(name=name).order_by().values_list("content__cdp_url", flat=True)
        return next(iter(endpoints), "") or ""

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
        return info_of(self.find(name))

    def get_info(self, name: str) -> SessionInfo:
        """Return the info of a session; it is empty if the document is corrupted.

        Raises: SessionNotFound: see ``get``.
        """
        return info_of(self.get(name)) or SessionInfo()

    def get_valid_info(self, name: str) -> SessionInfo:
        """Return the info of a valid session.

        Raises: SessionNotFound, SessionInvalid: the message lists the problems. It begins as RAPTOR's does.
        """
        try:
            session = self.get(name)
        except SessionNotFound as error:
            raise SessionNotFound(f"Session validation failed. {error.message}") from None
        if session.problems:
            problems = " ".join(f"{problem.sentence} ({problem.code})" for problem in session.problem_set)
            raise SessionInvalid(
                f"Session validation failed. The session “{name}” is invalid: {problems} Save it again."
            )
        return info_of(session) or SessionInfo()

    def sync(self) -> None:
        """Apply the changes of other programs to the folder."""
        if self.directory is None:
            return
        try:
            sync_when_free(self.directory, trigger=TRIGGER, actor=user_name())
        except DirectoryError as error:
            raise SessionException(str(error)) from None

    def check_name(self, name: str) -> str:
        """Return the name under which a session is saved.

        It is another name only if a file cannot have this one, and RAPTOR's file of it exists.

        Raises: SessionException: the name cannot be used; the message gives the reason.
        """
        if name == "":
            raise SessionException("Session name cannot be empty.")
        reason = why_not_a_name(name)
        if not reason and self.directory is not None and (reason := why_not_a_file_name(name)):
            known = self.find(name)
            if known is not None:
                return known.name
        if reason:
            raise SessionException(f"{name!r:.80} cannot be the name of a session: {reason}.")
        return name

    def file_path(self, name: str) -> Path:
        """Return the path of a session's file, or the path that it would have."""
        if self.directory is None:
            raise SessionException("These sessions have no files: they are in the database only.")
        session = self.find(name)
        known = name if not why_not_a_file_name(name) else reduced_name(name)
        return Path(self.directory.path) / (known + SUFFIX if session is None else session.file_name)


def only(named: QuerySet[BrowserSession]) -> BrowserSession | None:
    """Return the only session of a queryset with its document, or None.

    Sorting, and joining the directory that few sessions have, made ``touch`` 25 percent slower.
    """
    return next(iter(named.order_by().select_related("content")), None)


def info_of(session: BrowserSession | None) -> SessionInfo | None:
    content = None if session is None else read_document(session.document)
    return None if content is None else SessionInfo.from_dict(content)
