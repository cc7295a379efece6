"""Screens of alert rules, targets, alerts and their messages."""

from __future__ import annotations

from typing import Any

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db.models import Q, QuerySet
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import URLPattern, path, reverse
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django.views.decorators.http import require_POST

from sessions_app.access.visibility import hidden_from
from sessions_app.admin import badges, formatting
from sessions_app.admin.alerts.form import AlertRuleForm, AlertTargetForm, shown_address
from sessions_app.admin.base import RaptorAdmin, ReadOnlyAdmin
from sessions_app.admin.filters import ConditionFilter
from sessions_app.alerts.delivery import send_test
from sessions_app.models import Alert, AlertDelivery, AlertRule, AlertTarget
from sessions_app.models.clock import database_now

DELIVERIES_SHOWN = 50


class _Deletable(RaptorAdmin):
    """A screen whose objects can be deleted with their log, for which nobody has a delete permission."""

    def get_deleted_objects(self, objs: Any, request: HttpRequest) -> tuple[list[Any], Any, Any, Any]:
        """List only the objects themselves, and require no permission to delete related ones."""
        names = [str(found) for found in objs]
        return names, {self.opts.verbose_name_plural: len(names)}, set(), []


@admin.register(AlertTarget)
class AlertTargetAdmin(_Deletable):
    form = AlertTargetForm
    change_form_template = "admin/sessions_app/alerttarget/change_form.html"
    list_display = ("name", "kind", "is_enabled", "where", "contacted", "result")
    search_fields = ("name",)
    show_full_result_count = False
    show_facets = admin.ShowFacets.NEVER
    list_per_page = formatting.ROWS_PER_PAGE

    def get_urls(self) -> list[URLPattern]:
        test = self.admin_site.admin_view(require_POST(self.test_view))
        name = "sessions_app_alerttarget_test"
        return [path("<int:target_id>/test/", test, name=name), *super().get_urls()]

    def get_fields(self, request: HttpRequest, obj: Any = None) -> tuple[str, ...]:
        if obj is not None and not self.has_change_permission(request, obj):
            # Without a form, the page would show the stored value of this field.
            return ("name", "kind", "where", "is_enabled", "contacted", "result")
        fields = ("name", "kind", "address", "secret", "is_enabled")
        return fields if obj is None else (*fields, "contacted", "result")

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> tuple[str, ...]:
        return ("where", "contacted", "result")

    def test_view(self, request: HttpRequest, target_id: int) -> HttpResponse:
        """Send a test message to a target, and show whether it was accepted."""
        if not self.has_change_permission(request):
            raise PermissionDenied
        target = AlertTarget.objects.filter(pk=target_id).first()
        if target is None:
            raise Http404("This target does not exist.")
        if error := send_test(target, database_now()):
            self.message_user(request, f"The test message was not delivered. {error}", messages.ERROR)
        else:
            self.message_user(request, f"The test message was delivered to “{target}”.", messages.SUCCESS)
        self.log_change(request, target, "Sent a test message.")
        return HttpResponseRedirect(reverse("admin:sessions_app_alerttarget_change", args=[target.pk]))

    @admin.display(description="Address")
    def where(self, target: AlertTarget) -> str:
        return shown_address(target)

    @admin.display(description="Last contacted")
    def contacted(self, target: AlertTarget) -> str:
        return formatting.moment(target.contacted_at)

    @admin.display(description="Last result")
    def result(self, target: AlertTarget) -> SafeString | str:
        if target.contacted_at is None:
            return formatting.NONE
        if not target.error:
            return badges.badge("good", "Delivered")
        return format_html("{} {}", badges.badge("bad", "Failed"), target.error)


@admin.register(AlertRule)
class AlertRuleAdmin(_Deletable):
    form = AlertRuleForm
    list_display = ("name", "kind", "limit", "is_enabled", "where")
    search_fields = ("name",)
    show_full_result_count = False
    show_facets = admin.ShowFacets.NEVER
    list_per_page = formatting.ROWS_PER_PAGE

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        rules: QuerySet[Any] = super().get_queryset(request)
        return rules.prefetch_related("targets")

    def has_delete_permission(self, request: HttpRequest, obj: AlertRule | None = None) -> bool:
        """Refuse to delete a rule with open alerts, whose targets would never get the resolving message."""
        is_permitted = super().has_delete_permission(request, obj)
        return is_permitted and (obj is None or not obj.alerts.filter(resolved_at=None).exists())

    @admin.display(description="Limit")
    def limit(self, rule: AlertRule) -> str:
        return formatting.NONE if rule.threshold is None else f"{rule.threshold:,}"

    @admin.display(description="Targets")
    def where(self, rule: AlertRule) -> str:
        return ", ".join(target.name for target in rule.targets.all()) or formatting.NONE


class OpenFilter(ConditionFilter):
    title = "state"
    parameter_name = "state"

    def conditions(self, request: HttpRequest) -> dict[str, tuple[str, Q]]:
        return {"open": ("Open", Q(resolved_at=None)), "resolved": ("Resolved", Q(resolved_at__isnull=False))}


class DeliveryFilter(ConditionFilter):
    title = "state"
    parameter_name = "state"

    def conditions(self, request: HttpRequest) -> dict[str, tuple[str, Q]]:
        return {
            "delivered": ("Delivered", Q(delivered_at__isnull=False)),
            "waiting": ("Waiting", Q(next_attempt_at__isnull=False)),
            "failed": ("Failed", Q(delivered_at=None, next_attempt_at=None)),
        }


class _Log(ReadOnlyAdmin):
    """A read-only log, the latest entry first."""

    sortable_by = ()
    ordering = ("-id",)
    show_full_result_count = False
    show_facets = admin.ShowFacets.NEVER
    list_per_page = formatting.ROWS_PER_PAGE


@admin.register(Alert)
class AlertAdmin(_Log):
    list_display = ("shown_text", "state", "rule", "fired", "resolved")
    list_display_links = ("shown_text",)
    list_filter = (OpenFilter,)
    search_fields = ("text",)
    list_select_related = ("rule",)
    fields = (
        "shown_text",
        "state",
        "code",
        "severity",
        "rule",
        "fired",
        "resolved",
        "page_link",
        "messages_sent",
    )
    readonly_fields = fields

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        alerts: QuerySet[Any] = super().get_queryset(request)
        return alerts.exclude(namespace__in=sorted(hidden_from(request.user)))

    @admin.display(description="Alert")
    def shown_text(self, alert: Alert) -> str:
        return alert.text

    @admin.display(description="State")
    def state(self, alert: Alert) -> SafeString:
        if alert.resolved_at is not None:
            return badges.badge("good", "Resolved")
        return badges.badge("bad" if alert.severity == "critical" else "stale", "Open")

    @admin.display(description="Fired")
    def fired(self, alert: Alert) -> str:
        return formatting.moment(alert.fired_at)

    @admin.display(description="Resolved")
    def resolved(self, alert: Alert) -> str:
        return formatting.moment(alert.resolved_at)

    @admin.display(description="Page")
    def page_link(self, alert: Alert) -> str:
        return format_html('<a href="{0}">{0}</a>', alert.link) if alert.link else formatting.NONE

    @admin.display(description="Messages")
    def messages_sent(self, alert: Alert) -> str:
        found = alert.deliveries.select_related("target").order_by("pk")[:DELIVERIES_SHOWN]
        lines = format_html_join(
            "",
            "<li>{} to {}: {} {}</li>",
            (
                (delivery.get_event_display(), delivery.target, delivery_badge(delivery), delivery.error)
                for delivery in found
            ),
        )
        return format_html('<ul class="raptor-reasons">{}</ul>', lines) if lines else "No target"


@admin.register(AlertDelivery)
class AlertDeliveryAdmin(_Log):
    list_display = ("message", "state", "target", "event", "created", "delivered", "attempt", "reason")
    list_display_links = ("message",)
    list_filter = (DeliveryFilter,)
    search_fields = ("message_id", "target__name")
    list_select_related = ("target", "alert")
    fields = (
        *("message", "state", "target", "event", "created", "delivered"),
        *("attempt", "next_try", "reason", "message_id"),
    )
    readonly_fields = fields

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        deliveries: QuerySet[Any] = super().get_queryset(request)
        return deliveries.exclude(alert__namespace__in=sorted(hidden_from(request.user)))

    @admin.display(description="Error")
    def reason(self, delivery: AlertDelivery) -> str:
        return delivery.error or formatting.NONE

    @admin.display(description="Message")
    def message(self, delivery: AlertDelivery) -> str:
        return str(delivery.body.get("data", {}).get("text", ""))

    @admin.display(description="State")
    def state(self, delivery: AlertDelivery) -> SafeString:
        return delivery_badge(delivery)

    @admin.display(description="Created")
    def created(self, delivery: AlertDelivery) -> str:
        return formatting.moment(delivery.created_at)

    @admin.display(description="Delivered")
    def delivered(self, delivery: AlertDelivery) -> str:
        return formatting.moment(delivery.delivered_at)

    @admin.display(description="Next attempt")
    def next_try(self, delivery: AlertDelivery) -> str:
        return formatting.moment(delivery.next_attempt_at)


def delivery_badge(delivery: AlertDelivery) -> SafeString:
    if delivery.delivered_at is not None:
        return badges.badge("good", "Delivered")
    if delivery.next_attempt_at is None:
        return badges.badge("bad", "Failed")
    return badges.badge("stale", "Retrying") if delivery.attempt else badges.badge("quiet", "Waiting")
