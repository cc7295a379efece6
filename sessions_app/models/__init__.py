from sessions_app.models.cleanup import CleanupRun, PlannedSessions
from sessions_app.models.clock import DatabaseClock
from sessions_app.models.directory import SessionDirectory, UnsettledFile
from sessions_app.models.namespace import LimitedNamespace
from sessions_app.models.policy import CleanupPolicy, CleanupStep, PolicyChange
from sessions_app.models.session import (
    ArchivedSession,
    BrowserSession,
    LastRun,
    SessionQuerySet,
    StoredSession,
)
from sessions_app.models.storage import StorageSnapshot

__all__ = [
    "ArchivedSession",
    "BrowserSession",
    "CleanupPolicy",
    "CleanupRun",
    "CleanupStep",
    "DatabaseClock",
    "LastRun",
    "LimitedNamespace",
    "PlannedSessions",
    "PolicyChange",
    "SessionDirectory",
    "SessionQuerySet",
    "StorageSnapshot",
    "StoredSession",
    "UnsettledFile",
]
