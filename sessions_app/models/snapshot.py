from __future__ import annotations

from typing import Any

from django.core.serializers.json import DjangoJSONEncoder
from django.db import models


class StorageSnapshot(models.Model):
    """Storage figures at an instant, for the charts and for the pages of large installations."""

    taken_at = models.DateTimeField("taken", help_text="By the database's clock.")
    session_count = models.BigIntegerField()
    size_bytes = models.BigIntegerField()
    expired_count = models.BigIntegerField()
    invalid_count = models.BigIntegerField()
    pinned_count = models.BigIntegerField()
    reclaimable_count = models.BigIntegerField()
    reclaimable_bytes = models.BigIntegerField()
    archived_count = models.BigIntegerField()
    archived_bytes = models.BigIntegerField()
    disk_bytes = models.BigIntegerField()
    probes: models.JSONField[dict[str, int], dict[str, int]] = models.JSONField(
        default=dict, help_text="Number of sessions by the result of their last probe."
    )
    of_limited: models.JSONField[dict[str, dict[str, int]], dict[str, dict[str, int]]] = models.JSONField(
        default=dict, help_text="The part of each limited namespace, for users who cannot see it."
    )
    report: models.JSONField[dict[str, Any] | None, dict[str, Any] | None] = models.JSONField(
        null=True, encoder=DjangoJSONEncoder, help_text="The whole report; kept for the latest snapshot only."
    )

    class Meta:
        ordering = ("-id",)
        # Permission to view sessions includes their totals.
        default_permissions = ()
        indexes = (
            # The snapshots of recent days, for the charts.
            models.Index(fields=("taken_at",), name="snapshot_taken"),
        )

    def __str__(self) -> str:
        return f"snapshot of {self.taken_at:%Y-%m-%d %H:%M}"
