from __future__ import annotations

from django.db import models

from sessions_app.models.run import CleanupRun
from sessions_app.models.session import StoredSession


class ArchivedSession(StoredSession):
    """A removed session, complete, until its cleanup is undone or the archive is emptied.

    It keeps its primary key, which makes a second archived copy of a session impossible.
    """

    id = models.BigIntegerField(primary_key=True)
    run: models.ForeignKey[CleanupRun, CleanupRun] = models.ForeignKey(
        CleanupRun, on_delete=models.PROTECT, related_name="archived_sessions", db_index=False
    )
    reasons = models.IntegerField(help_text="Why it was removed, as a sum of bits (session.criteria).")
    removed_at = models.DateTimeField("removed")
    has_vanished = models.BooleanField(default=False, help_text="Its file was gone before the removal.")

    class Meta:
        ordering = ("-removed_at", "-id")
        indexes = (
            # The sessions of a run, in pages.
            models.Index(fields=("run", "id"), name="archived_run"),
            # The archive's list.
            models.Index(fields=("removed_at", "id"), name="archived_removed"),
            # The files that a killed cleanup left behind, for the sync.
            models.Index(fields=("directory", "file_name"), name="archived_file"),
        )
