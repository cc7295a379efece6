"""The exceptions and warnings of saved browser sessions, under the import path of RAPTOR's guide."""

from sessions_app.exceptions import (
    BrowserReplaced,
    BrowserUnreachable,
    MissingEndpointWarning,
    PageCrashed,
    PageNotFound,
    RaptorException,
    SeparateContextWarning,
    SessionException,
    SessionInvalid,
    SessionNotFound,
    TabUnresponsive,
)

__all__ = [
    "BrowserReplaced",
    "BrowserUnreachable",
    "MissingEndpointWarning",
    "PageCrashed",
    "PageNotFound",
    "RaptorException",
    "SeparateContextWarning",
    "SessionException",
    "SessionInvalid",
    "SessionNotFound",
    "TabUnresponsive",
]
