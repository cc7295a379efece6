"""The live preview of the policy form: when the policy would run, and what it would remove."""

from __future__ import annotations

from typing import Any

from cronsim import CronSimError
from django import forms
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from django.template.response import TemplateResponse
from django.utils import timezone
from django.utils.formats import date_format

from sessions_app import policies
from sessions_app.admin import formatting
from sessions_app.admin.base import RaptorAdmin
from sessions_app.admin.policies.fields import ScheduleFields
from sessions_app.models import CleanupPolicy
from sessions_app.models.clock import database_now
from sessions_app.policies.presets import next_instants
from sessions_app.queue.schedules import describe_cron

UNCHECKED = frozenset({"name", "description"})
"""Fields that do not affect which sessions a policy removes."""


class _ScheduleForm(ScheduleFields):
    schedule = forms.CharField(required=False)


def schedule_view(screen: RaptorAdmin, request: HttpRequest) -> JsonResponse:
    """Return a schedule in words with its next three instants, or why it is invalid."""
    if not (screen.has_add_permission(request) or screen.has_change_permission(request)):
        raise PermissionDenied
    form = _ScheduleForm(request.GET)
    if not form.is_valid():
        message = " ".join(str(error) for errors in form.errors.values() for error in errors)
        return JsonResponse({"error": message})
    return JsonResponse({"text": schedule_in_words(form.cleaned_data["schedule"])})


def schedule_in_words(cron: str) -> str:
    """Describe a schedule with its next instants, as in “At 02:00. Next: Friday 27 November, 02:00 …”."""
    if not cron:
        return "The policy runs only when a user starts it."
    now = database_now()
    try:
        found = next_instants(cron, after=now)
    except CronSimError:
        return "This schedule is invalid."
    zone = timezone.get_default_timezone()
    local = [instant.astimezone(zone) for instant in found]
    days = [f"{date_format(at, 'l j F')}, {at:%H:%M}" for at in local]
    first = formatting.duration(found[0] - now) if found else ""
    return f"{describe_cron(cron)}. Next: {'; '.join(days)} ({zone}). First run in {first}."


def preview_view(screen: Any, request: HttpRequest, policy_id: int | None = None) -> HttpResponse:
    """Show the sessions that the policy of an unsaved form would remove. Stores nothing."""
    policy = None
    if policy_id is not None:
        policy = screen.get_queryset(request).filter(pk=policy_id).first()
        if policy is None:
            raise Http404("This policy does not exist.")
    allowed = screen.has_change_permission(request, policy) if policy else screen.has_add_permission(request)
    if not allowed:
        raise PermissionDenied
    form = screen.get_form(request, policy, change=policy is not None)(
        request.POST, instance=policy or CleanupPolicy()
    )
    formsets, _ = screen._create_formsets(request, form.instance, change=policy is not None)
    is_complete = not set(form.errors) - UNCHECKED and _are_valid(formsets)
    context: dict[str, Any] = {"policy": form.instance, "is_complete": is_complete}
    if is_complete:
        steps, rules = formsets
        kept = [
            rule.instance
            for rule in rules.forms
            if rule.cleaned_data.get("pattern") and not rule.cleaned_data.get("DELETE")
        ]
        context["preview"] = policies.preview_unsaved(form.instance, steps.remaining(), kept)
        context["sees_sessions"] = request.user.has_perm("sessions_app.view_browsersession")
    return TemplateResponse(request, "admin/sessions_app/cleanuppolicy/live_preview.html", context)


def _are_valid(formsets: list[Any]) -> bool:
    # Validate every form, because the preview reads the cleaned data of each.
    found = [formset.is_valid() for formset in formsets]
    return all(found)
