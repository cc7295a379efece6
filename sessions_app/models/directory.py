from __future__ import annotations

from typing import Any

from django.db import models

from sessions_app.models.clock import DatabaseClock
from sessions_app.models.fields import NAME_LENGTH, NAMESPACE_LENGTH, PATH_LENGTH


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
    # Identify the registered folder. Another folder at the same path is not opened.
    device = models.BigIntegerField(null=True, editable=False)
    inode = models.BigIntegerField(null=True, editable=False)
    is_enabled = models.BooleanField(
        "enabled", default=True, help_text="Whether the schedule mirrors it each minute."
    )
    added_at = models.DateTimeField("added", auto_now_add=True)
    synced_at = models.DateTimeField("last synced", null=True, editable=False)
    # Compare-and-set claim of the running sync. A claim that is not renewed lapses.
    sync_number = models.BigIntegerField(default=0, editable=False)
    claimed_at = models.DateTimeField(null=True, editable=False)
    error = models.TextField(blank=True, default="", editable=False)
    write_error = models.TextField(
        blank=True,
        default="",
        editable=False,
        help_text="Why files of restored sessions could not be written the last time.",
    )
    swept_from = models.DateTimeField(
        null=True, editable=False, help_text="Scheduled sweeps leave its sessions alone before this instant."
    )
    report: models.JSONField[dict[str, Any], dict[str, Any]] = models.JSONField(
        default=dict, editable=False, help_text="Counts of the last sync, and its skipped files."
    )

    class Meta:
        verbose_name_plural = "session directories"
        ordering = ("path",)
        constraints = (
            models.CheckConstraint(condition=~models.Q(namespace=""), name="directory_has_namespace"),
        )

    def __str__(self) -> str:
        return self.path


class UnsettledFile(models.Model):
    """A file that a scheduled sync has seen but not read into a session yet.

    The file is read when its stamp has not changed for ``RAPTOR_SETTLE_SECONDS``. An invalid document
    replaces a valid one only if it has not changed for ten minutes.
    """

    directory = models.ForeignKey(SessionDirectory, on_delete=models.CASCADE, related_name="unsettled_files")
    file_name = models.CharField(max_length=NAME_LENGTH)
    inode = models.BigIntegerField()
    size_bytes = models.BigIntegerField()
    modified_ns = models.BigIntegerField()
    changed_ns = models.BigIntegerField()
    seen_at = models.DateTimeField(db_default=DatabaseClock(), help_text="When this stamp was first seen.")
    broken_digest = models.CharField(
        max_length=64, blank=True, default="", help_text="SHA-256 of its bytes if they have a problem."
    )
    broken_since = models.DateTimeField(null=True, help_text="When these bytes were first read.")

    class Meta:
        constraints = (
            # The records of a sync, by the names of its files.
            models.UniqueConstraint(fields=("directory", "file_name"), name="unsettled_once"),
        )

    def __str__(self) -> str:
        return self.file_name
