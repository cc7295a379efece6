from __future__ import annotations

from typing import Any

from django.db import models

from sessions_app.models.session import NAMESPACE_LENGTH

PATH_LENGTH = 1024


class SessionDirectory(models.Model):
    """A folder of session documents that is mirrored into a namespace."""

    path = models.CharField(
        max_length=PATH_LENGTH,
        unique=True,
        help_text="Absolute path of the folder on the machine that runs the worker.",
    )
    namespace = models.CharField(
        max_length=NAMESPACE_LENGTH, help_text="Where its sessions are listed. Cannot be changed later."
    )
    is_enabled = models.BooleanField(
        "enabled", default=True, help_text="Whether the schedule mirrors it, once a minute."
    )
    added_at = models.DateTimeField("added", auto_now_add=True)
    synced_at = models.DateTimeField("last synced", null=True, editable=False)
    # Compare-and-set claim of the one sync at work; a claim that is not renewed lapses.
    sync_number = models.BigIntegerField(default=0, editable=False)
    claimed_at = models.DateTimeField(null=True, editable=False)
    error = models.TextField(blank=True, default="", editable=False)
    report: models.JSONField[dict[str, Any], dict[str, Any]] = models.JSONField(
        default=dict, editable=False, help_text="Counts of the last sync, and the files that it skipped."
    )

    class Meta:
        verbose_name_plural = "session directories"
        ordering = ("path",)
        constraints = (
            models.CheckConstraint(condition=~models.Q(namespace=""), name="directory_has_namespace"),
        )

    def __str__(self) -> str:
        return self.path
