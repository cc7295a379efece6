"""The filters of sessions. Each is a range or an equality, so that they combine and use an index."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta
from typing import Any

from django.conf import settings
from django.contrib import admin
from django.db import connection
from django.db.models import Q, QuerySet
from django.http import HttpRequest
from django.utils import timezone

from sessions_app.admin.base import is_id
from sessions_app.admin.presentation import request_time
from sessions_app.criteria import Criteria
from sessions_app.models import BrowserSession, CleanupRun, SessionDirectory
from sessions_app.models.session import BEGINNING
from sessions_app.problems import BROWSER_TYPES, Problem, has_problem, is_expired, is_invalid

NAMESPACES_SHOWN = 50
RUNS_SHOWN = 20
_Choices = Iterable[tuple[Any, Any]]


def label(code: str) -> str:
    """A public code as a label: short enough for the side of a list."""
    return code.replace("_", " ").capitalize()


class ConditionFilter(admin.SimpleListFilter):
    """A filter whose choices are conditions, by their values in the address."""

    def conditions(self, request: HttpRequest) -> dict[str, tuple[str, Q]]:
        """The label and the condition of each value."""
        raise NotImplementedError

    def lookups(self, request: HttpRequest, model_admin: Any) -> _Choices:
        return [(value, label) for value, (label, _) in self.conditions(request).items()]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        conditions = self.conditions(request)
        value = self.value()
        return queryset.filter(conditions[value][1]) if value in conditions else queryset


class DateFilter(ConditionFilter):
    """The days up to now, by a column with instants."""

    title = "date"
    column = ""

    def conditions(self, request: HttpRequest) -> dict[str, tuple[str, Q]]:
        as_of = request_time(request)
        midnight = timezone.localtime(as_of).replace(hour=0, minute=0, second=0, microsecond=0)
        choices = {"today": ("Today", midnight)}
        choices |= {str(days): (f"Last {days} days", as_of - timedelta(days=days)) for days in (7, 30)}
        return {key: (label, Q((f"{self.column}__gte", since))) for key, (label, since) in choices.items()}


class ProblemFilter(ConditionFilter):
    title = "problem"
    parameter_name = "problem"

    def conditions(self, request: HttpRequest) -> dict[str, tuple[str, Q]]:
        return {
            "any": ("Any problem", is_invalid()),
            "none": ("None", Q(problems=0)),
            **{problem.code: (label(problem.code), has_problem(problem)) for problem in Problem},
        }


class ExpiredFilter(ConditionFilter):
    title = "expired"
    parameter_name = "expired"

    def conditions(self, request: HttpRequest) -> dict[str, tuple[str, Q]]:
        max_age_days = settings.RAPTOR_MAX_AGE_DAYS
        cutoff = Criteria(expired=True, max_age_days=max_age_days).cutoff(request_time(request))
        return {
            "yes": (f"Yes, over {max_age_days:g} days", is_expired(cutoff)),
            "no": ("No", Q(idle_since__gte=cutoff)),
        }


class LastAccessedFilter(ConditionFilter):
    title = "last accessed"
    parameter_name = "accessed"

    def conditions(self, request: HttpRequest) -> dict[str, tuple[str, Q]]:
        as_of = request_time(request)
        midnight = timezone.localtime(as_of).replace(hour=0, minute=0, second=0, microsecond=0)

        def within(days: int) -> Q:
            return Q(idle_since__gte=as_of - timedelta(days=days), idle_since__lte=as_of)

        return {
            "today": ("Today", Q(idle_since__gte=midnight, idle_since__lte=as_of)),
            "7": ("Last 7 days", within(7)),
            "30": ("Last 30 days", within(30)),
            "older": (
                "Over 30 days ago",
                Q(idle_since__gt=BEGINNING, idle_since__lt=as_of - timedelta(days=30)),
            ),
            "future": ("In the future", Q(idle_since__gt=as_of)),
            "unreadable": ("Cannot be read", Q(idle_since=BEGINNING)),
        }


class BrowserTypeFilter(ConditionFilter):
    title = "browser type"
    parameter_name = "browser_type"

    def conditions(self, request: HttpRequest) -> dict[str, tuple[str, Q]]:
        return {
            **{name: (name, Q(browser_type=name)) for name in BROWSER_TYPES},
            "other": ("Other", ~Q(browser_type__in=BROWSER_TYPES)),
        }


class PinnedFilter(ConditionFilter):
    title = "pinned"
    parameter_name = "pinned"

    def conditions(self, request: HttpRequest) -> dict[str, tuple[str, Q]]:
        return {"yes": ("Yes", Q(is_pinned=True)), "no": ("No", Q(is_pinned=False))}


class NamespaceFilter(admin.SimpleListFilter):
    """Any namespace works in the address; the first ones by name are offered."""

    title = "namespace"
    parameter_name = "namespace"

    def lookups(self, request: HttpRequest, model_admin: Any) -> _Choices:
        found = first_namespaces()
        chosen = self.value()
        return [(name, name) for name in (found if chosen is None or chosen in found else [*found, chosen])]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        value = self.value()
        return queryset if value is None else queryset.filter(namespace=value)


class RunFilter(admin.SimpleListFilter):
    """Any run works in the address; the latest that removed something are offered."""

    title = "run"
    parameter_name = "run"

    def lookups(self, request: HttpRequest, model_admin: Any) -> _Choices:
        runs = CleanupRun.objects.filter(removed_count__gt=0).values_list("pk", flat=True)
        found = [str(pk) for pk in runs[:RUNS_SHOWN]]
        chosen = self.value()
        return [
            (pk, f"Run {pk}") for pk in (found if chosen is None or chosen in found else [*found, chosen])
        ]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        value = self.value()
        if value is None:
            return queryset
        return queryset.filter(run=int(value)) if is_id(value) else queryset.none()


def first_namespaces() -> list[str]:
    """List the first namespaces by name: those of live sessions, and of directories that have none yet.

    Each step is one look into the unique index, which begins with the namespace; SELECT DISTINCT would read
    that index whole.
    """
    name = connection.ops.quote_name(BrowserSession._meta.db_table)
    with connection.cursor() as cursor:
        cursor.execute(
            f"WITH RECURSIVE found(namespace) AS (SELECT MIN(namespace) FROM {name} UNION ALL "  # noqa: S608
            f"SELECT (SELECT MIN(namespace) FROM {name} AS other WHERE other.namespace > found.namespace) "
            "FROM found WHERE found.namespace IS NOT NULL) "
            "SELECT namespace FROM found WHERE namespace IS NOT NULL LIMIT %s",
            [NAMESPACES_SHOWN],
        )
        found = {row[0] for row in cursor.fetchall()}
    directories = SessionDirectory.objects.order_by().values_list("namespace", flat=True).distinct()
    return sorted(found.union(directories[:NAMESPACES_SHOWN]))[:NAMESPACES_SHOWN]
