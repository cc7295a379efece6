"""The tables of the storage report, for its page and its CSV file."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from django.db.models import QuerySet
from django.template.defaultfilters import filesizeformat
from django.urls import reverse
from django.utils.http import urlencode

from sessions_app.admin import formatting
from sessions_app.models import CleanupPolicy
from sessions_app.reports import AGES, Figures, StorageReport, Total
from sessions_app.session.criteria import REASONS
from sessions_app.text import count_of

NAMESPACES_SHOWN = 25
"""Number of namespaces on the page, largest first; the downloads list all."""

_WOULD_FREE = {
    "expired": ("Expired", {"expired": "yes", "pinned": "no"}),
    "invalid": ("Invalid", {"problem": "any", "pinned": "no"}),
    "either": ("Expired or invalid", {}),
}
_AGE_FILTERS = {"over_30_days": "older", "in_the_future": "future", "unreadable": "unreadable"}


class Line(NamedTuple):
    """A line of a table."""

    label: str
    total: Total
    link: str = ""


class Section(NamedTuple):
    """A table with its caption and the head of its first column."""

    caption: str
    head: str
    lines: list[Line]


class Limit(NamedTuple):
    """A condition of a policy, shown as a bar; the policy runs only above it."""

    policy: CleanupPolicy
    text: str
    used: int
    allowed: int
    is_over: bool


def list_link(**query: str) -> str:
    """Return the URL of the list of sessions, filtered."""
    url = reverse("admin:sessions_app_browsersession_changelist")
    return f"{url}?{urlencode(query)}" if query else url


def summary(figures: Figures, *, archive_mark: str, may_see_archive: bool) -> list[Line]:
    report = figures.report
    archive = reverse("admin:sessions_app_archivedsession_changelist") if may_see_archive else ""
    return [
        Line("Live sessions", report.live, list_link()),
        Line(f"Expired, over {report.max_age_days:g} days", report.expired, list_link(expired="yes")),
        Line("Invalid", report.invalid, list_link(problem="any")),
        Line("Pinned", report.pinned, list_link(pinned="yes")),
        Line(f"In the archive{archive_mark}", report.archived, archive),
    ]


def would_free(report: StorageReport) -> list[Line]:
    return [
        Line(label, report.would_free[name], list_link(**query) if query else "")
        for name, (label, query) in _WOULD_FREE.items()
    ]


def sections(report: StorageReport) -> list[Section]:
    ages = [(name, {"accessed": _AGE_FILTERS[name]} if name in _AGE_FILTERS else {}) for name in AGES]
    return [
        Section("By namespace", "Namespace", _namespaces(report)),
        Section(
            "By browser type",
            "Browser type",
            [Line(n, total, list_link(browser_type=n)) for n, total in report.by_browser_type.items()],
        ),
        Section(
            "By age",
            "Last accessed",
            [Line(AGES[n], report.by_age[n], list_link(**query) if query else "") for n, query in ages],
        ),
        Section(
            "By problem",
            "Problem",
            [Line(REASONS[n].sentence, t, list_link(problem=n)) for n, t in report.by_problem.items()],
        ),
    ]


def _namespaces(report: StorageReport) -> list[Line]:
    lines = [Line(name, total, list_link(namespace=name)) for name, total in report.by_namespace.items()]
    shown, others = lines[:NAMESPACES_SHOWN], [line.total for line in lines[NAMESPACES_SHOWN:]]
    if others:
        total = Total(sum(other.sessions for other in others), sum(other.bytes for other in others))
        shown.append(Line(count_of(len(others), "other namespace"), total))
    return shown


def limits(report: StorageReport, policies: QuerySet[CleanupPolicy]) -> list[Limit]:
    """Return the conditions of policies, with how much of each is used."""
    found = []
    for policy in policies.exclude(over_count=None, over_bytes=None).order_by("name"):
        scope = report.by_namespace.get(policy.namespace, Total()) if policy.namespace else report.live
        if policy.over_count is not None:
            texts = (f"{scope.sessions:,}", count_of(policy.over_count, "session"))
            found.append(_limit(policy, scope.sessions, policy.over_count, texts))
        if policy.over_bytes is not None:
            texts = (filesizeformat(scope.bytes), filesizeformat(policy.over_bytes))
            found.append(_limit(policy, scope.bytes, policy.over_bytes, texts))
    return found


def _limit(policy: CleanupPolicy, used: int, allowed: int, texts: tuple[str, str]) -> Limit:
    # The bar needs a maximum above 0.
    length, is_over = allowed or 1, used > allowed
    share = "over the limit" if is_over else formatting.percent(used, length)
    # No policy enforces this limit, so exceeding it is not an alarm.
    return Limit(
        policy,
        f"{texts[0]} of {texts[1]}, {share}",
        used=used,
        allowed=length,
        is_over=is_over and policy.is_enabled,
    )


def csv_rows(figures: Figures) -> Iterator[tuple[str, str, int | str, int | str]]:
    """Yield section, name, sessions and bytes of each line."""
    report = figures.report
    named: dict[str, dict[str, Total]] = {
        "total": {
            "sessions": report.live,
            "expired": report.expired,
            "invalid": report.invalid,
            "pinned": report.pinned,
            "archived": report.archived,
        },
        "namespace": report.by_namespace,
        "browser_type": report.by_browser_type,
        "age": report.by_age,
        "problem": report.by_problem,
        "would_free": report.would_free,
        "largest": {f"{s.namespace}/{s.name}": Total(1, s.size_bytes) for s in report.largest},
    }
    for section, totals in named.items():
        for name, total in totals.items():
            yield section, name, total.sessions, total.bytes
    yield "as_of", report.as_of.isoformat(), "", ""
    yield "archived_as_of", (figures.archive_as_of or report.as_of).isoformat(), "", ""
    if report.disk_bytes is not None:
        yield "total", "on_disk", "", report.disk_bytes
