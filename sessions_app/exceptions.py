"""What goes wrong with saved sessions, as ``SessionManager`` tells it."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any, TypeVar

_Method = TypeVar("_Method", bound=Callable[..., Any])


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


class MissingEndpointWarning(UserWarning):
    """A session was saved of a browser that cannot be connected to later."""


def hide_traceback(method: _Method) -> _Method:
    """Let a method's ``SessionException`` tell its message and nothing of what is beneath.

    Test runners print the arguments of the functions that an exception came through, and the exceptions
    before it: an endpoint may be among them, and what they print is kept.
    """

    @functools.wraps(method)
    def call(*args: Any, **kwargs: Any) -> Any:
        try:
            return method(*args, **kwargs)
        except SessionException as error:
            told = error
        raise _bare(told)

    @functools.wraps(method)
    async def call_later(*args: Any, **kwargs: Any) -> Any:
        try:
            return await method(*args, **kwargs)
        except SessionException as error:
            told = error
        raise _bare(told)

    return call_later if inspect.iscoroutinefunction(method) else call  # type: ignore[return-value]


def _bare(error: SessionException) -> SessionException:
    error.__traceback__ = error.__cause__ = error.__context__ = None
    return error
