"""The ``SessionManager``, under the import path of RAPTOR's guide."""

from sessions_app.client.manager import SessionManager
from sessions_app.exceptions import SessionException
from sessions_app.session.info import SessionInfo

__all__ = ["SessionException", "SessionInfo", "SessionManager"]
