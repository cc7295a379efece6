"""The ledger of the changes of policies, to be read only."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.core.exceptions import FieldDoesNotExist

from sessions_app import policies
from sessions_app.admin import presentation
from sessions_app.admin.base import ReadOnlyAdmin
from sessions_app.models import CleanupPolicy, CleanupStep, PolicyChange


@admin.register(PolicyChange)
class PolicyChangeAdmin(ReadOnlyAdmin):
    list_display = ("when", "policy_name", "action", "by", "what")
    list_filter = (("policy_name", admin.AllValuesFieldListFilter), "action")
    allowed_lookups = frozenset({"policy_name", "policy_name__exact", "action__exact"})
    fields = ("when", "policy_name", "action", "by", "what")
    readonly_fields = fields
    show_full_result_count = False
    show_facets = admin.ShowFacets.NEVER
    list_per_page = presentation.ROWS_PER_PAGE

    class Media:
        css = {"all": ("sessions_app/policies.css",)}

    @admin.display(description="When", ordering="changed_at")
    def when(self, change: PolicyChange) -> str:
        return presentation.to_the_minute(change.changed_at)

    @admin.display(description="By", ordering="actor")
    def by(self, change: PolicyChange) -> str:
        return change.actor or presentation.NONE

    @admin.display(description="What")
    def what(self, change: PolicyChange) -> str:
        return presentation.sentences(what_changed(change))


def what_changed(change: PolicyChange) -> list[str]:
    """Say in a line each what a change made of a policy."""
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


def _value(value: Any) -> str:
    if isinstance(value, list):
        return "; ".join(str(CleanupStep(**step)) for step in value) or "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:g}"
    return f"{value:,}" if isinstance(value, int) else str(value or "none")
