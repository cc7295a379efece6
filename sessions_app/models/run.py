from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from django.apps import apps
from django.db import models
from django.db.models import Q

from sessions_app.models.clock import DatabaseClock
from sessions_app.models.fields import TEXT_LENGTH
from sessions_app.models.policy import CleanupPolicy
from sessions_app.session.criteria import Criteria

if TYPE_CHECKING:
    from sessions_app.models.session import RemovedQuerySet

HEARTBEAT_LIMIT = timedelta(minutes=2)
"""A run without a heartbeat for this time has stalled.

A batch takes about two seconds; a batch that closes browsers may wait for the workers of other machines.
"""

PLAN_LIMIT = timedelta(days=1)
"""Maximum age of a plan. An older plan must be replanned."""


class CleanupRun(models.Model):
    """One cleanup: its criteria, who started it, and which sessions matched and were removed.

    A run is planned first. It removes only sessions that matched at ``as_of`` and have not changed since
    ``sealed_at``.
    """

    class Trigger(models.TextChoices):
        ADMIN = "admin", "Admin"
        COMMAND = "command", "Command"
        SCHEDULE = "schedule", "Schedule"
        API = "api", "API"

    class State(models.TextChoices):
        PLANNED = "planned", "Planned"
        HELD = "held", "Needs approval"
        RUNNING = "running", "Running"
        SUCCEEDED = "succeeded", "Succeeded"
        FAILED = "failed", "Failed"
        INTERRUPTED = "interrupted", "Interrupted"
        UNDOING = "undoing", "Being undone"
        UNDONE = "undone", "Undone"
        CLOSED = "closed", "Closed"

    RESUMABLE = (State.PLANNED, State.INTERRUPTED, State.FAILED)
    ENDED = (State.SUCCEEDED, State.INTERRUPTED, State.FAILED, State.CLOSED)

    trigger = models.CharField(max_length=20, choices=Trigger)
    actor = models.CharField(max_length=150, blank=True, default="", help_text="Who or what started it.")
    state = models.CharField(max_length=20, choices=State, default=State.PLANNED)
    criteria_json: models.JSONField[dict[str, Any], dict[str, Any]] = models.JSONField("criteria")
    as_of = models.DateTimeField(help_text="The instant at which sessions are evaluated.")
    sealed_at = models.DateTimeField(help_text="Sessions that change from this instant on are kept.")

    # The policy, the instant at which it was due, and the position of its step.
    policy = models.ForeignKey(
        CleanupPolicy, on_delete=models.PROTECT, null=True, related_name="runs", db_index=False
    )
    due_at = models.DateTimeField(null=True)
    step_position = models.PositiveSmallIntegerField(null=True)

    matched_count = models.BigIntegerField("matched", default=0)
    matched_bytes = models.BigIntegerField(default=0)
    matched_reasons: models.JSONField[dict[str, int], dict[str, int]] = models.JSONField(default=dict)
    matched_pinned_count = models.BigIntegerField(
        default=0, help_text="Pinned sessions among the matched ones; only “all” removes them."
    )
    # All sessions in the scope, removed or not, before and after the run.
    before_count = models.BigIntegerField(null=True)
    before_bytes = models.BigIntegerField(null=True)
    after_count = models.BigIntegerField(null=True)
    after_bytes = models.BigIntegerField(null=True)

    removed_count = models.BigIntegerField("removed", default=0)
    removed_bytes = models.BigIntegerField("freed", default=0)
    removed_reasons: models.JSONField[dict[str, int], dict[str, int]] = models.JSONField(default=dict)
    skipped_count = models.BigIntegerField("skipped", default=0)
    skipped_sessions: models.JSONField[list[dict[str, str]], list[dict[str, str]]] = models.JSONField(
        default=list, help_text="Namespace and name of each skipped session, and why it stayed."
    )

    skipped_reasons: models.JSONField[dict[str, int], dict[str, int]] = models.JSONField(
        default=dict, help_text="Number of sessions that were kept, by the code of the reason."
    )

    closes_browsers = models.BooleanField(
        default=False, help_text="Closes the browser of each session before it is removed."
    )
    closed_count = models.BigIntegerField("browsers closed", default=0)
    closed_bytes = models.BigIntegerField("memory freed", default=0)
    matched_browsers: models.JSONField[dict[str, int], dict[str, int]] = models.JSONField(
        default=dict,
        help_text="Numbers of matched sessions whose browsers were alive or in use.",
    )

    held_because = models.TextField(blank=True, default="")
    approved_by = models.CharField(max_length=150, blank=True, default="")
    approved_at = models.DateTimeField(null=True)
    queued_at = models.DateTimeField(null=True, help_text="When it was queued for the worker.")
    closed_by = models.CharField(max_length=150, blank=True, default="")
    closed_at = models.DateTimeField(null=True)

    # The id of the last processed session, from which the run is resumed. Each resumption is a new attempt,
    # and batches of earlier attempts can no longer commit.
    position = models.BigIntegerField(default=0)
    attempt = models.IntegerField(default=0)

    restored_count = models.BigIntegerField("restored", default=0)
    restored_bytes = models.BigIntegerField(default=0)
    undone_by = models.CharField(max_length=150, blank=True, default="")
    undo_started_at = models.DateTimeField(null=True)
    undone_at = models.DateTimeField("undone", null=True)
    undo_position = models.BigIntegerField(default=0)
    changed_access: models.JSONField[dict[str, int], dict[str, int]] = models.JSONField(
        default=dict,
        help_text="Number of files restored with another owner, group or mode.",
    )
    keeps_archive = models.BooleanField(
        default=True, help_text="Off: it deletes permanently and cannot be undone."
    )
    is_protected = models.BooleanField(
        "protected", default=False, help_text="Its sessions stay when the archive is emptied."
    )
    emptied_count = models.BigIntegerField("emptied", default=0)
    emptied_at = models.DateTimeField(null=True)

    planned_at = models.DateTimeField("planned", db_default=DatabaseClock())
    started_at = models.DateTimeField("started", null=True)
    heartbeat_at = models.DateTimeField(null=True)
    finished_at = models.DateTimeField("finished", null=True)
    error = models.TextField(blank=True, default="")
    earlier_errors = models.TextField(blank=True, default="", help_text="Errors of earlier attempts.")
    # Null instead of a flag, because SQLite adds such a column without rewriting the table.
    totaled_at = models.DateTimeField(
        null=True, editable=False, help_text="When its numbers were added to the totals of finished runs."
    )
    resumed_by = models.CharField(max_length=150, blank=True, default="", help_text="Who resumed it last.")

    # Set on runs whose counts include sessions that the user cannot see; see ``access.visibility.conceal``.
    is_concealed = False

    class Meta:
        ordering = ("-id",)
        constraints = (
            models.CheckConstraint(
                condition=Q(removed_count__gte=0) & Q(removed_count__lte=models.F("matched_count")),
                name="run_removed_at_most_matched",
            ),
            models.CheckConstraint(
                condition=Q(removed_count__gte=models.F("restored_count") + models.F("emptied_count")),
                name="run_archive_not_negative",
            ),
            # Each step of a sweep is planned once, even if its task is delivered again.
            models.UniqueConstraint(
                fields=("policy", "due_at", "step_position"),
                condition=Q(policy__isnull=False),
                name="run_once_a_step",
            ),
            # Only one run of a policy is running at a time.
            models.UniqueConstraint(
                fields=("policy",), condition=Q(state="running"), name="run_one_of_a_policy"
            ),
        )
        indexes = (
            # Stalled runs; few runs are running at any time.
            models.Index(
                fields=("heartbeat_at",), condition=Q(state__in=("running", "undoing")), name="run_at_work"
            ),
            # Plans that need approval.
            models.Index(fields=("id",), condition=Q(state="held"), name="run_held"),
            # Recent runs that failed or removed many sessions.
            models.Index(fields=("finished_at",), condition=Q(state="failed"), name="run_failed"),
            models.Index(fields=("started_at",), condition=Q(removed_count__gt=0), name="run_removed"),
            # Index-only scans for the totals of the metrics; the finished runs to add to ``RunTotal``.
            models.Index(
                fields=("state", "removed_count", "removed_bytes", "restored_count", "restored_bytes"),
                condition=Q(totaled_at=None),
                name="run_totals",
            ),
            # The bytes freed in recent days, for the chart of the storage report.
            models.Index(fields=("planned_at", "id"), condition=Q(removed_count__gt=0), name="run_freed"),
        )

    def __str__(self) -> str:
        return f"run {self.pk}"

    @property
    def archived_sessions(self) -> RemovedQuerySet:
        """The sessions that the run has removed and the archive still holds."""
        found: RemovedQuerySet = apps.get_model("sessions_app", "ArchivedSession").objects.filter(run=self)
        return found

    @property
    def criteria(self) -> Criteria:
        return Criteria.from_json(self.criteria_json)

    @property
    def is_resumable(self) -> bool:
        """Whether the run can be started or resumed."""
        return self.state in self.RESUMABLE and self.undo_started_at is None

    def is_stalled(self, now: datetime) -> bool:
        """Check whether the run is running or being undone, but has no recent heartbeat."""
        is_active = self.state in (self.State.RUNNING, self.State.UNDOING)
        return is_active and self.heartbeat_at is not None and self.heartbeat_at < now - HEARTBEAT_LIMIT

    @property
    def state_in_words(self) -> str:
        """The state in a sentence, as in “is already running”."""
        is_held = self.state == self.State.HELD
        return "waiting for approval" if is_held else self.get_state_display().lower()

    def is_outdated(self, now: datetime) -> bool:
        """Check whether this is a plan over a day old, which must be replanned before it is run."""
        if self.criteria_json.get("has_vanished"):
            # The run checks each file again, so the age of the plan does not matter.
            return False
        is_plan = self.state in (self.State.PLANNED, self.State.HELD) and self.attempt == 0
        return is_plan and self.planned_at < now - PLAN_LIMIT

    @property
    def is_undoable(self) -> bool:
        """Whether the archive holds sessions of the run, or its undo was interrupted."""
        is_archived = self.removed_count > self.restored_count + self.emptied_count
        return self.state in self.ENDED and (is_archived or self.undo_started_at is not None)


class NewestKept(models.Model):
    """The oldest session that a plan keeps in a group. The run removes older ones."""

    sealed = models.CharField(
        max_length=32, help_text="Identifies the stored sessions of a plan in its criteria."
    )
    group = models.CharField(max_length=TEXT_LENGTH, help_text="Namespace, browser type or metadata value.")
    idle_since = models.DateTimeField()
    session_key = models.BigIntegerField()
    stored_at = models.DateTimeField(db_default=DatabaseClock())

    class Meta:
        constraints = (
            # Lookup for each session of a run; deletion of a plan's rows.
            models.UniqueConstraint(fields=("sealed", "group"), name="newest_kept_once"),
        )

    def __str__(self) -> str:
        return f"{self.group}: {self.session_key}"


class PlannedSessions(models.Model):
    """The ids of the sessions of a plan, kept until its run has ended, so that skipped sessions can be named.

    Plans of more than ``LIMIT`` sessions have no list; their runs only count skipped sessions.
    """

    LIMIT = 100_000

    run = models.OneToOneField(
        CleanupRun, on_delete=models.CASCADE, primary_key=True, related_name="planned_sessions"
    )
    ids_json: models.JSONField[list[int], list[int]] = models.JSONField()

    def __str__(self) -> str:
        return f"sessions of {self.run}"


class RunTotal(models.Model):
    """Totals of finished and deleted runs by state, for the metrics.

    They do not change when such a run is deleted, and a long history does not slow down the metrics.
    """

    state = models.CharField(max_length=20, unique=True)
    run_count = models.BigIntegerField(default=0)
    removed_count = models.BigIntegerField(default=0)
    removed_bytes = models.BigIntegerField(default=0)
    restored_count = models.BigIntegerField(default=0)
    restored_bytes = models.BigIntegerField(default=0)

    def __str__(self) -> str:
        return self.state
