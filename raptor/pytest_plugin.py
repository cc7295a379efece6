"""The fixtures for test projects, under the import path of RAPTOR's guide: ``-p raptor.pytest_plugin``."""

from sessions_app.client.pytest_plugin import (
    clean_sessions,
    pytest_testnodedown,
    pytest_unconfigure,
    session_manager,
)

__all__ = ["clean_sessions", "pytest_testnodedown", "pytest_unconfigure", "session_manager"]
