"""The filters of sessions. Each is a range or an equality, so that they combine and use an index."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from datetime import timedelta
from typing import Any

from django.conf import settings
from django.contrib import admin
from django.db import connection
from django.db.models import Q, QuerySet
from django.http import HttpRequest

from sessions_app.access.visibility import hidden_from, visible_runs
from sessions_app.admin.base import is_id
from sessions_app.admin.formatting import expiry_cutoff, request_time
from sessions_app.models import BrowserSession, CleanupRun, SessionDirectory
from sessions_app.session.selection import CHOICES, midnight_before
from sessions_app.text import in_days

NAMESPACES_SHOWN = 50
RUNS_SHOWN = 20
_Choices = Iterable[tuple[Any, Any]]


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
        choices = {"today": ("Today", midnight_before(as_of))}
        choices |= {str(days): (f"Last {days} days", as_of - timedelta(days=days)) for days in (7, 30)}
        return {key: (label, Q((f"{self.column}__gte", since))) for key, (label, since) in choices.items()}


class CountedFilter(admin.SimpleListFilter):
    """A filter of sessions, whose list counts the choices: Django's own counts read the whole table."""

    def get_facet_queryset(self, changelist: Any) -> dict[str, Any]:
        # Django prints what stands here, number or not, between brackets.
        counts = [
            changelist.count_of(self.request, self.parameter_name, key) for key, _ in self.lookup_choices
        ]
        return {f"{n}__c": str(count) for n, count in enumerate(counts)}


class SelectionFilter(CountedFilter, ConditionFilter):
    """A filter of sessions: one of those that a selection keeps."""

    def conditions(self, request: HttpRequest) -> dict[str, tuple[str, Q]]:
        as_of, max_age_days = request_time(request), settings.RAPTOR_MAX_AGE_DAYS
        cutoff, limit = expiry_cutoff(as_of), in_days(max_age_days)
        choices = CHOICES[str(self.parameter_name)].items()
        return {
            value: (choice.label.format(limit=limit), choice.condition(as_of, cutoff))
            for value, choice in choices
        }


class ProblemFilter(SelectionFilter):
    title = "problem"
    parameter_name = "problem"


class ExpiredFilter(SelectionFilter):
    title = "expired"
    parameter_name = "expired"


class LastAccessedFilter(SelectionFilter):
    title = "last accessed"
    parameter_name = "accessed"


class BrowserTypeFilter(SelectionFilter):
    title = "browser type"
    parameter_name = "browser_type"


class PinnedFilter(SelectionFilter):
    title = "pinned"
    parameter_name = "pinned"


class NamespaceFilter(CountedFilter):
    """Any namespace works in the address; the first ones by name are offered."""

    title = "namespace"
    parameter_name = "namespace"

    def lookups(self, request: HttpRequest, model_admin: Any) -> _Choices:
        found = first_namespaces(hidden_from(request.user))
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
        removed = CleanupRun.objects.filter(removed_count__gt=0)
        runs = visible_runs(request.user, removed).values_list("pk", flat=True)
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


def first_namespaces(hidden: Collection[str] = ()) -> list[str]:
    """List the first namespaces by name: those of live sessions, and of directories that have none yet.

    Args:
        hidden: Those that are left out.

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
            [NAMESPACES_SHOWN + len(hidden)],
        )
        found = {row[0] for row in cursor.fetchall()}
    directories = SessionDirectory.objects.order_by().values_list("namespace", flat=True).distinct()
    found.update(directories[: NAMESPACES_SHOWN + len(hidden)])
    return sorted(found.difference(hidden))[:NAMESPACES_SHOWN]
