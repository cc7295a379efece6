"""The ``SessionManager``, under the name that RAPTOR's guide imports."""

from sessions_app.exceptions import SessionException
from sessions_app.manager import SessionInfo, SessionManager

__all__ = ["SessionException", "SessionInfo", "SessionManager"]
