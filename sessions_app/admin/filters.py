"""List filters for sessions. Each is a range or an equality, so that they combine and use an index."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from datetime import timedelta
from typing import Any

from django.conf import settings
from django.contrib import admin
from django.db import connection
from django.db.models import Q, QuerySet
from django.http import HttpRequest

from sessions_app.access.visibility import hidden_from, visible, visible_runs
from sessions_app.admin.base import is_id
from sessions_app.admin.formatting import expiry_cutoff, request_time
from sessions_app.models import BrowserSession, CleanupPolicy, CleanupRun, SessionDirectory
from sessions_app.session.selection import CHOICES, midnight_before
from sessions_app.text import in_days

NAMESPACES_SHOWN = 50
POLICIES_SHOWN = 50
RUNS_SHOWN = 20
_Choices = Iterable[tuple[Any, Any]]


class ConditionFilter(admin.SimpleListFilter):
    """A filter with one condition for each of its values in the URL."""

    def conditions(self, request: HttpRequest) -> dict[str, tuple[str, Q]]:
        """Return the label and the condition of each value."""
        raise NotImplementedError

    def lookups(self, request: HttpRequest, model_admin: Any) -> _Choices:
        return [(value, label) for value, (label, _) in self.conditions(request).items()]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        conditions = self.conditions(request)
        value = self.value()
        return queryset.filter(conditions[value][1]) if value in conditions else queryset


class DateFilter(ConditionFilter):
    """A filter by recent days of a datetime column."""

    title = "date"
    column = ""

    def conditions(self, request: HttpRequest) -> dict[str, tuple[str, Q]]:
        as_of = request_time(request)
        choices = {"today": ("Today", midnight_before(as_of))}
        choices |= {str(days): (f"Last {days} days", as_of - timedelta(days=days)) for days in (7, 30)}
        return {key: (label, Q((f"{self.column}__gte", since))) for key, (label, since) in choices.items()}


class CountedFilter(admin.SimpleListFilter):
    """A filter with bounded facet counts; Django's own read the whole table."""

    is_counted = True

    def get_facet_queryset(self, changelist: Any) -> dict[str, Any]:
        # Django prints these values in parentheses, so they may be texts such as “1,000+”.
        counts = [
            changelist.count_of(self.request, self.parameter_name, key) for key, _ in self.lookup_choices
        ]
        return {f"{n}__c": str(count) for n, count in enumerate(counts)}


class SelectionFilter(CountedFilter, ConditionFilter):
    """A filter of sessions that a saved selection can hold."""

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


class BrowserFilter(SelectionFilter):
    """Shows no counts: no index contains the endpoints, so each count would read up to a thousand rows."""

    title = "browser"
    parameter_name = "browser"
    is_counted = False

    def choices(self, changelist: Any) -> Any:
        has_counts, changelist.add_facets = changelist.add_facets, False
        try:
            return list(super().choices(changelist))
        finally:
            changelist.add_facets = has_counts


class PinnedFilter(SelectionFilter):
    title = "pinned"
    parameter_name = "pinned"


class NamespaceFilter(CountedFilter):
    """Accepts any namespace in the URL; offers the first ones by name."""

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
    """Accepts any run in the URL; offers the latest that removed something."""

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


class PolicyChoices(admin.SimpleListFilter):
    """Accepts any policy in the URL; offers the first ones by name."""

    title = "policy"
    parameter_name = "policy"

    def lookups(self, request: HttpRequest, model_admin: Any) -> _Choices:
        policies = visible(request.user, CleanupPolicy.objects.order_by("name", "pk")).values_list(
            "pk", "name"
        )
        found = list(policies[:POLICIES_SHOWN])
        if is_id(chosen := self.value() or "") and int(chosen) not in dict(found):
            found += policies.filter(pk=int(chosen))
        return [("none", "None"), *((str(pk), name) for pk, name in found)]


def first_namespaces(hidden: Collection[str] = ()) -> list[str]:
    """Return the first namespaces by name, of live sessions and of directories.

    Each step of the recursive query is one lookup in the unique index on namespace and name; SELECT DISTINCT
    would read the whole index.

    Args:
        hidden: Namespaces to leave out.
    """
    name = connection.ops.quote_name(BrowserSession._meta.db_table)
    with connection.cursor() as cursor:
        cursor.execute(
            f"WITH RECURSIVE found(namespace) AS (SELECT MIN(namespace) FROM {name} "  # noqa: S608
            "WHERE run_id IS NULL UNION ALL "
            f"SELECT (SELECT MIN(namespace) FROM {name} AS other "
            "WHERE other.run_id IS NULL AND other.namespace > found.namespace) "
            "FROM found WHERE found.namespace IS NOT NULL) "
            "SELECT namespace FROM found WHERE namespace IS NOT NULL LIMIT %s",
            [NAMESPACES_SHOWN + len(hidden)],
        )
        found = {row[0] for row in cursor.fetchall()}
    directories = SessionDirectory.objects.order_by().values_list("namespace", flat=True).distinct()
    found.update(directories[: NAMESPACES_SHOWN + len(hidden)])
    return sorted(found.difference(hidden))[:NAMESPACES_SHOWN]
