from __future__ import annotations

from django.db import models


class SessionSearch(models.Model):
    """The searched text of a session, live or archived; see ``session.search_text``.

    The worker adds rows for imported sessions, so that imports stay fast (``search.filling``).
    """

    # Not a foreign key, because a check for each session would slow down the worker.
    session_key = models.BigIntegerField(primary_key=True)
    text = models.TextField(help_text="Name, session id, host and metadata values, in lower case.")
    labels = models.TextField(help_text="Short metadata values with their keys.")

    def __str__(self) -> str:
        return f"Session {self.session_key}"
