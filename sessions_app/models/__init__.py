from sessions_app.models.alert import (
    Alert,
    AlertDelivery,
    AlertEvaluation,
    AlertRule,
    AlertTarget,
)
from sessions_app.models.clock import DatabaseClock
from sessions_app.models.directory import SessionDirectory, UnsettledFile
from sessions_app.models.event import SessionEvent
from sessions_app.models.machine import Machine
from sessions_app.models.namespace import LimitedNamespace
from sessions_app.models.policy import CleanupPolicy, CleanupStep, PolicyChange, PolicyProtection
from sessions_app.models.probe import Probe
from sessions_app.models.queued_task import QueuedTask
from sessions_app.models.run import CleanupRun, NewestKept, PlannedSessions, RunTotal
from sessions_app.models.search import SessionSearch
from sessions_app.models.session import (
    ArchivedSession,
    BrowserSession,
    SessionQuerySet,
    delete_permanently,
)
from sessions_app.models.session_content import SessionDocument
from sessions_app.models.snapshot import StorageSnapshot

__all__ = [
    "Alert",
    "AlertDelivery",
    "AlertEvaluation",
    "AlertRule",
    "AlertTarget",
    "ArchivedSession",
    "BrowserSession",
    "CleanupPolicy",
    "CleanupRun",
    "CleanupStep",
    "DatabaseClock",
    "LimitedNamespace",
    "Machine",
    "NewestKept",
    "PlannedSessions",
    "PolicyChange",
    "PolicyProtection",
    "Probe",
    "QueuedTask",
    "RunTotal",
    "SessionDirectory",
    "SessionDocument",
    "SessionEvent",
    "SessionQuerySet",
    "SessionSearch",
    "StorageSnapshot",
    "UnsettledFile",
    "delete_permanently",
]
