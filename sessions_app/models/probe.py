from __future__ import annotations

from django.db import models

from sessions_app.models.fields import MACHINE_LENGTH
from sessions_app.models.session import BrowserSession


class Probe(models.Model):
    """The result of a session's last probe, and the time of the next one.

    A separate table, because each probe writes it. The row of a removed session is kept until the next probe,
    so that an undo before that keeps the result.
    """

    session = models.OneToOneField(
        BrowserSession,
        on_delete=models.DO_NOTHING,
        primary_key=True,
        db_constraint=False,
        related_name="probe",
    )
    machine = models.CharField(
        max_length=MACHINE_LENGTH,
        blank=True,
        default="",
        help_text="Machine whose worker probes the browser. Blank: any machine.",
    )
    due_at = models.DateTimeField("due")
    probed_at = models.DateTimeField("probed", null=True)
    endpoint = models.CharField(
        max_length=64, blank=True, default="", help_text="SHA-256 of the endpoint that was probed."
    )
    result = models.CharField(max_length=20, blank=True, default="")
    reason = models.TextField(blank=True, default="", help_text="Why the answer is not clear.")
    failing_since = models.DateTimeField(
        null=True, help_text="First of the consecutive probes that did not find the browser."
    )
    is_in_use = models.BooleanField("in use", null=True, help_text="Null: the clients are not visible.")
    memory_bytes = models.BigIntegerField(
        "memory", null=True, help_text="Memory of the browser, if the worker could read it."
    )

    class Meta:
        indexes = (
            # The sessions that a machine probes next.
            models.Index(fields=("machine", "due_at", "session"), name="probe_due"),
            # The number of sessions by result, for the metrics.
            models.Index(fields=("result",), name="probe_result"),
        )

    def __str__(self) -> str:
        return f"probe of session {self.pk}"
