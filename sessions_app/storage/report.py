"""The storage report: how many sessions there are, of what kind, and what a cleanup would free; read-only."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

from django.db import connection
from django.db.models import BooleanField, CharField, Count, F, Q, Sum, Value
from django.db.models.expressions import Case, When
from django.db.models.functions import Concat

from sessions_app.criteria import Criteria
from sessions_app.models import ArchivedSession, BrowserSession
from sessions_app.problems import BEGINNING, BROWSER_TYPES, Problem, is_expired

LARGEST_COUNT = 20
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
# What comes first in a table, and is always there; the others come by their size.
_ORDERS: dict[str, tuple[str, ...]] = {
    "by_namespace": (),
    "by_browser_type": (*BROWSER_TYPES, OTHER_BROWSER_TYPE),
    "by_age": tuple(AGES),
    "by_problem": tuple(problem.code for problem in Problem),
    "would_free": ("expired", "invalid", "either"),
}


@dataclass(frozen=True)
class Total:
    """Sessions, and the bytes of their documents (not of disk)."""

    sessions: int = 0
    bytes: int = 0

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
    """Totals as of an instant. A session with two problems counts in each of them.

    ``would_free`` has what a cleanup of expired, of invalid and of either would take; pinned sessions stay.
    """

    as_of: datetime
    max_age_days: float
    live: Total
    expired: Total
    invalid: Total
    pinned: Total
    archived: Total
    disk_bytes: int
    by_namespace: dict[str, Total]
    by_browser_type: dict[str, Total]
    by_age: dict[str, Total]
    by_problem: dict[str, Total]
    largest: list[LargeSession]
    would_free: dict[str, Total]

    def to_json(self) -> dict[str, Any]:
        """Give the report as the command and the download have it; no endpoint is among it."""
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
        """Give all of the report, for ``from_stored``."""
        return asdict(self)

    @classmethod
    def from_stored(cls, stored: dict[str, Any]) -> StorageReport:
        """Make the report again of what a database has kept as JSON, which keeps no order of keys.

        A change of the report's fields comes with a migration that empties ``StorageSnapshot.report``.
        """
        kept: dict[str, Any] = {name: Total(**stored[name]) for name in _TOTALS}
        kept |= {name: _ordered(_read(stored[name]), order) for name, order in _ORDERS.items()}
        kept["as_of"] = datetime.fromisoformat(stored["as_of"])
        kept["largest"] = [LargeSession.from_stored(session) for session in stored["largest"]]
        return cls(**{**stored, **kept})


def storage_report(*, as_of: datetime, max_age_days: float, archived: Total | None = None) -> StorageReport:
    """Count sessions and bytes by every property at once.

    One query groups all sessions, so the numbers are of one instant and add up; three queries in all, and
    on PostgreSQL a fourth for the size on disk.

    Args:
        max_age_days: Age above which a session counts as expired.
        archived: What the archive holds, where that is known: it is not counted then.
    """
    groups = list(_groups(as_of, max_age_days))
    return StorageReport(
        as_of=as_of,
        max_age_days=max_age_days,
        live=_total(groups),
        expired=_total(group for group in groups if group.is_expired),
        invalid=_total(group for group in groups if group.problems),
        pinned=_total(group for group in groups if group.is_pinned),
        archived=archived or _archived(),
        disk_bytes=disk_bytes(),
        by_namespace=_totals(groups, lambda group: [group.namespace]),
        by_browser_type=_totals(groups, lambda group: [group.browser_type], _ORDERS["by_browser_type"]),
        by_age=_totals(groups, lambda group: [group.age], _ORDERS["by_age"]),
        by_problem=_totals(groups, lambda group: Problem(group.problems).codes, _ORDERS["by_problem"]),
        largest=_largest(),
        would_free={
            "expired": _total(group for group in groups if group.frees_expired),
            "invalid": _total(group for group in groups if group.frees_invalid),
            "either": _total(group for group in groups if group.frees_expired or group.frees_invalid),
        },
    )


def disk_bytes() -> int:
    """Measure the whole database on disk: sessions live and archived, the ledger, indexes, and free room.

    A cleanup does not shrink it; what is deleted for good leaves room that is used again.
    """
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_database_size(current_database())")
            return int(cursor.fetchone()[0])
    name = str(connection.settings_dict["NAME"])
    files = [Path(name), Path(f"{name}-wal")]
    return sum(file.stat().st_size for file in files if file.exists())


class _Group(NamedTuple):
    """Sessions that are alike in all that the report tells apart."""

    namespace: str
    browser_type: str
    age: str
    problems: int
    is_pinned: bool
    is_expired: bool
    frees_expired: bool
    frees_invalid: bool
    sessions: int
    bytes: int


def _groups(as_of: datetime, max_age_days: float) -> Iterable[_Group]:
    expired = Criteria(expired=True, max_age_days=max_age_days)
    keys: dict[str, Any] = {
        # By the bare column SQLite would read the table in the order of an index that begins with it:
        # a million sessions then take twice as long, and more where they are not in memory.
        "group_namespace": Concat("namespace", Value("")),
        "group_browser_type": Case(
            When(browser_type__in=BROWSER_TYPES, then=F("browser_type")),
            default=Value(OTHER_BROWSER_TYPE),
            output_field=CharField(),
        ),
        "group_age": _age(as_of),
        "group_problems": F("problems"),
        "group_pinned": F("is_pinned"),
        "group_expired": _flag(is_expired(expired.cutoff(as_of))),
        "frees_expired": _flag(expired.matching(as_of)),
        "frees_invalid": _flag(Criteria(invalid=True).matching(as_of)),
    }
    rows = BrowserSession.objects.order_by().values(**keys)
    totals = {"group_sessions": Count("*"), "group_bytes": Sum("size_bytes")}
    for row in rows.annotate(**totals).values_list(*keys, *totals):
        yield _Group(*row)


def _age(as_of: datetime) -> Case:
    """Name the age, with the bounds that ``Criteria.matching`` has: exactly 7 days is not over 7 days."""
    return Case(
        When(idle_since=BEGINNING, then=Value("unreadable")),
        When(idle_since__gt=as_of, then=Value("in_the_future")),
        When(idle_since__lt=as_of - timedelta(days=30), then=Value("over_30_days")),
        When(idle_since__lt=as_of - timedelta(days=7), then=Value("7_to_30_days")),
        When(idle_since__lt=as_of - timedelta(days=1), then=Value("1_to_7_days")),
        default=Value("under_1_day"),
        output_field=CharField(),
    )


def _flag(condition: Q) -> Case:
    return Case(When(condition, then=Value(True)), default=Value(False), output_field=BooleanField())


def _total(groups: Iterable[_Group]) -> Total:
    chosen = list(groups)
    return Total(sum(group.sessions for group in chosen), sum(group.bytes for group in chosen))


def _totals(
    groups: Iterable[_Group], keys_of: Callable[[_Group], Iterable[str]], order: Iterable[str] = ()
) -> dict[str, Total]:
    """Sum by key."""
    members: dict[str, list[_Group]] = defaultdict(list)
    for group in groups:
        for key in keys_of(group):
            members[key].append(group)
    return _ordered({key: _total(group) for key, group in members.items()}, order)


def _ordered(totals: dict[str, Total], order: Iterable[str]) -> dict[str, Total]:
    """Put those of ``order`` first, whether there are any or not, and the others by size."""
    others = sorted(totals.items(), key=lambda item: (-item[1].bytes, item[0]))
    return {key: totals.get(key, Total()) for key in order} | dict(others)


def _read(stored: dict[str, dict[str, int]]) -> dict[str, Total]:
    return {key: Total(**total) for key, total in stored.items()}


def _archived() -> Total:
    row = ArchivedSession.objects.aggregate(sessions=Count("*"), bytes=Sum("size_bytes", default=0))
    return Total(row["sessions"], row["bytes"])


def _largest() -> list[LargeSession]:
    columns = ("id", "namespace", "name", "browser_type", "last_accessed", "size_bytes")
    rows = BrowserSession.objects.order_by("-size_bytes", "-id").values_list(*columns)
    return [LargeSession(*row) for row in rows[:LARGEST_COUNT]]


def _rows(key: str, totals: dict[str, Total]) -> list[dict[str, Any]]:
    return [{key: name, **total.to_json()} for name, total in totals.items()]
