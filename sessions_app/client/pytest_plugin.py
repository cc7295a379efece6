"""Fixtures for test projects that save browser sessions; they need no conftest."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from sessions_app.client.manager import SessionManager

_CLEANED = "raptor_cleaned_namespaces"
_namespaces = pytest.StashKey[set[str]]()


@pytest.fixture(scope="session")
def session_manager() -> SessionManager:
    """The ``SessionManager`` of ``RAPTOR_NAMESPACE``."""
    from sessions_app.client.manager import SessionManager

    return SessionManager()


@pytest.fixture(scope="session")
def clean_sessions(request: pytest.FixtureRequest, session_manager: SessionManager) -> Iterator[None]:
    """Remove all sessions of the namespace after the tests; the panel can restore them."""
    yield
    # The workers of pytest-xdist end one by one, so the controller cleans up after the last.
    if hasattr(request.config, "workeroutput"):
        request.config.workeroutput[_CLEANED] = session_manager.namespace
    else:
        session_manager.cleanup_all_sessions()


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: object) -> None:
    """Remember the namespace that a worker of pytest-xdist asks to be cleaned."""
    output = getattr(node, "workeroutput", {})
    if _CLEANED in output:
        node.config.stash.setdefault(_namespaces, set()).add(output[_CLEANED])  # type: ignore[attr-defined]


def pytest_unconfigure(config: pytest.Config) -> None:
    """Clean up for the workers of pytest-xdist, all of which have ended."""
    for namespace in config.stash.get(_namespaces, set()):
        from sessions_app.client.manager import SessionManager

        SessionManager(namespace=namespace).cleanup_all_sessions()
