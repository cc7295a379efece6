from __future__ import annotations

from typing import Any

from django.db import models
from django.db.models import Q

from sessions_app.criteria import Criteria
from sessions_app.models.clock import DatabaseClock


class CleanupRun(models.Model):
    """One cleanup: what was asked, by whom, what matched, and what went.

    Planned first, then run: the run takes what matched at ``as_of`` and was written before
    ``sealed_at``, and nothing else.
    """

    class Trigger(models.TextChoices):
        ADMIN = "admin", "Admin"
        COMMAND = "command", "Command"
        SCHEDULE = "schedule", "Schedule"
        API = "api", "API"

    class State(models.TextChoices):
        PLANNED = "planned", "Planned"
        RUNNING = "running", "Running"
        SUCCEEDED = "succeeded", "Succeeded"
        FAILED = "failed", "Failed"
        INTERRUPTED = "interrupted", "Interrupted"
        UNDOING = "undoing", "Being undone"
        UNDONE = "undone", "Undone"

    RESUMABLE = (State.PLANNED, State.INTERRUPTED, State.FAILED)

    trigger = models.CharField(max_length=20, choices=Trigger)
    actor = models.CharField(max_length=150, blank=True, default="", help_text="Who or what started it.")
    state = models.CharField(max_length=20, choices=State, default=State.PLANNED)
    criteria_json: models.JSONField[dict[str, Any], dict[str, Any]] = models.JSONField("criteria")
    as_of = models.DateTimeField(help_text="The instant at which the sessions are judged.")
    sealed_at = models.DateTimeField(help_text="What is written from this instant on is not taken.")

    matched_count = models.BigIntegerField("matched", default=0)
    matched_bytes = models.BigIntegerField(default=0)
    matched_reasons: models.JSONField[dict[str, int], dict[str, int]] = models.JSONField(default=dict)
    matched_pinned_count = models.BigIntegerField(
        default=0, help_text="Pinned sessions among the matched ones: only “all” takes them."
    )
    removed_count = models.BigIntegerField("removed", default=0)
    removed_bytes = models.BigIntegerField("freed", default=0)
    removed_reasons: models.JSONField[dict[str, int], dict[str, int]] = models.JSONField(default=dict)
    skipped_count = models.BigIntegerField("skipped", default=0)

    # Where to go on: the id of the last session taken. Each resumption is an attempt of its own,
    # and a batch of an earlier one commits no more.
    position = models.BigIntegerField(default=0)
    attempt = models.IntegerField(default=0)

    restored_count = models.BigIntegerField("restored", default=0)
    restored_bytes = models.BigIntegerField(default=0)
    undone_by = models.CharField(max_length=150, blank=True, default="")
    undo_started_at = models.DateTimeField(null=True)
    undone_at = models.DateTimeField("undone", null=True)
    undo_position = models.BigIntegerField(default=0)
    keeps_archive = models.BooleanField(
        default=True, help_text="Off: what it removes is deleted for good, and cannot be undone."
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
        )
        indexes = (
            # Finds the runs whose process died: few are running at any time.
            models.Index(
                fields=("heartbeat_at",), condition=Q(state__in=("running", "undoing")), name="run_at_work"
            ),
        )

    def __str__(self) -> str:
        return f"run {self.pk}"

    @property
    def criteria(self) -> Criteria:
        return Criteria.from_json(self.criteria_json)

    @property
    def is_resumable(self) -> bool:
        """Whether it can be run, or gone on with."""
        return self.state in self.RESUMABLE and self.undo_started_at is None

    @property
    def is_undoable(self) -> bool:
        """Whether the archive holds sessions of it that can come back, or an undo of it is to be ended."""
        states = (self.State.SUCCEEDED, self.State.INTERRUPTED, self.State.FAILED)
        is_held = self.removed_count > self.restored_count + self.emptied_count
        return self.state in states and (is_held or self.undo_started_at is not None)
