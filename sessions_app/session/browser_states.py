"""The states of browsers, as conditions for the list and for cleanups.

``liveness.record`` writes the columns when a probe changes the state. A session that is saved with another
endpoint has another browser, so that clears the state in the same statement.
"""

from __future__ import annotations

from datetime import datetime
from enum import IntEnum

from django.db.models import Q


class BrowserState(IntEnum):
    """State of a session's browser in the list. ``UNKNOWN``: a probe had no clear answer."""

    ALIVE = 1
    IN_USE = 2
    GONE = 3
    UNKNOWN = 4

    @property
    def code(self) -> str:
        """Public name, for screens and filters."""
        return self.name.lower()

    @property
    def label(self) -> str:
        return self.code.replace("_", " ").capitalize()


RUNNING = (BrowserState.ALIVE, BrowserState.IN_USE)
"""The states of a browser that answered the last probe."""


def in_state(*states: BrowserState) -> Q:
    """Match sessions by their last state alone, which the index session_browser_state contains."""
    return Q(browser_state=states[0]) if len(states) == 1 else Q(browser_state__in=states)


def has_state(*states: BrowserState, as_of: datetime) -> Q:
    """Match sessions whose browser is in one of these states, and has been since an instant or longer.

    The index narrows the rows (``in_state``); the rest is read from the table.
    """
    return in_state(*states) & Q(browser_since__lte=as_of)


def may_run(as_of: datetime) -> Q:
    """Match sessions whose browser answered the last probe, or changed its state after an instant.

    So a state that changes after a plan was made can only remove sessions from the plan.
    """
    return Q(browser_state__in=RUNNING) | Q(browser_since__gt=as_of)


def is_gone(as_of: datetime) -> Q:
    """Match sessions whose browser was gone at an instant and has not answered since."""
    return has_state(BrowserState.GONE, as_of=as_of)


def is_unknown(as_of: datetime) -> Q:
    """Match sessions whose endpoint was not probed, or gave no clear answer."""
    unclear = Q(browser_state=BrowserState.UNKNOWN, browser_since__lte=as_of)
    return Q(browser_state=None) | unclear
