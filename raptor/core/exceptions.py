"""The exceptions of saved browser sessions, under the import path of RAPTOR's guide."""

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
