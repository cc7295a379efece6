from __future__ import annotations

from django.db import models

from sessions_app.models.clock import DatabaseClock


class SessionEvent(models.Model):
    """An event in the history of a session that neither its row nor a log entry records.

    The row has the present removal. The event of a restoration also has the removal that it ends, so that a
    run writes no event.

    Events store the primary key of the session, not a foreign key, because they outlive its removal.
    """

    class Code(models.TextChoices):
        CLOSED = "closed", "Browser closed"
        GONE = "gone", "Browser found gone"
        KEPT = "not_closed", "Browser could not be closed"
        OPENED = "opened", "Browser opened"
        RESTORED = "restored", "Restored"
        SEEN = "looked_inside", "Pages of its browser shown"

    session_key = models.BigIntegerField()
    code = models.CharField(max_length=20, choices=Code)
    at = models.DateTimeField(db_default=DatabaseClock())
    actor = models.CharField("by", max_length=150, blank=True, default="")
    # A number and not a foreign key, because events outlive their runs.
    run_key = models.BigIntegerField(null=True, help_text="Number of the run from which it was restored.")
    removed_at = models.DateTimeField(
        null=True, help_text="When that run had removed the session; null if the time is unknown."
    )
    freed_bytes = models.BigIntegerField(null=True, help_text="Memory that a closed browser used.")
    details = models.TextField(blank=True, default="", help_text="A sentence without secrets.")

    class Meta:
        ordering = ("-id",)
        indexes = (
            # The history of a session.
            models.Index(fields=("session_key", "-id"), name="event_of_session"),
            # Old events, which are deleted.
            models.Index(fields=("at",), name="event_at"),
        )

    def __str__(self) -> str:
        return f"{self.get_code_display()}: session {self.session_key}"
