"""Fixtures for test projects that save browser sessions: ask for them, and there is no conftest to write."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from raptor.core.session_manager import SessionManager

_CLEANED = "raptor_cleaned_namespaces"
_namespaces = pytest.StashKey[set[str]]()


@pytest.fixture(scope="session")
def session_manager() -> SessionManager:
    """The ``SessionManager`` of ``RAPTOR_NAMESPACE``."""
    from raptor.core.session_manager import SessionManager

    return SessionManager()


@pytest.fixture(scope="session")
def clean_sessions(request: pytest.FixtureRequest, session_manager: SessionManager) -> Iterator[None]:
    """Remove all sessions of the namespace when the tests are over; the panel can bring them back."""
    yield
    # pytest-xdist's workers end one after another: the last word is the controller's.
    if hasattr(request.config, "workeroutput"):
        request.config.workeroutput[_CLEANED] = session_manager.namespace
    else:
        session_manager.cleanup_all_sessions()


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: object) -> None:
    """Note what a worker of pytest-xdist wants to be cleaned."""
    told = getattr(node, "workeroutput", {})
    if _CLEANED in told:
        node.config.stash.setdefault(_namespaces, set()).add(told[_CLEANED])  # type: ignore[attr-defined]


def pytest_unconfigure(config: pytest.Config) -> None:
    """Clean up for the workers of pytest-xdist, which have all ended by now."""
    for namespace in config.stash.get(_namespaces, set()):
        from raptor.core.session_manager import SessionManager

        SessionManager(namespace=namespace).cleanup_all_sessions()
