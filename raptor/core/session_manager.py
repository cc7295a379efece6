"""The ``SessionManager``, under the name that RAPTOR's guide imports."""

from sessions_app.client.manager import SessionManager
from sessions_app.exceptions import SessionException
from sessions_app.session.info import SessionInfo

__all__ = ["SessionException", "SessionInfo", "SessionManager"]
