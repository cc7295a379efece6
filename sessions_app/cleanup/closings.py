"""The results of closing the browsers of a batch before a run removes the sessions."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from django.db.models import QuerySet

from sessions_app.models import BrowserSession


class Closing(NamedTuple):
    """The result of closing the browser of a session.

    Args:
        reason: Why the browser was not closed; blank if no browser is running now.
        was_running: Whether the browser was running before.
        freed_bytes: Memory that the browser used.
    """

    pk: int
    reason: str = ""
    was_running: bool = False
    freed_bytes: int = 0


BeforeRemoval = Callable[[QuerySet[BrowserSession]], list[Closing]]
"""A function that closes the browsers of sessions. A session whose ``Closing`` has a reason is kept."""

IN_USE = "A client is connected to its browser."
"""The reason of a ``Closing`` whose browser is in use."""

BATCH_ROWS = 32
"""Maximum sessions whose browsers are closed before one transaction."""
