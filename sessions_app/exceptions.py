"""What goes wrong with saved sessions, as ``SessionManager`` tells it."""

from __future__ import annotations


class SessionException(Exception):
    """A session cannot be saved, found, restored or removed.

    ``message`` says what happened and what to do; it never holds an endpoint.
    """

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class SessionNotFound(SessionException):
    """There is no session of that name."""


class SessionInvalid(SessionException):
    """The session breaks a rule of validity, so there is nothing to connect to."""


class BrowserUnreachable(SessionException):
    """The session's browser does not answer, or must not be contacted."""


class BrowserReplaced(SessionException):
    """Another browser listens where the session's own did."""


class PageNotFound(SessionException):
    """The browser has no page."""
