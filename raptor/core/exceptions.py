"""The exceptions of saved browser sessions, under the name that RAPTOR's guide imports."""

from sessions_app.exceptions import (
    BrowserReplaced,
    BrowserUnreachable,
    MissingEndpointWarning,
    PageNotFound,
    SessionException,
    SessionInvalid,
    SessionNotFound,
)

__all__ = [
    "BrowserReplaced",
    "BrowserUnreachable",
    "MissingEndpointWarning",
    "PageNotFound",
    "SessionException",
    "SessionInvalid",
    "SessionNotFound",
]
