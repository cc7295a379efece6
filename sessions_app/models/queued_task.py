from __future__ import annotations

from typing import Any

from django.db import models
from django.db.models import Q

from sessions_app.models.clock import DatabaseClock
from sessions_app.models.fields import MACHINE_LENGTH


class QueuedTask(models.Model):
    """A task for the worker, from its request to its result.

    The queue may lose the message that starts it; the message is then sent again from this row.
    """

    task = models.CharField(max_length=100)
    arguments: models.JSONField[list[Any], list[Any]] = models.JSONField(default=list)
    machine = models.CharField(
        max_length=MACHINE_LENGTH, blank=True, default="", help_text="Blank: any machine."
    )
    due_at = models.DateTimeField("due", null=True, help_text="For a job of the schedule: when it was due.")
    queued_at = models.DateTimeField("queued", db_default=DatabaseClock())
    sent_at = models.DateTimeField("sent to the queue", null=True)
    started_at = models.DateTimeField("started", null=True)
    heartbeat_at = models.DateTimeField("heartbeat", null=True)
    finished_at = models.DateTimeField("finished", null=True)
    attempt = models.PositiveSmallIntegerField(default=0)
    is_requested_again = models.BooleanField("requested again", default=False)
    has_failed = models.BooleanField("failed", default=False)
    message = models.TextField("result", blank=True, default="")

    class Meta:
        verbose_name = "task"
        constraints = (
            # A request for a task that is queued already joins it.
            models.UniqueConstraint(
                fields=("task", "arguments", "machine"),
                condition=Q(finished_at=None),
                name="queued_task_unique_while_open",
            ),
            # Two schedulers queue a job once. Also finds the last instant of a job.
            models.UniqueConstraint(
                fields=("task", "due_at", "machine"),
                condition=~Q(due_at=None),
                name="queued_task_unique_due_at",
            ),
        )
        indexes = (
            # The last results of each task, and the rows that are pruned.
            models.Index(fields=("task", "has_failed", "-id"), name="queued_task_results"),
            # The last result of all.
            models.Index(fields=("finished_at",), name="queued_task_finished"),
            # The tasks to send again, and the one that has waited longest.
            models.Index(fields=("queued_at",), condition=Q(finished_at=None), name="queued_task_open"),
        )

    def __str__(self) -> str:
        return f"Task {self.pk}"
