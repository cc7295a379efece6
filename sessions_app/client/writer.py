"""Writes the document of a session to its row and, if it is mirrored, to its file."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from django.conf import settings
from django.utils import timezone

from sessions_app.cleanup.folders import open_folder
from sessions_app.exceptions import SessionException
from sessions_app.models import BrowserSession
from sessions_app.session.document import DocumentFields, parse_document, write_document
from sessions_app.session.files import BusyFile, SkippedFile, access_of, stamp_of
from sessions_app.session.problems import is_good
from sessions_app.transactions.disk import disk_full_message


def check_content(name: str, content: dict[str, Any]) -> DocumentFields:
    """Return the columns of a document, which may take seconds, so do it before a transaction.

    Raises: SessionException: the content is not JSON or is too large.
    """
    return parse_document(_as_json(name, content), time_zone=timezone.get_default_timezone())


def store_document(
    session: BrowserSession, content: dict[str, Any], fields: DocumentFields | None = None
) -> None:
    """Write a document to the row and the file of a session, in the caller's transaction.

    Args:
        fields: Its columns, from ``check_content`` and the times in the content.
    Raises: SessionException: the content is not JSON or is too large, or the file cannot be written.
    """
    data = _as_json(session.name, content)
    fields = fields or check_content(session.name, content)
    values = {**fields._asdict(), "document": data, "size_bytes": len(data), **_write_file(session, data)}
    if session.last_good_document is not None and is_good(fields):
        values["last_good_document"] = None
    BrowserSession.objects.filter(pk=session.pk).update(**values)
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
    return bytes(session.document)
