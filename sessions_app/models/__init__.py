from sessions_app.models.archive import ArchivedSession
from sessions_app.models.clock import DatabaseClock
from sessions_app.models.directory import SessionDirectory, UnsettledFile
from sessions_app.models.machine import Machine
from sessions_app.models.namespace import LimitedNamespace
from sessions_app.models.policy import CleanupPolicy, CleanupStep, PolicyChange
from sessions_app.models.queued_task import QueuedTask
from sessions_app.models.run import CleanupRun, PlannedSessions
from sessions_app.models.session import (
    BrowserSession,
    LastRun,
    SessionQuerySet,
    StoredSession,
)
from sessions_app.models.snapshot import StorageSnapshot

__all__ = [
    "ArchivedSession",
    "BrowserSession",
    "CleanupPolicy",
    "CleanupRun",
    "CleanupStep",
    "DatabaseClock",
    "LastRun",
    "LimitedNamespace",
    "Machine",
    "PlannedSessions",
    "PolicyChange",
    "QueuedTask",
    "SessionDirectory",
    "SessionQuerySet",
    "StorageSnapshot",
    "StoredSession",
    "UnsettledFile",
]
