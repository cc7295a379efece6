"""Torn documents, and the passing of time by the database's clock."""

from __future__ import annotations

from datetime import timedelta

from sessions_app.mirror.registry import sync_directory
from sessions_app.models import BrowserSession, SessionDirectory, UnsettledFile
from sessions_app.session.sync_result import SyncResult
from tests.factories import OLD, document_bytes

GOOD = document_bytes(**OLD)
TORN = GOOD[: len(GOOD) // 2]


def sync_on_schedule(directory: SessionDirectory) -> SyncResult:
    directory.refresh_from_db()
    return sync_directory(directory, trigger="schedule", actor="sync_directories")


def pass_time(seconds: float) -> None:
    """Date back what the database has dated, by that many seconds."""
    by = timedelta(seconds=seconds)
    for file in UnsettledFile.objects.all():
        file.seen_at -= by
        file.broken_since = file.broken_since and file.broken_since - by
        file.save()
    for session in BrowserSession.objects.all():
        BrowserSession.objects.filter(pk=session.pk).update(updated_at=session.updated_at - by)


def document_of(name: str) -> bytes:
    return bytes(BrowserSession.objects.get(name=name).document)
