"""The exceptions that ``SessionManager`` raises."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any, TypeVar

_Method = TypeVar("_Method", bound=Callable[..., Any])


class RaptorException(Exception):
    """The base of all exceptions, as RAPTOR has it.

    Attributes:
        message: The failure, and what to do about it.
        context: Further facts, for programs.
    """

    def __init__(self, message: str, context: dict[str, Any] | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.context = context or {}


class SessionException(RaptorException):
    """A session cannot be saved, found, restored or removed. The message never contains an endpoint.

    Args:
        operation: The message; RAPTOR calls it so.
        session_id: Added to the message.
        session_info: Kept in ``context``.
    """

    def __init__(
        self, operation: str, session_id: str | None = None, session_info: dict[str, Any] | None = None
    ) -> None:
        message = f"{operation} (session “{session_id}”)" if session_id else operation
        super().__init__(message)
        if session_id or session_info:
            self.context = {
                "session_operation": operation,
                "session_id": session_id,
                "session_info": session_info or {},
            }


class SessionNotFound(SessionException):
    """The session does not exist."""


class SessionInvalid(SessionException):
    """The session is invalid, so there is nothing to connect to."""


class BrowserUnreachable(SessionException):
    """The session's browser does not answer, or its host is not allowed."""


class BrowserReplaced(SessionException):
    """Another browser now listens on the session's port."""


class TabUnresponsive(BrowserUnreachable):
    """The browser answers, and a tab of it does not: it hangs, is stopped, or waits in a dialog."""


class PageNotFound(SessionException):
    """The browser runs, and the page that was saved was closed."""


class PageCrashed(PageNotFound):
    """The browser runs, and the page that was saved has crashed."""


class MissingEndpointWarning(UserWarning):
    """The saved session has no endpoint, so its browser cannot be reconnected to."""


class SeparateContextWarning(UserWarning):
    """The saved page has a separate context, whose cookies other programs do not get."""


def hide_traceback(method: _Method) -> _Method:
    """Raise a method's ``SessionException`` without its traceback, cause and context.

    Test runners print the arguments of each frame and every chained exception. These may contain an endpoint,
    and test reports are kept.
    """

    @functools.wraps(method)
    def call(*args: Any, **kwargs: Any) -> Any:
        try:
            return method(*args, **kwargs)
        except SessionException as error:
            failure = error
        raise _strip(failure)

    @functools.wraps(method)
    async def call_async(*args: Any, **kwargs: Any) -> Any:
        try:
            return await method(*args, **kwargs)
        except SessionException as error:
            failure = error
        raise _strip(failure)

    return call_async if inspect.iscoroutinefunction(method) else call  # type: ignore[return-value]


def _strip(error: SessionException) -> SessionException:
    error.__traceback__ = error.__cause__ = error.__context__ = None
    return error
