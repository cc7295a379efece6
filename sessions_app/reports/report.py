"""The storage report: sessions and bytes by property, and what a cleanup would free."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from typing import Any

from sessions_app.session.document import BROWSER_TYPES
from sessions_app.session.problems import Problem

OTHER_BROWSER_TYPE = "other"
AGES = {
    "under_1_day": "Under 1 day",
    "1_to_7_days": "1 to 7 days",
    "7_to_30_days": "7 to 30 days",
    "over_30_days": "Over 30 days",
    "in_the_future": "In the future",
    "unreadable": "Cannot be read",
}
_TOTALS = ("live", "expired", "invalid", "pinned", "archived")
# Keys that come first in a table, even without sessions; the others follow by size.
ORDERS: dict[str, tuple[str, ...]] = {
    "by_namespace": (),
    "by_browser_type": (*BROWSER_TYPES, OTHER_BROWSER_TYPE),
    "by_age": tuple(AGES),
    "by_problem": tuple(problem.code for problem in Problem),
    "would_free": ("expired", "invalid", "either"),
}


@dataclass(frozen=True)
class Total:
    """A number of sessions and the bytes of their documents (not of disk)."""

    sessions: int = 0
    bytes: int = 0

    def __sub__(self, other: Total) -> Total:
        return Total(self.sessions - other.sessions, self.bytes - other.bytes)

    def to_json(self) -> dict[str, int]:
        return {"sessions": self.sessions, "bytes": self.bytes}


@dataclass(frozen=True)
class LargeSession:
    """One of the largest sessions."""

    id: int
    namespace: str
    name: str
    browser_type: str
    last_accessed: datetime | None
    size_bytes: int

    def to_json(self) -> dict[str, Any]:
        return {
            "namespace": self.namespace,
            "name": self.name,
            "browser_type": self.browser_type,
            "last_accessed": self.last_accessed and self.last_accessed.isoformat(),
            "size_bytes": self.size_bytes,
        }

    @classmethod
    def from_stored(cls, stored: dict[str, Any]) -> LargeSession:
        last_accessed = stored["last_accessed"] and datetime.fromisoformat(stored["last_accessed"])
        return cls(**{**stored, "last_accessed": last_accessed})


@dataclass(frozen=True)
class StorageReport:
    """Totals at an instant. A session with two problems counts for both.

    ``would_free`` has what cleanups of expired, of invalid and of either would remove. Pinned sessions stay.
    """

    as_of: datetime
    max_age_days: float
    live: Total
    expired: Total
    invalid: Total
    pinned: Total
    archived: Total
    disk_bytes: int | None
    by_namespace: dict[str, Total]
    by_browser_type: dict[str, Total]
    by_age: dict[str, Total]
    by_problem: dict[str, Total]
    largest: list[LargeSession]
    would_free: dict[str, Total]

    def to_json(self) -> dict[str, Any]:
        """Return the report for the command and the download; it contains no endpoint."""
        return {
            "as_of": self.as_of.isoformat(),
            "max_age_days": self.max_age_days,
            **self.live.to_json(),
            "expired": self.expired.sessions,
            "invalid": self.invalid.sessions,
            "pinned": self.pinned.sessions,
            "archived": self.archived.to_json(),
            "disk_bytes": self.disk_bytes,
            "by_namespace": _rows("namespace", self.by_namespace),
            "by_browser_type": _rows("browser_type", self.by_browser_type),
            "by_age": _rows("age", self.by_age),
            "by_problem": _rows("problem", self.by_problem),
            "largest": [session.to_json() for session in self.largest],
            "would_free": {name: total.to_json() for name, total in self.would_free.items()},
        }

    def to_stored(self) -> dict[str, Any]:
        """Return the complete report, for ``from_stored``."""
        return asdict(self)

    @classmethod
    def from_stored(cls, stored: dict[str, Any]) -> StorageReport:
        """Restore a report from JSON in the database, which does not keep the order of keys.

        A change of the fields of this class needs a migration that empties ``StorageSnapshot.report``.
        """
        kept: dict[str, Any] = {name: Total(**stored[name]) for name in _TOTALS}
        kept |= {name: ordered(_read(stored[name]), order) for name, order in ORDERS.items()}
        kept["as_of"] = datetime.fromisoformat(stored["as_of"])
        kept["largest"] = [LargeSession.from_stored(session) for session in stored["largest"]]
        return cls(**{**stored, **kept})

    def without(self, parts: Mapping[str, StorageReport]) -> StorageReport:
        """Subtract the reports of some namespaces; the size on disk, which includes them, is None."""
        changed: dict[str, Any] = {"disk_bytes": None} if parts else {}
        for part in parts.values():
            for name in _TOTALS:
                changed[name] = changed.get(name, getattr(self, name)) - getattr(part, name)
            for name in ORDERS:
                totals, out = changed.get(name, getattr(self, name)), getattr(part, name)
                changed[name] = {key: total - out.get(key, Total()) for key, total in totals.items()}
        by_namespace = changed.get("by_namespace", self.by_namespace)
        changed["by_namespace"] = {key: total for key, total in by_namespace.items() if key not in parts}
        changed["largest"] = [session for session in self.largest if session.namespace not in parts]
        return replace(self, **changed)


def ordered(totals: dict[str, Total], order: Iterable[str]) -> dict[str, Total]:
    """Sort totals: the keys of ``order`` come first, even without sessions, and the others follow by size."""
    others = sorted(totals.items(), key=lambda item: (-item[1].bytes, item[0]))
    return {key: totals.get(key, Total()) for key in order} | dict(others)


def _read(stored: dict[str, dict[str, int]]) -> dict[str, Total]:
    return {key: Total(**total) for key, total in stored.items()}


def _rows(key: str, totals: dict[str, Total]) -> list[dict[str, Any]]:
    return [{key: name, **total.to_json()} for name, total in totals.items()]
