"""Writes the document of a session to its row and, if it is mirrored, to its file."""

from __future__ import annotations

from contextlib import suppress
from typing import Any, NamedTuple, Self

from django.conf import settings
from django.utils import timezone

from sessions_app.cleanup.folders import open_folder
from sessions_app.exceptions import SessionException
from sessions_app.models import BrowserSession
from sessions_app.search import index_session, read_text
from sessions_app.session.document import DocumentFields, parse_document, write_document
from sessions_app.session.files import BusyFile, SkippedFile, access_of, stamp_of
from sessions_app.session.problems import is_good
from sessions_app.session.search_text import SearchText
from sessions_app.transactions.disk import disk_full_message


class Checked(NamedTuple):
    """The columns of a document, and its text for the search."""

    fields: DocumentFields
    text: SearchText

    def at(self, **times: Any) -> Self:
        """Return a copy with other times, which the search does not read."""
        return self._replace(fields=self.fields._replace(**times))


def check_content(name: str, content: dict[str, Any]) -> Checked:
    """Read a document, which may take seconds, so do it before a transaction.

    Raises: SessionException: the content is not JSON or is too large.
    """
    data = _as_json(name, content)
    fields = parse_document(data, time_zone=timezone.get_default_timezone())
    return Checked(fields, read_text(name, fields, data))


def store_document(session: BrowserSession, content: dict[str, Any], checked: Checked | None = None) -> None:
    """Write a document to the row and the file of a session, in the caller's transaction.

    Args:
        checked: From ``check_content``, with the times in the content.
    Raises: SessionException: the content is not JSON or is too large, or the file cannot be written.
    """
    data = _as_json(session.name, content)
    fields, text = checked or check_content(session.name, content)
    values = {**fields._asdict(), "document": data, "size_bytes": len(data), **_write_file(session, data)}
    if session.last_good_document is not None and is_good(fields):
        values["last_good_document"] = None
    BrowserSession.objects.write(session.pk, **values)
    index_session(session.pk, text)
    for name, value in values.items():
        setattr(session, name, value)


def _as_json(name: str, content: dict[str, Any]) -> bytes:
    try:
        data = write_document(content)
    except (TypeError, ValueError, RecursionError) as error:
        raise SessionException(f"The metadata of “{name}” cannot be written as JSON: {error}.") from None
    if len(data) > settings.RAPTOR_MAX_DOCUMENT_BYTES:
        raise SessionException(
            f"The document of “{name}” has {len(data):,} bytes. The limit is "
            f"{settings.RAPTOR_MAX_DOCUMENT_BYTES:,} (RAPTOR_MAX_DOCUMENT_BYTES)."
        )
    return data


def _write_file(session: BrowserSession, data: bytes) -> dict[str, int]:
    """Write the file of a mirrored session; return the columns that describe the file."""
    if session.directory is None:
        return {}
    try:
        with open_folder(session.directory) as folder:
            facts = folder.write(session.file_name, data, access=access_of(session))
    except OSError as error:
        if message := disk_full_message(error, folder=session.directory.path):
            raise SessionException(f"The file of “{session.name}” was not changed. {message}") from None
        raise SessionException(
            f"The file of “{session.name}” cannot be written to {session.directory.path}: {error.strerror}. "
            "Nothing was changed."
        ) from None
    return facts.as_columns()


def current_document(session: BrowserSession) -> bytes:
    """Return the current document of a session, from its file if it is mirrored.

    Raises: BusyFile: another process has the file open for writing, so it must not be replaced now.
    """
    stamp = stamp_of(session)
    if session.directory is not None and stamp is not None:
        with suppress(OSError), open_folder(session.directory) as folder:
            try:
                return folder.read(session.file_name, max_bytes=settings.RAPTOR_MAX_DOCUMENT_BYTES).data
            except BusyFile:
                raise
            except SkippedFile:
                pass
    return session.document
