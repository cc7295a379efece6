from __future__ import annotations

from typing import Any, Self

from django.conf import settings
from django.db import models

from sessions_app.models.clock import DatabaseClock
from sessions_app.models.fields import MACHINE_LENGTH, NAME_LENGTH, NAMESPACE_LENGTH, PATH_LENGTH

REMOVED = ("running", "succeeded", "interrupted", "failed", "undoing")
"""States of the removing run in which a directory is not mirrored: it has started and was not undone."""


class DirectoryQuerySet(models.QuerySet["SessionDirectory"]):
    def mirrored(self) -> Self:
        """Return the directories that the schedule mirrors."""
        return self.filter(is_enabled=True).exclude(removal__state__in=REMOVED)


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
    machine = models.CharField(
        max_length=MACHINE_LENGTH,
        blank=True,
        default="",
        help_text="Machine whose worker mirrors the folder. Blank: the first machine whose worker finds it.",
    )
    # Identify the registered folder. Another folder at the same path is not opened.
    device = models.BigIntegerField(null=True, editable=False)
    inode = models.BigIntegerField(null=True, editable=False)
    is_enabled = models.BooleanField(
        "enabled",
        default=True,
        help_text="Mirror the directory each minute. The sessions of a disabled directory stay in "
        "the list, and policies still remove them and their files, but no new documents are read.",
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
    removal = models.ForeignKey(
        "sessions_app.CleanupRun",
        on_delete=models.SET_NULL,
        null=True,
        editable=False,
        related_name="+",
        help_text="The plan or run that removes the directory with its sessions. An undo restores it.",
    )
    report: models.JSONField[dict[str, Any], dict[str, Any]] = models.JSONField(
        default=dict, editable=False, help_text="Counts of the last sync, and its skipped files."
    )

    objects = DirectoryQuerySet.as_manager()

    class Meta:
        verbose_name_plural = "session directories"
        ordering = ("path",)
        constraints = (
            models.CheckConstraint(condition=~models.Q(namespace=""), name="directory_has_namespace"),
        )

    def __str__(self) -> str:
        return self.path

    @property
    def is_elsewhere(self) -> bool:
        """Whether the folder is on another machine, so that only the worker there can access it."""
        return self.machine not in ("", settings.RAPTOR_MACHINE)

    @property
    def is_removed(self) -> bool:
        """Whether the directory was removed with its sessions and is no longer mirrored."""
        return self.removal is not None and self.removal.state in REMOVED


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
