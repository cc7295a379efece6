from __future__ import annotations

from django.db import models

from sessions_app.models.clock import DatabaseClock
from sessions_app.models.fields import MACHINE_LENGTH


class Machine(models.Model):
    """A computer whose worker has announced itself."""

    name = models.CharField(max_length=MACHINE_LENGTH, unique=True)
    started_at = models.DateTimeField("started", db_default=DatabaseClock())
    heartbeat_at = models.DateTimeField("last heartbeat")
    clock_skew_seconds = models.FloatField(default=0, help_text="Its clock minus the database's, in seconds.")
    disk_free_bytes = models.BigIntegerField(
        null=True, help_text="Free bytes on the disk of the panel's folder or of its SQLite database."
    )
    is_disk_full = models.BooleanField(default=False, help_text="Whether the disk is almost full.")

    def __str__(self) -> str:
        return self.name
