"""List filters of the archive. The list reads a bounded number of rows, so each filter is a row condition."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from django.contrib import admin
from django.db.models import F, Q, QuerySet, Value
from django.db.models.lookups import Exact
from django.http import HttpRequest

from sessions_app.access.visibility import visible, visible_runs
from sessions_app.admin.base import is_id
from sessions_app.admin.filters import ConditionFilter, DateFilter, PolicyChoices
from sessions_app.models import CleanupPolicy, CleanupRun
from sessions_app.session.criteria import REASONS

RUNS_READ = 200
"""Number of latest runs whose users the filter offers."""


class ArchiveFilter(admin.SimpleListFilter):
    def condition(self, request: HttpRequest) -> Q | None:
        """Return the condition for the value in the URL, or None if the URL has no valid value."""
        raise NotImplementedError

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        condition = self.condition(request)
        return queryset if condition is None else queryset.filter(condition)


class _Fixed(ConditionFilter, ArchiveFilter):
    def condition(self, request: HttpRequest) -> Q | None:
        value, conditions = self.value(), self.conditions(request)
        return conditions[value][1] if value in conditions else None


class ReasonFilter(_Fixed):
    title = "reason"
    parameter_name = "reason"

    def conditions(self, request: HttpRequest) -> dict[str, tuple[str, Q]]:
        return {
            code: (reason.sentence.rstrip("."), ~Q(Exact(F("reasons").bitand(reason.value), Value(0))))
            for code, reason in REASONS.items()
        }


class RemovedFilter(_Fixed, DateFilter):
    title = "removed"
    parameter_name = "removed"
    column = "removed_at"


class _RunsFilter(ArchiveFilter):
    """A filter by properties of the run that removed a session."""

    def runs(self, request: HttpRequest, value: str) -> QuerySet[CleanupRun]:
        raise NotImplementedError

    def condition(self, request: HttpRequest) -> Q | None:
        value = self.value()
        if value is None:
            return None
        runs = visible_runs(request.user, self.runs(request, value))
        return Q(run__in=runs.order_by().values("pk"))


class PolicyFilter(_RunsFilter, PolicyChoices):
    def runs(self, request: HttpRequest, value: str) -> QuerySet[CleanupRun]:
        if value == "none":
            return CleanupRun.objects.filter(policy=None)
        policies = visible(request.user, CleanupPolicy.objects.filter(pk=int(value) if is_id(value) else 0))
        return CleanupRun.objects.filter(policy__in=policies.order_by().values("pk"))


class UserFilter(_RunsFilter):
    """Accepts any user or program that started a run, and offers those of the latest runs."""

    title = "started by"
    parameter_name = "user"

    def lookups(self, request: HttpRequest, model_admin: Any) -> Iterable[tuple[Any, Any]]:
        removed = CleanupRun.objects.filter(removed_count__gt=0).exclude(actor="")
        latest = visible_runs(request.user, removed).values_list("actor", flat=True)[:RUNS_READ]
        chosen = [value] if (value := self.value()) else []
        return [(actor, actor) for actor in sorted({*latest, *chosen})]

    def runs(self, request: HttpRequest, value: str) -> QuerySet[CleanupRun]:
        return CleanupRun.objects.filter(actor=value)
