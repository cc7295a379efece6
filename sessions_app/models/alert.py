from __future__ import annotations

from typing import Any

from django.db import models
from django.db.models import Q

from sessions_app.models.clock import DatabaseClock
from sessions_app.models.fields import NAMESPACE_LENGTH


class AlertTarget(models.Model):
    """A destination of alerts: e-mail addresses, a webhook, or a ping."""

    class Kind(models.TextChoices):
        EMAIL = "email", "E-mail"
        WEBHOOK = "webhook", "Webhook"
        PING = "ping", "Ping, for a service that alerts when pings stop"

    name = models.CharField(max_length=100, unique=True)
    kind = models.CharField(max_length=20, choices=Kind, default=Kind.EMAIL)
    address = models.CharField(
        max_length=2000,
        help_text="E-mail addresses separated by commas, or the http or https address of a webhook or ping.",
    )
    secret = models.CharField(
        max_length=200, blank=True, default="", help_text="The secret that signs the messages of a webhook."
    )
    is_enabled = models.BooleanField(
        "enabled", default=True, help_text="Disable to send nothing to this target."
    )
    contacted_at = models.DateTimeField("last contacted", null=True, editable=False)
    error = models.CharField(max_length=500, blank=True, default="", editable=False)

    class Meta:
        ordering = ("name",)

    def __str__(self) -> str:
        return self.name


class AlertRule(models.Model):
    """A kind of finding that fires alerts, and the targets of these alerts."""

    class Kind(models.TextChoices):
        RUN_FAILED = "run_failed", "A run failed"
        RUN_NEEDS_APPROVAL = "run_needs_approval", "A run needs approval"
        RUN_REMOVED_MANY = "run_removed_many", "A run removed more than … sessions"
        UNREACHABLE = "unreachable", "A session directory or a machine cannot be reached"
        WORKER_SILENT = "worker_silent", "A worker is silent or behind"
        STORAGE = "storage", "Storage exceeds a limit, or a disk is full"
        LOGIN_LOCKED = "login_locked", "Login is locked after wrong passwords"

    name = models.CharField(max_length=100, unique=True)
    kind = models.CharField("alert when", max_length=30, choices=Kind)
    threshold = models.BigIntegerField(
        "limit",
        null=True,
        blank=True,
        help_text="Number of sessions, or bytes of live and archived documents. Leave blank for other rules.",
    )
    targets: models.ManyToManyField[AlertTarget, Any] = models.ManyToManyField(
        AlertTarget, related_name="rules", help_text="Alerts of this rule are sent to these targets."
    )
    is_enabled = models.BooleanField("enabled", default=True, help_text="Disable to fire no alerts.")

    class Meta:
        ordering = ("name",)
        constraints = (
            models.CheckConstraint(
                condition=Q(threshold=None) | Q(threshold__gte=0),
                name="alert_rule_limit_not_negative",
                violation_error_message="The limit cannot be negative.",
            ),
        )

    def __str__(self) -> str:
        return self.name


class Alert(models.Model):
    """A finding that a rule reports, from its appearance until it is resolved."""

    rule = models.ForeignKey(AlertRule, on_delete=models.CASCADE, related_name="alerts", db_index=False)
    code = models.CharField(max_length=40)
    subject = models.CharField(max_length=100, blank=True, default="")
    severity = models.CharField(max_length=20)
    namespace = models.CharField(max_length=NAMESPACE_LENGTH, blank=True, default="")
    text = models.TextField()
    link = models.CharField(max_length=300, blank=True, default="")
    fired_at = models.DateTimeField("fired")
    resolved_at = models.DateTimeField("resolved", null=True)

    class Meta:
        ordering = ("-id",)
        constraints = (
            # At most one open alert for each finding of a rule. Also finds the open alerts of a rule.
            models.UniqueConstraint(
                fields=("rule", "code", "subject"),
                condition=Q(resolved_at=None),
                name="alert_unique_while_open",
            ),
        )
        indexes = (
            # Old resolved alerts, which are deleted.
            models.Index(fields=("resolved_at",), name="alert_resolved"),
        )

    def __str__(self) -> str:
        return f"Alert {self.pk}"


class AlertDelivery(models.Model):
    """A message about an alert to one target; stored in the same transaction as the alert, sent later."""

    class Event(models.TextChoices):
        FIRED = "fired", "Fired"
        RESOLVED = "resolved", "Resolved"
        TEST = "test", "Test"

    alert = models.ForeignKey(Alert, on_delete=models.CASCADE, null=True, related_name="deliveries")
    target = models.ForeignKey(AlertTarget, on_delete=models.CASCADE, related_name="deliveries")
    event = models.CharField(max_length=20, choices=Event)
    # The same for all attempts, so that a receiver recognizes a repeated message.
    message_id = models.CharField(max_length=64, unique=True)
    body: models.JSONField[dict[str, Any], dict[str, Any]] = models.JSONField()
    created_at = models.DateTimeField("created", db_default=DatabaseClock())
    attempt = models.PositiveSmallIntegerField("attempts", default=0)
    next_attempt_at = models.DateTimeField("next attempt", null=True)
    delivered_at = models.DateTimeField("delivered", null=True)
    error = models.CharField(max_length=500, blank=True, default="")

    class Meta:
        verbose_name_plural = "alert deliveries"
        ordering = ("-id",)
        constraints = (
            # At most one message for each event of an alert and target.
            models.UniqueConstraint(
                fields=("alert", "target", "event"),
                condition=Q(alert__isnull=False),
                name="alert_delivery_once",
            ),
        )
        indexes = (
            # Messages that are due.
            models.Index(
                fields=("next_attempt_at",),
                condition=Q(next_attempt_at__isnull=False),
                name="alert_delivery_due",
            ),
        )

    def __str__(self) -> str:
        return f"Message {self.pk}"


class AlertEvaluation(models.Model):
    """The time of the last evaluation of the rules; a single row."""

    evaluated_at = models.DateTimeField()

    def __str__(self) -> str:
        return f"{self.evaluated_at:%Y-%m-%d %H:%M:%S}"
