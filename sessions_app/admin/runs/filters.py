"""List filters for cleanup runs."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from django.contrib import admin
from django.db.models import Q, QuerySet
from django.http import HttpRequest

from sessions_app.access.visibility import hidden_from
from sessions_app.admin.base import is_id
from sessions_app.admin.filters import ConditionFilter, DateFilter, PolicyChoices, first_namespaces
from sessions_app.cleanup import is_preview
from sessions_app.models import CleanupRun

_State = CleanupRun.State


class OutcomeFilter(ConditionFilter):
    title = "outcome"
    parameter_name = "outcome"

    def conditions(self, request: HttpRequest) -> dict[str, tuple[str, Q]]:
        return {
            "waits": ("Needs approval", Q(state=_State.HELD)),
            "removed": ("Removed something", Q(removed_count__gt=0)),
            "nothing": ("Found nothing to remove", Q(state=_State.SUCCEEDED, removed_count=0)),
            "skipped": ("Skipped some", Q(skipped_count__gt=0)),
            "previews": ("Previews (not run)", is_preview()),
            "stopped": ("Stopped early", Q(state__in=(_State.INTERRUPTED, _State.FAILED))),
        }


class PlannedFilter(DateFilter):
    parameter_name = "planned"
    column = "planned_at"


class RuleFilter(ConditionFilter):
    """A filter by criteria; a run may have several."""

    title = "rule"
    parameter_name = "rule"

    def conditions(self, request: HttpRequest) -> dict[str, tuple[str, Q]]:
        has_vanished = Q(criteria_json__has_vanished=True)
        is_selection = Q(criteria_json__session_ids__0__isnull=False) | Q(criteria_json__has_key="selection")
        return {
            "expired": ("Expired", Q(criteria_json__expired=True)),
            "invalid": ("Invalid", Q(criteria_json__invalid=True)),
            "all": ("All sessions", Q(criteria_json__all=True)),
            "selected": ("Selected", is_selection & ~has_vanished),
            "vanished": ("Files gone", has_vanished),
        }


class ScopeFilter(admin.SimpleListFilter):
    """Accepts any namespace in the URL; a blank one stands for runs over all namespaces."""

    title = "namespace"
    parameter_name = "namespace"

    def lookups(self, request: HttpRequest, model_admin: Any) -> Iterable[tuple[Any, Any]]:
        # Offer namespaces of live sessions only to users who may view sessions.
        hidden = hidden_from(request.user)
        found = first_namespaces(hidden) if request.user.has_perm("sessions_app.view_browsersession") else []
        chosen = self.value()
        names = [*found, chosen] if chosen and chosen not in found else found
        return [("", "All namespaces"), *((name, name) for name in names)]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        value = self.value()
        return queryset if value is None else queryset.filter(criteria_json__namespace=value)


class PolicyFilter(PolicyChoices):
    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        value = self.value()
        if value is None:
            return queryset
        if value == "none":
            return queryset.filter(policy=None)
        return queryset.filter(policy=int(value)) if is_id(value) else queryset.none()
