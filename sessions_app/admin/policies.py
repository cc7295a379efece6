"""Cleanup policies: seen, changed, previewed and started; and the ledger of their changes."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db.models import OuterRef, QuerySet, Subquery
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import URLPattern, path, reverse
from django.utils.html import format_html
from django_q.tasks import async_task

from sessions_app import policies
from sessions_app.admin import presentation
from sessions_app.admin.base import RaptorAdmin, may_clean_up
from sessions_app.admin.policy_changes import what_changed
from sessions_app.admin.policy_form import PolicyForm, StepInline
from sessions_app.admin.sight import hidden_from, seen, seen_changes, seen_runs
from sessions_app.cleanup import why_busy
from sessions_app.commits import retry_when_busy
from sessions_app.models import BrowserSession, CleanupPolicy, CleanupRun, PolicyChange
from sessions_app.models.clock import database_now

LATEST_COUNT = 10
LOOKED_AT_FOR = timedelta(days=1)
"""What was seen longer ago is looked at again before it is run."""

_Action = PolicyChange.Action
_State = CleanupRun.State


@admin.register(CleanupPolicy)
class CleanupPolicyAdmin(RaptorAdmin):
    list_display = ("name", "description", "rhythm", "scope", "enabled", "next_run", "last_run", "waits")
    search_fields = ("name", "description", "namespace")
    show_full_result_count = False
    show_facets = admin.ShowFacets.NEVER
    form = PolicyForm
    inlines = (StepInline,)
    fieldsets = (
        ("What", {"fields": ("name", "description", "namespace")}),
        ("When", {"fields": ("schedule", "is_enabled")}),
        ("Only when", {"fields": ("over_count", "over_bytes")}),
        ("Brakes", {"fields": ("brake_count", "brake_percent")}),
    )

    class Media:
        css = {"all": ("sessions_app/policies.css",)}

    def get_urls(self) -> list[URLPattern]:
        run_now = self.admin_site.admin_view(self.run_now_view)
        return [
            path("<int:policy_id>/run/", run_now, name="sessions_app_cleanuppolicy_run"),
            *super().get_urls(),
        ]

    def get_queryset(self, request: HttpRequest) -> QuerySet[CleanupPolicy]:
        """Each policy with its last run and the plan that waits for a person, in the one query."""
        runs = seen_runs(request, CleanupRun.objects.filter(policy=OuterRef("pk")))
        last = runs.order_by("-due_at", "-step_position")
        annotated: QuerySet[CleanupPolicy] = seen(request, super().get_queryset(request)).annotate(
            last_run_id=Subquery(last.values("pk")[:1]),
            last_run_state=Subquery(last.values("state")[:1]),
            held_run_id=Subquery(runs.filter(state=_State.HELD).order_by("-pk").values("pk")[:1]),
        )
        return annotated

    def get_list_display(self, request: HttpRequest) -> list[Any]:
        """Leave out the runs for those who may not see the ledger of runs."""
        of_runs = () if _may_see_runs(request) else ("last_run", "waits")
        return [name for name in super().get_list_display(request) if name not in of_runs]

    # A policy removes sessions by itself: who makes one cleans up.
    def has_add_permission(self, request: HttpRequest) -> bool:
        return super().has_add_permission(request) and may_clean_up(request)

    def has_change_permission(self, request: HttpRequest, obj: CleanupPolicy | None = None) -> bool:
        may_change = super().has_change_permission(request, obj) and may_clean_up(request)
        return may_change and not _reaches_hidden(request, obj)

    def has_run_permission(self, request: HttpRequest, obj: CleanupPolicy) -> bool:
        may_run = self.has_view_permission(request) and may_clean_up(request)
        return may_run and not _reaches_hidden(request, obj)

    def has_delete_permission(self, request: HttpRequest, obj: CleanupPolicy | None = None) -> bool:
        """A policy with runs stays, for the ledger names it; it can be disabled."""
        if not (super().has_delete_permission(request, obj) and may_clean_up(request)):
            return False
        return obj is None or not (_reaches_hidden(request, obj) or obj.runs.exists())

    def get_form(self, request: HttpRequest, obj: Any = None, change: bool = False, **kwargs: Any) -> Any:
        form: Any = super().get_form(request, obj, change, **kwargs)
        form.hidden = hidden_from(request)
        return form

    @admin.display(description="When", ordering="schedule")
    def rhythm(self, policy: CleanupPolicy) -> str:
        if not policy.schedule:
            return "By hand"
        return format_html('<span title="{}">{}</span>', policy.schedule, policies.in_words(policy.schedule))

    @admin.display(description="Scope", ordering="namespace")
    def scope(self, policy: CleanupPolicy) -> str:
        return policy.namespace or "All"

    @admin.display(description="Enabled", ordering="is_enabled")
    def enabled(self, policy: CleanupPolicy) -> str:
        return (
            presentation.badge("good", "Enabled") if policy.is_enabled else presentation.badge("quiet", "Off")
        )

    @admin.display(description="Next run", ordering="next_run_at")
    def next_run(self, policy: CleanupPolicy) -> str:
        return presentation.to_the_minute(policy.next_run_at) if policy.next_run_at else presentation.NONE

    @admin.display(description="Last run")
    def last_run(self, policy: Any) -> str:
        if policy.last_run_id is None:
            return "Never"
        run = CleanupRun(pk=policy.last_run_id, state=policy.last_run_state)
        return format_html("{} {}", _link_to(run), presentation.state_badge(run))

    @admin.display(description="Held")
    def waits(self, policy: Any) -> str:
        if policy.held_run_id is None:
            return presentation.NONE
        badge = presentation.badge("stale", "Waits for a person")
        return format_html('<a href="{}">{}</a>', _address_of_run(policy.held_run_id), badge)

    def render_change_form(
        self,
        request: HttpRequest,
        context: dict[str, Any],
        add: bool = False,
        change: bool = False,
        form_url: str = "",
        obj: CleanupPolicy | None = None,
    ) -> HttpResponse:
        """Show below the form what the policy would take and has taken; a save shows no page."""
        if change and obj is not None:
            context.update(self._below(request, obj))
        return super().render_change_form(request, context, add, change, form_url, obj)

    def _below(self, request: HttpRequest, obj: CleanupPolicy) -> dict[str, Any]:
        # A form with a mistake has written on the object: what holds is in the database.
        policy: Any = obj if request.method == "GET" else self.get_queryset(request).get(pk=obj.pk)
        below: dict[str, Any] = {
            "reaches_hidden": _reaches_hidden(request, policy),
            "can_run": self.has_run_permission(request, policy),
            "has_runs": policy.last_run_id is not None,
            "may_see_runs": _may_see_runs(request),
            "may_see_changes": request.user.has_perm("sessions_app.view_policychange"),
        }
        if not below["reaches_hidden"]:
            below["preview"] = policies.preview(policy, is_by_hand=not policy.schedule)
        if below["may_see_runs"]:
            runs = seen_runs(request, policy.runs.all()).order_by("-due_at", "-step_position")[:LATEST_COUNT]
            below["runs"] = [(_link_to(run), presentation.state_badge(run), run) for run in runs]
        if below["may_see_changes"]:
            changes = seen_changes(request, policy.changes.all())[:LATEST_COUNT]
            below["changes"] = [(change, what_changed(change)) for change in changes]
        return below

    def save_model(self, request: HttpRequest, obj: CleanupPolicy, form: Any, change: bool) -> None:
        form.snapshot = policies.snapshot_of(CleanupPolicy.objects.get(pk=obj.pk)) if change else None
        if not change or {"schedule", "is_enabled"}.intersection(form.changed_data):
            obj.next_run_at = policies.next_run(obj, after=database_now())
        super().save_model(request, obj, form, change)

    def save_related(self, request: HttpRequest, form: Any, formsets: Any, change: bool) -> None:
        super().save_related(request, form, formsets, change)
        policy, before = form.instance, form.snapshot
        after = policies.snapshot_of(policy)
        if before != after:
            action = _Action.CHANGED if change else _Action.ADDED
            policies.record_change(policy, action, request.user.get_username(), before, after)
        if policy.namespace and not BrowserSession.objects.filter(namespace=policy.namespace).exists():
            told = f"No session is in the namespace {policy.namespace} yet."
            self.message_user(request, told, messages.WARNING)

    def delete_model(self, request: HttpRequest, obj: CleanupPolicy) -> None:
        before = policies.snapshot_of(obj)
        super().delete_model(request, obj)
        policies.record_change(obj, _Action.DELETED, request.user.get_username(), before, None)

    def run_now_view(self, request: HttpRequest, policy_id: int) -> HttpResponse:
        """Show what a sweep would take now; on POST, let the worker take it."""
        policy = self.get_queryset(request).filter(pk=policy_id).first()
        if not may_clean_up(request) or (policy and not self.has_run_permission(request, policy)):
            raise PermissionDenied
        if policy is None:
            raise Http404("There is no such policy.")
        if request.method == "POST":
            return self._start(request, policy)
        context = {
            "policy": policy,
            "preview": policies.preview(policy, is_by_hand=True),
            "fingerprint": policies.fingerprint_of(policy),
            "due_at": database_now().isoformat(),
        }
        return self.page(request, "cleanuppolicy/run.html", f"Run “{policy}” now?", context)

    def _start(self, request: HttpRequest, policy: CleanupPolicy) -> HttpResponse:
        now, due_at = database_now(), _instant(request.POST.get("due_at", ""))
        told, level = "", messages.WARNING
        if due_at is None or not now - LOOKED_AT_FOR <= due_at <= now:
            told = "That page is over a day old: look at it again."
        elif request.POST.get("policy") != policies.fingerprint_of(policy):
            told = "The policy was changed meanwhile: look at it again."
        if told or due_at is None:
            self.message_user(request, told, level)
            return HttpResponseRedirect(reverse("admin:sessions_app_cleanuppolicy_run", args=[policy.pk]))
        told = why_busy(policy)
        if not told:
            # Sent twice, it names the same sweep: the second task finds nothing to do.
            actor = request.user.get_username()
            arguments = (policy.pk, due_at.isoformat(), "admin", actor)
            retry_when_busy(lambda: async_task("sessions_app.tasks.sweep", *arguments))
            told = (
                f"“{policy}” is on its way in the worker. Its runs show on this page once they have started."
            )
            level = messages.SUCCESS
        self.message_user(request, told, level)
        return HttpResponseRedirect(reverse("admin:sessions_app_cleanuppolicy_change", args=[policy.pk]))


def _reaches_hidden(request: HttpRequest, policy: CleanupPolicy | None) -> bool:
    """Whether a policy is one of all namespaces, of which the user does not see some."""
    return policy is not None and policy.namespace == "" and bool(hidden_from(request))


def _may_see_runs(request: HttpRequest) -> bool:
    return request.user.has_perm("sessions_app.view_cleanuprun")


def _instant(text: str) -> datetime | None:
    """Read an instant from a form; None where it is none."""
    try:
        instant = datetime.fromisoformat(text)
    except ValueError:
        return None
    return instant if instant.tzinfo else None


def _address_of_run(run_id: int) -> str:
    return reverse("admin:sessions_app_cleanuprun_change", args=[run_id])


def _link_to(run: CleanupRun) -> str:
    return format_html('<a href="{}">Run {}</a>', _address_of_run(run.pk), run.pk)
