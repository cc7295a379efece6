from __future__ import annotations

from typing import Any

from django.core.exceptions import ValidationError
from django.db import models
from django.db.models import Q

from sessions_app.models.clock import DatabaseClock
from sessions_app.models.fields import NAMESPACE_LENGTH
from sessions_app.session.criteria import MAX_AGE_LIMIT_DAYS, Criteria
from sessions_app.session.keeping import Newest, Protection
from sessions_app.session.metadata import METADATA, is_usable_key
from sessions_app.session.search_text import LABEL_KEY_LENGTH
from sessions_app.text import in_days

_REFUSED_KEY = (
    "Enter the name of a metadata key: letters, digits, spaces and _ - . : / only. Keys that contain "
    "passwords, tokens or endpoints cannot be used."
)


class CleanupPolicy(models.Model):
    """An ordered list of cleanups, with conditions for starting them and safety limits."""

    name = models.CharField(max_length=100, unique=True)
    description = models.CharField(max_length=255, blank=True, default="", help_text="Purpose of the policy.")
    namespace = models.CharField(
        max_length=NAMESPACE_LENGTH,
        blank=True,
        default="",
        help_text="Scope. Blank: all namespaces.",
    )
    schedule = models.CharField(
        max_length=100,
        blank=True,
        default="",
        help_text="Cron expression: minute, hour, day, month and day of the week, in the time zone of the "
        "panel. “0 2 * * *” is 02:00 each day. Blank: manual start only.",
    )
    is_enabled = models.BooleanField(
        "enabled",
        default=False,
        help_text="Whether its schedule starts it. It can always be run manually.",
    )
    over_count = models.BigIntegerField(
        "only over … sessions",
        null=True,
        blank=True,
        help_text="A step runs only while its scope has more sessions than this. Blank: always.",
    )
    over_bytes = models.BigIntegerField(
        "only over … bytes",
        null=True,
        blank=True,
        help_text="A step runs only while the documents in its scope have more bytes. Blank: always.",
    )
    brake_count = models.BigIntegerField(
        "at most … sessions",
        null=True,
        blank=True,
        help_text="A step that would remove more needs approval. Blank: no such limit.",
    )
    brake_percent = models.FloatField(
        "at most … percent",
        null=True,
        blank=True,
        default=50,
        help_text="A step that would remove a larger share of a scope of over 100 sessions needs approval. "
        "Blank: no such limit.",
    )
    closes_browsers = models.BooleanField(
        "close browsers",
        default=False,
        help_text="Close the browser of each session before it is removed. A session whose browser does not "
        "close is kept.",
    )
    next_run_at = models.DateTimeField("next run", null=True, editable=False)

    class Meta:
        verbose_name_plural = "cleanup policies"
        ordering = ("name",)
        constraints = (
            models.CheckConstraint(
                condition=Q(brake_percent=None) | Q(brake_percent__gt=0, brake_percent__lte=100),
                name="policy_brake_percent_in_range",
                violation_error_message="Choose a percentage above 0 and at most 100.",
            ),
            models.CheckConstraint(
                condition=(Q(over_count=None) | Q(over_count__gte=0))
                & (Q(over_bytes=None) | Q(over_bytes__gte=0))
                & (Q(brake_count=None) | Q(brake_count__gte=0)),
                name="policy_limits_not_negative",
                violation_error_message="Numbers of sessions and bytes cannot be negative.",
            ),
        )
        indexes = (
            # The policies that are due, queried every minute.
            models.Index(fields=("next_run_at",), condition=Q(is_enabled=True), name="policy_due"),
        )

    def __str__(self) -> str:
        return self.name


class CleanupStep(models.Model):
    """One cleanup of a policy."""

    class Criterion(models.TextChoices):
        EXPIRED = "expired", "Expired sessions"
        INVALID = "invalid", "Invalid sessions"
        NEWEST = "newest", "All but the newest of each group"
        ALL = "all", "All sessions, pinned ones included"
        GONE = "gone", "Sessions whose browser is gone"
        EXPIRED_NOT_ALIVE = "expired_not_alive", "Expired sessions, unless their browser is alive"

    class Group(models.TextChoices):
        NAMESPACE = "namespace", "Namespace"
        BROWSER_TYPE = "browser_type", "Browser type"
        METADATA = "metadata", "Metadata key"

    policy = models.ForeignKey(CleanupPolicy, on_delete=models.CASCADE, related_name="steps", db_index=False)
    position = models.PositiveSmallIntegerField("order", default=1, help_text="Steps run in ascending order.")
    criterion = models.CharField(
        "removes",
        max_length=20,
        choices=Criterion,
        help_text="“Expired sessions” also removes sessions whose browsers are alive.",
    )
    max_age_days = models.FloatField(
        "maximum age in days",
        null=True,
        blank=True,
        help_text="Age of expired sessions. Blank: RAPTOR_MAX_AGE_DAYS.",
    )

    keep_count = models.PositiveIntegerField(
        "keep newest",
        null=True,
        blank=True,
        help_text="Number of sessions to keep in each group. The most recently accessed sessions are kept.",
    )
    keep_per = models.CharField(
        "of each", max_length=20, choices=Group, blank=True, default="", help_text="How sessions are grouped."
    )
    keep_key = models.CharField(
        "metadata key",
        max_length=LABEL_KEY_LENGTH,
        blank=True,
        default="",
        help_text="The metadata key for groups by metadata, such as user.",
    )

    class Meta:
        ordering = ("position",)
        constraints = (
            # The steps of a policy in their order.
            models.UniqueConstraint(
                fields=("policy", "position"),
                name="step_unique_position",
                violation_error_message="Two steps of a policy cannot have the same place in its order.",
            ),
            models.CheckConstraint(
                condition=Q(max_age_days=None) | Q(max_age_days__gt=0, max_age_days__lte=MAX_AGE_LIMIT_DAYS),
                name="step_age_in_range",
                violation_error_message=f"Choose an age above 0 and at most {MAX_AGE_LIMIT_DAYS:,} days.",
            ),
            models.CheckConstraint(
                condition=Q(max_age_days=None) | Q(criterion__in=("expired", "expired_not_alive")),
                name="step_age_of_expired_only",
                violation_error_message="A maximum age belongs to a step of expired sessions only.",
            ),
            models.CheckConstraint(
                condition=Q(criterion="newest", keep_count__gte=1, keep_count__isnull=False) & ~Q(keep_per="")
                | ~Q(criterion="newest") & Q(keep_count=None, keep_per="", keep_key=""),
                name="step_keeps_newest",
                violation_error_message="Enter the number of sessions to keep in each group, at least 1. "
                "Leave this blank for all other criteria.",
            ),
            models.CheckConstraint(
                condition=Q(keep_per="metadata") & ~Q(keep_key="") | ~Q(keep_per="metadata") & Q(keep_key=""),
                name="step_keeps_by_key",
                violation_error_message=(
                    "Enter a metadata key for groups by metadata; otherwise leave it blank."
                ),
            ),
        )

    def __str__(self) -> str:
        if self.criterion == self.Criterion.NEWEST:
            per = (
                f"value of metadata “{self.keep_key}”"
                if self.keep_key
                else self.get_keep_per_display().lower()
            )
            return f"{self.position}. All but the newest {self.keep_count or 0:,} of each {per}"
        age = f", over {in_days(self.max_age_days)}" if self.max_age_days is not None else ""
        return f"{self.position}. {self.get_criterion_display()}{age}"

    def clean(self) -> None:
        if self.keep_key and not is_usable_key(self.keep_key):
            raise ValidationError({"keep_key": _REFUSED_KEY})

    def criteria(self, *, max_age_days: float, protected: tuple[Protection, ...] = ()) -> Criteria:
        """Return the criteria of the step; ``max_age_days`` applies if the step has no maximum age."""
        age = max_age_days if self.max_age_days is None else self.max_age_days
        return Criteria(
            expired=self.criterion in (self.Criterion.EXPIRED, self.Criterion.EXPIRED_NOT_ALIVE),
            gone=self.criterion == self.Criterion.GONE,
            not_alive=self.criterion == self.Criterion.EXPIRED_NOT_ALIVE,
            invalid=self.criterion == self.Criterion.INVALID,
            all=self.criterion == self.Criterion.ALL,
            max_age_days=age,
            namespace=self.policy.namespace,
            newest=self._newest(),
            protected=protected,
        )

    def _newest(self) -> Newest | None:
        if self.criterion != self.Criterion.NEWEST:
            return None
        per = METADATA + self.keep_key if self.keep_per == self.Group.METADATA else self.keep_per
        return Newest(count=self.keep_count or 1, per=per)


class PolicyProtection(models.Model):
    """A rule that protects sessions from all steps of a policy."""

    policy = models.ForeignKey(CleanupPolicy, on_delete=models.CASCADE, related_name="protections")
    key = models.CharField(
        "metadata key",
        max_length=LABEL_KEY_LENGTH,
        blank=True,
        default="",
        help_text="The pattern applies to the values of this key. Leave blank to match session names.",
    )
    pattern = models.CharField(
        max_length=100,
        help_text="Names or values to protect; case-sensitive. * matches any characters, ? matches one.",
    )

    class Meta:
        ordering = ("pk",)
        constraints = (
            models.CheckConstraint(condition=~Q(pattern=""), name="protection_has_pattern"),
            models.UniqueConstraint(
                fields=("policy", "key", "pattern"),
                name="protection_once",
                violation_error_message="The policy already has this rule.",
            ),
        )

    def __str__(self) -> str:
        return self.protection().describe()

    def clean(self) -> None:
        if self.key and not is_usable_key(self.key):
            raise ValidationError({"key": _REFUSED_KEY})

    def protection(self) -> Protection:
        """Return the rule for use in criteria."""
        return Protection(per=METADATA + self.key if self.key else "name", pattern=self.pattern)


class PolicyChange(models.Model):
    """A change of a policy: who made it, and the policy before and after it."""

    class Action(models.TextChoices):
        ADDED = "added", "Added"
        CHANGED = "changed", "Changed"
        DELETED = "deleted", "Deleted"

    policy = models.ForeignKey(CleanupPolicy, on_delete=models.SET_NULL, null=True, related_name="changes")
    policy_name = models.CharField("policy", max_length=100)
    action = models.CharField(max_length=20, choices=Action)
    actor = models.CharField("by", max_length=150, blank=True, default="")
    changed_at = models.DateTimeField("when", db_default=DatabaseClock())
    before_json: models.JSONField[dict[str, Any] | None, dict[str, Any] | None] = models.JSONField(null=True)
    after_json: models.JSONField[dict[str, Any] | None, dict[str, Any] | None] = models.JSONField(null=True)

    class Meta:
        ordering = ("-id",)

    def __str__(self) -> str:
        return f"{self.policy_name}: {self.get_action_display().lower()}"
