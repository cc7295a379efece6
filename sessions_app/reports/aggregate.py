"""Counts sessions and bytes by every property at once; read-only."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

from django.db import connection
from django.db.models import BooleanField, CharField, Count, F, Q, Sum, Value
from django.db.models.expressions import Case, When
from django.db.models.functions import Concat

from sessions_app.models import ArchivedSession, BrowserSession
from sessions_app.reports.report import (
    ORDERS,
    OTHER_BROWSER_TYPE,
    LargeSession,
    StorageReport,
    Total,
    ordered,
)
from sessions_app.session.criteria import Criteria
from sessions_app.session.document import BROWSER_TYPES
from sessions_app.session.problems import BEGINNING, Problem, is_expired

LARGEST_COUNT = 20
LARGEST_EXAMINED = 1_000
"""Sessions examined for the largest ones of the visible namespaces."""


def storage_report(
    *, as_of: datetime, max_age_days: float, archived: Total | None = None, hidden: Collection[str] = ()
) -> StorageReport:
    """Count sessions and bytes by every property at once.

    One query groups all sessions, so the numbers belong to one instant and add up. There are three queries in
    total, and on PostgreSQL a fourth for the size on disk.

    Args:
        max_age_days: Age above which a session counts as expired.
        archived: Total of the archive, if it is known; otherwise it is counted.
        hidden: Namespaces to leave out. The size on disk includes them and is then None.
    """
    groups = [group for group in _groups(as_of, max_age_days) if group.namespace not in hidden]
    if archived is None:
        archived = _sum(total for name, total in _archived().items() if name not in hidden)
    report = _report(groups, as_of, max_age_days, archived=archived, largest=largest(hidden))
    return replace(report, disk_bytes=None) if hidden else report


def report_with_parts(
    namespaces: Collection[str], *, as_of: datetime, max_age_days: float
) -> tuple[StorageReport, dict[str, StorageReport]]:
    """Return the whole ``storage_report``, and the part of it that belongs to each given namespace."""
    groups, archived = list(_groups(as_of, max_age_days)), _archived()
    whole = _report(groups, as_of, max_age_days, archived=_sum(archived.values()), largest=largest())
    parts = {
        name: _report(
            [group for group in groups if group.namespace == name],
            as_of,
            max_age_days,
            archived=archived.get(name, Total()),
            largest=[],
        )
        for name in namespaces
    }
    return whole, parts


def _report(
    groups: list[_Group],
    as_of: datetime,
    max_age_days: float,
    *,
    archived: Total,
    largest: list[LargeSession],
) -> StorageReport:
    return StorageReport(
        as_of=as_of,
        max_age_days=max_age_days,
        live=_total(groups),
        expired=_total(group for group in groups if group.is_expired),
        invalid=_total(group for group in groups if group.problems),
        pinned=_total(group for group in groups if group.is_pinned),
        archived=archived,
        disk_bytes=disk_bytes(),
        by_namespace=_totals(groups, lambda group: [group.namespace]),
        by_browser_type=_totals(groups, lambda group: [group.browser_type], ORDERS["by_browser_type"]),
        by_age=_totals(groups, lambda group: [group.age], ORDERS["by_age"]),
        by_problem=_totals(groups, lambda group: Problem(group.problems).codes, ORDERS["by_problem"]),
        largest=largest,
        would_free={
            "expired": _total(group for group in groups if group.frees_expired),
            "invalid": _total(group for group in groups if group.frees_invalid),
            "either": _total(group for group in groups if group.frees_expired or group.frees_invalid),
        },
    )


def disk_bytes() -> int:
    """Return the size of the database on disk, with archive, runs, indexes and free space.

    A cleanup does not shrink it. Permanent deletion leaves free space, which is reused.
    """
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_database_size(current_database())")
            return int(cursor.fetchone()[0])
    name = str(connection.settings_dict["NAME"])
    files = [Path(name), Path(f"{name}-wal")]
    return sum(file.stat().st_size for file in files if file.exists())


class _Group(NamedTuple):
    """Sessions with the same values of every property in the report."""

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
        # For the bare column, SQLite would read the table in the order of an index that starts with it. A
        # million sessions then take twice as long, and longer if they are not in memory.
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
    """Return the age group, with the bounds of ``Criteria.matching``: exactly 7 days is not over 7 days."""
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
    return _sum(Total(group.sessions, group.bytes) for group in groups)


def _totals(
    groups: Iterable[_Group], keys_of: Callable[[_Group], Iterable[str]], order: Iterable[str] = ()
) -> dict[str, Total]:
    members: dict[str, list[_Group]] = defaultdict(list)
    for group in groups:
        for key in keys_of(group):
            members[key].append(group)
    return ordered({key: _total(group) for key, group in members.items()}, order)


def _archived() -> dict[str, Total]:
    """Return the total of the archive for each namespace."""
    rows = ArchivedSession.objects.order_by().values_list("namespace")
    return {name: Total(*sums) for name, *sums in rows.annotate(sessions=Count("*"), bytes=Sum("size_bytes"))}


def _sum(totals: Iterable[Total]) -> Total:
    found = list(totals)
    return Total(sum(total.sessions for total in found), sum(total.bytes for total in found))


def largest(hidden: Collection[str] = ()) -> list[LargeSession]:
    """Return the largest sessions outside hidden namespaces, in descending order.

    There are fewer of them if most of the largest ``LARGEST_EXAMINED`` sessions are hidden.
    """
    columns = ("id", "namespace", "name", "browser_type", "last_accessed", "size_bytes")
    rows = BrowserSession.objects.order_by("-size_bytes", "-id").values_list(*columns)
    examined = rows[: LARGEST_EXAMINED if hidden else LARGEST_COUNT]
    return [LargeSession(*row) for row in examined if row[1] not in hidden][:LARGEST_COUNT]
