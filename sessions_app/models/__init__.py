from sessions_app.models.cleanup import CleanupRun
from sessions_app.models.clock import DatabaseClock
from sessions_app.models.directory import SessionDirectory
from sessions_app.models.session import ArchivedSession, BrowserSession, SessionQuerySet, StoredSession

__all__ = [
    "ArchivedSession",
    "BrowserSession",
    "CleanupRun",
    "DatabaseClock",
    "SessionDirectory",
    "SessionQuerySet",
    "StoredSession",
]
