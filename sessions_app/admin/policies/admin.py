"""The screens of cleanup policies: list, form, preview and manual start."""

from __future__ import annotations

from datetime import datetime, timedelta
from functools import partial
from typing import Any

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db.models import OuterRef, QuerySet, Subquery, prefetch_related_objects
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import URLPattern, path, reverse
from django.views.decorators.http import require_POST

from sessions_app import policies
from sessions_app.access.permissions import may_clean_up, may_close_browsers, may_run
from sessions_app.access.visibility import conceal, hidden_from, visible, visible_changes, visible_runs
from sessions_app.admin import badges, formatting
from sessions_app.admin.base import RaptorAdmin, show_queued
from sessions_app.admin.filters import first_namespaces
from sessions_app.admin.policies.changes import describe_change
from sessions_app.admin.policies.columns import PolicyColumns, run_link
from sessions_app.admin.policies.form import PolicyForm, ProtectionInline, StepInline
from sessions_app.admin.policies.live import preview_view, schedule_in_words, schedule_view
from sessions_app.cleanup import busy_reason
from sessions_app.models import BrowserSession, CleanupPolicy, CleanupRun, CleanupStep, PolicyChange
from sessions_app.models.clock import database_now
from sessions_app.queue.enqueue import Task
from sessions_app.queue.outbox import enqueue

LATEST_COUNT = 10
SCHEDULE_FIELDS = frozenset({"frequency", "weekday", "month_day", "at", "schedule", "is_enabled"})
PREVIEW_LIFETIME = timedelta(days=1)
"""Age up to which a preview can be run."""

_Action = PolicyChange.Action
_State = CleanupRun.State


@admin.register(CleanupPolicy)
class CleanupPolicyAdmin(PolicyColumns, RaptorAdmin):
    list_display = ("title", "when", "scope", "enabled", "next_run", "last_run", "run_now")
    list_display_links = ("title",)
    search_fields = ("name", "description", "namespace")
    show_full_result_count = False
    show_facets = admin.ShowFacets.NEVER
    form = PolicyForm
    inlines = (StepInline, ProtectionInline)
    fieldsets = (
        ("Policy", {"fields": ("name", "description", "namespace")}),
        ("Schedule", {"fields": ("frequency", "weekday", "month_day", "at", "schedule", "is_enabled")}),
        ("Conditions", {"fields": ("over_count", "over_bytes")}),
        ("Safety limits", {"fields": ("brake_count", "brake_percent")}),
        ("Browsers", {"fields": ("closes_browsers",)}),
    )

    class Media:
        css = {"all": ("sessions_app/policies.css",)}

    def get_urls(self) -> list[URLPattern]:
        views: dict[str, tuple[str, Any]] = {
            "run": ("<int:policy_id>/run/", self.run_now_view),
            "enable": ("<int:policy_id>/enable/", require_POST(self.enable_view)),
            "schedule": ("schedule/", partial(schedule_view, self)),
            "preview_new": ("preview/", require_POST(partial(preview_view, self))),
            "preview": ("<int:policy_id>/preview/", require_POST(partial(preview_view, self))),
        }
        return [
            *(
                path(route, self.admin_site.admin_view(view), name=f"sessions_app_cleanuppolicy_{name}")
                for name, (route, view) in views.items()
            ),
            *super().get_urls(),
        ]

    def get_fieldsets(self, request: HttpRequest, obj: Any = None) -> Any:
        """Show the schedule instead of its form fields to users who cannot change the policy."""
        if self.has_change_permission(request, obj) if obj else self.has_add_permission(request):
            return super().get_fieldsets(request, obj)
        shown = ("Schedule", {"fields": ("schedule", "is_enabled")})
        return [shown if heading == "Schedule" else (heading, rows) for heading, rows in self.fieldsets]

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        fields = super().get_readonly_fields(request, obj)
        return fields if may_close_browsers(request.user) else (*fields, "closes_browsers")

    def get_queryset(self, request: HttpRequest) -> QuerySet[CleanupPolicy]:
        """Add the last run and the plan that needs approval to each policy, in one query."""
        runs = visible_runs(request.user, CleanupRun.objects.filter(policy=OuterRef("pk")))
        last = runs.order_by("-due_at", "-step_position")
        annotated: QuerySet[CleanupPolicy] = visible(request.user, super().get_queryset(request)).annotate(
            last_run_id=Subquery(last.values("pk")[:1]),
            last_run_state=Subquery(last.values("state")[:1]),
            held_run_id=Subquery(runs.filter(state=_State.HELD).order_by("-pk").values("pk")[:1]),
        )
        return annotated

    def get_list_display(self, request: HttpRequest) -> list[Any]:
        """Leave out the columns about runs for users who cannot view runs."""
        run_columns = () if _may_see_runs(request) else ("last_run",)
        return [name for name in super().get_list_display(request) if name not in run_columns]

    def get_changelist_instance(self, request: HttpRequest) -> Any:
        """Annotate each policy of the list with what the user may do with it."""
        changelist = super().get_changelist_instance(request)
        prefetch_related_objects(changelist.result_list, "steps")
        for policy in changelist.result_list:
            policy.may_change = self.has_change_permission(request, policy)
            policy.may_run = self.has_run_permission(request, policy)
        return changelist

    # A policy removes sessions, so adding or changing one also requires permission for its actions.
    def has_add_permission(self, request: HttpRequest) -> bool:
        return super().has_add_permission(request) and may_clean_up(request.user)

    def has_change_permission(self, request: HttpRequest, obj: CleanupPolicy | None = None) -> bool:
        may_change = super().has_change_permission(request, obj) and may_clean_up(request.user)
        return may_change and (obj is None or _may_use(request, obj))

    def has_run_permission(self, request: HttpRequest, obj: CleanupPolicy) -> bool:
        return self.has_view_permission(request) and _may_use(request, obj)

    def has_delete_permission(self, request: HttpRequest, obj: CleanupPolicy | None = None) -> bool:
        """Refuse to delete a policy with runs, which refer to it; it can be disabled instead."""
        if not (super().has_delete_permission(request, obj) and may_clean_up(request.user)):
            return False
        return obj is None or (_may_use(request, obj) and not obj.runs.exists())

    def get_form(self, request: HttpRequest, obj: Any = None, change: bool = False, **kwargs: Any) -> Any:
        form: Any = super().get_form(request, obj, change, **kwargs)
        form.hidden = hidden_from(request.user)
        return form

    def render_change_form(
        self,
        request: HttpRequest,
        context: dict[str, Any],
        add: bool = False,
        change: bool = False,
        form_url: str = "",
        obj: CleanupPolicy | None = None,
    ) -> HttpResponse:
        """Show below the form what the policy would remove and has removed."""
        context["namespaces"] = first_namespaces(hidden_from(request.user))
        context["schedule_in_words"] = schedule_in_words(obj.schedule if obj else "")
        if change and obj is not None:
            context.update(self._below(request, obj))
        return super().render_change_form(request, context, add, change, form_url, obj)

    def _below(self, request: HttpRequest, obj: CleanupPolicy) -> dict[str, Any]:
        # An invalid form has changed the object, so read the stored policy again.
        policy: Any = obj if request.method == "GET" else self.get_queryset(request).get(pk=obj.pk)
        below: dict[str, Any] = {
            "reaches_hidden": _reaches_hidden(request, policy),
            "can_run": self.has_run_permission(request, policy),
            "has_runs": policy.last_run_id is not None,
            "may_see_runs": _may_see_runs(request),
            "may_see_changes": request.user.has_perm("sessions_app.view_policychange"),
        }
        if not below["reaches_hidden"]:
            below["preview"] = policies.preview(policy, is_manual=not policy.schedule)
        if below["may_see_runs"]:
            runs = visible_runs(request.user, policy.runs.all()).order_by("-due_at", "-step_position")[
                :LATEST_COUNT
            ]
            below["runs"] = [
                (
                    run_link(run),
                    badges.state_badge(run),
                    run,
                    formatting.removed_of_matched(run),
                    formatting.freed(run),
                )
                for run in (conceal(request.user, run) for run in runs)
            ]
        if below["may_see_changes"]:
            changes = visible_changes(request.user, policy.changes.all())[:LATEST_COUNT]
            below["changes"] = [(change, describe_change(change)) for change in changes]
        return below

    def save_model(self, request: HttpRequest, obj: CleanupPolicy, form: Any, change: bool) -> None:
        form.snapshot = policies.snapshot_of(CleanupPolicy.objects.get(pk=obj.pk)) if change else None
        if not change or SCHEDULE_FIELDS.intersection(form.changed_data):
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
            message = f"The namespace {policy.namespace} has no sessions."
            self.message_user(request, message, messages.WARNING)

    def delete_model(self, request: HttpRequest, obj: CleanupPolicy) -> None:
        before = policies.snapshot_of(obj)
        super().delete_model(request, obj)
        policies.record_change(obj, _Action.DELETED, request.user.get_username(), before, None)

    def enable_view(self, request: HttpRequest, policy_id: int) -> HttpResponse:
        """Enable or disable the schedule of a policy, from the list."""
        policy = self.get_queryset(request).filter(pk=policy_id).first()
        if policy is None:
            raise Http404("This policy does not exist.")
        if not self.has_change_permission(request, policy):
            raise PermissionDenied
        before = policies.snapshot_of(policy)
        policy.is_enabled = request.POST.get("enable") == "1"
        if policy.is_enabled and not policy.schedule:
            self.message_user(request, f"“{policy}” has no schedule. Add one first.", messages.WARNING)
        elif before["is_enabled"] != policy.is_enabled:
            policy.next_run_at = policies.next_run(policy, after=database_now())
            policy.save(update_fields=["is_enabled", "next_run_at"])
            after = policies.snapshot_of(policy)
            policies.record_change(policy, _Action.CHANGED, request.user.get_username(), before, after)
            state = "enabled" if policy.is_enabled else "disabled"
            when = f" {schedule_in_words(policy.schedule)}" if policy.is_enabled else ""
            self.message_user(request, f"“{policy}” is {state}.{when}", messages.SUCCESS)
        return HttpResponseRedirect(reverse("admin:sessions_app_cleanuppolicy_changelist"))

    def run_now_view(self, request: HttpRequest, policy_id: int) -> HttpResponse:
        """Show what a sweep would remove now; on POST, queue it for the worker."""
        policy = self.get_queryset(request).filter(pk=policy_id).first()
        if not may_clean_up(request.user) or (policy and not self.has_run_permission(request, policy)):
            raise PermissionDenied
        if policy is None:
            raise Http404("This policy does not exist.")
        if request.method == "POST":
            return self._start(request, policy)
        context = {
            "policy": policy,
            "preview": policies.preview(policy, is_manual=True),
            "fingerprint": policies.fingerprint_of(policy),
            "due_at": database_now().isoformat(),
        }
        return self.page(request, "cleanuppolicy/run.html", f"Run “{policy}” now?", context)

    def _start(self, request: HttpRequest, policy: CleanupPolicy) -> HttpResponse:
        now, due_at = database_now(), _instant(request.POST.get("due_at", ""))
        message = ""
        if due_at is None or due_at > now:
            message = "The form was incomplete or changed, so nothing was started. Check the preview again."
        elif due_at < now - PREVIEW_LIFETIME:
            message = "This preview is over a day old. Check the new one."
        elif request.POST.get("policy") != policies.fingerprint_of(policy):
            message = "The policy was changed in the meantime. Check the new preview."
        if message or due_at is None:
            self.message_user(request, message, messages.WARNING)
            return HttpResponseRedirect(reverse("admin:sessions_app_cleanuppolicy_run", args=[policy.pk]))
        message = busy_reason(policy)
        if not message:
            # A form that is sent twice identifies the same sweep, so the second task finds nothing to do.
            actor = request.user.get_username()
            enqueue(Task.SWEEP, policy.pk, due_at.isoformat(), "admin", actor)
            message = f"“{policy}” was queued for the worker. Its runs appear on this page once they start."
            show_queued(request, message)
        else:
            self.message_user(request, message, messages.WARNING)
        return HttpResponseRedirect(reverse("admin:sessions_app_cleanuppolicy_change", args=[policy.pk]))


def _reaches_hidden(request: HttpRequest, policy: CleanupPolicy) -> bool:
    """Check whether a policy over all namespaces includes some that are hidden from the user."""
    return policy.namespace == "" and bool(hidden_from(request.user))


def _may_use(request: HttpRequest, policy: CleanupPolicy) -> bool:
    """Check whether the user may do everything that the policy does, in all its namespaces."""
    covers_all = any(step.criterion == CleanupStep.Criterion.ALL for step in policy.steps.all())
    may = may_run(request.user, covers_all=covers_all, closes_browsers=policy.closes_browsers)
    return may and not _reaches_hidden(request, policy)


def _may_see_runs(request: HttpRequest) -> bool:
    return request.user.has_perm("sessions_app.view_cleanuprun")


def _instant(text: str) -> datetime | None:
    """Parse an instant from a form; return None if it is invalid."""
    try:
        instant = datetime.fromisoformat(text)
    except ValueError:
        return None
    return instant if instant.tzinfo else None
