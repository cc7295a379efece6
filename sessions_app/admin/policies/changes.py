"""The screen of the change log of policies, which is read-only."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

from django.contrib import admin
from django.core.exceptions import FieldDoesNotExist
from django.db.models import QuerySet
from django.http import HttpRequest, StreamingHttpResponse
from django.urls import URLPattern, path
from django.utils import timezone

from sessions_app import policies
from sessions_app.access.visibility import visible_changes
from sessions_app.admin import formatting
from sessions_app.admin.base import ReadOnlyAdmin
from sessions_app.admin.filters import DateFilter
from sessions_app.admin.streaming import csv_file, filtered_rows, iterate_by_id, json_file
from sessions_app.models import CleanupPolicy, CleanupStep, PolicyChange, PolicyProtection

COLUMNS = ("change", "changed_at", "policy", "action", "actor", "what", "before", "after")


class ChangedFilter(DateFilter):
    parameter_name = "changed"
    column = "changed_at"


@admin.register(PolicyChange)
class PolicyChangeAdmin(ReadOnlyAdmin):
    list_display = ("when", "policy_name", "action", "by", "what")
    list_filter = (
        ("policy_name", admin.AllValuesFieldListFilter),
        "action",
        ("actor", admin.AllValuesFieldListFilter),
        ChangedFilter,
    )
    allowed_lookups = frozenset({"policy_name", "policy_name__exact", "action__exact", "actor"})
    change_list_template = "admin/sessions_app/ledger.html"
    fields = ("when", "policy_name", "action", "by", "what")
    readonly_fields = fields
    show_full_result_count = False
    show_facets = admin.ShowFacets.NEVER
    list_per_page = formatting.ROWS_PER_PAGE

    class Media:
        css = {"all": ("sessions_app/policies.css",)}

    def get_urls(self) -> list[URLPattern]:
        views: dict[str, Callable[[HttpRequest], StreamingHttpResponse]] = {
            "csv": self.export_csv,
            "json": self.export_json,
        }
        return [
            *(
                path(
                    f"export.{kind}",
                    self.admin_site.admin_view(view),
                    name=f"sessions_app_policychange_export_{kind}",
                )
                for kind, view in views.items()
            ),
            *super().get_urls(),
        ]

    def get_queryset(self, request: HttpRequest) -> QuerySet[PolicyChange]:
        return visible_changes(request.user, super().get_queryset(request))

    def export_csv(self, request: HttpRequest) -> StreamingHttpResponse:
        return csv_file(_file_name(request), COLUMNS, map(_flat, self._records(request)))

    def export_json(self, request: HttpRequest) -> StreamingHttpResponse:
        head = {"as_of": formatting.request_time(request).isoformat()}
        return json_file(_file_name(request), head, "changes", self._records(request))

    def _records(self, request: HttpRequest) -> Iterator[dict[str, Any]]:
        """Return the changes that match the filters of the list, newest first."""
        return map(_record, iterate_by_id(filtered_rows(self, request), is_newest_first=True))

    @admin.display(description="When", ordering="changed_at")
    def when(self, change: PolicyChange) -> str:
        return formatting.moment(change.changed_at)

    @admin.display(description="By", ordering="actor")
    def by(self, change: PolicyChange) -> str:
        return change.actor or formatting.NONE

    @admin.display(description="What")
    def what(self, change: PolicyChange) -> str:
        return formatting.sentences(describe_change(change))


def _record(change: PolicyChange) -> dict[str, Any]:
    return {
        "change": change.pk,
        "changed_at": change.changed_at.isoformat(),
        "policy": change.policy_name,
        "action": change.action,
        "actor": change.actor,
        "what": describe_change(change),
        "before": change.before_json,
        "after": change.after_json,
    }


def _flat(record: dict[str, Any]) -> dict[str, Any]:
    """Return a record for CSV, with the changes in one cell and each policy as JSON in one cell."""
    snapshots = {name: record[name] and json.dumps(record[name]) for name in ("before", "after")}
    return {**record, "what": "; ".join(record["what"]), **snapshots}


def _file_name(request: HttpRequest) -> str:
    return f"raptor-policy-changes-{timezone.localtime(formatting.request_time(request)):%Y-%m-%d}"


def describe_change(change: PolicyChange) -> list[str]:
    """Describe a change of a policy, in one line for each field."""
    found = policies.differences(change.before_json, change.after_json)
    lines = []
    for name, before, after in found:
        if change.before_json is None or change.after_json is None:
            value = after if change.before_json is None else before
            if value not in (None, "", False, []):
                lines.append(f"{_label(name)}: {_value(value)}")
        else:
            lines.append(f"{_label(name)}: {_value(before)} → {_value(after)}")
    return lines


def _label(name: str) -> str:
    try:
        label = str(getattr(CleanupPolicy._meta.get_field(name), "verbose_name", name))
    except FieldDoesNotExist:
        label = name
    return label[:1].upper() + label[1:]


def _listed(row: dict[str, Any]) -> str:
    """Describe a step or a protection rule."""
    return str(CleanupStep(**row) if "criterion" in row else PolicyProtection(**row))


def _value(value: Any) -> str:
    if isinstance(value, list):
        return "; ".join(map(_listed, value)) or "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:g}"
    return f"{value:,}" if isinstance(value, int) else str(value or "none")
