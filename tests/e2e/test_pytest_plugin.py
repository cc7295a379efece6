"""The pytest fixtures of the package."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.e2e.scripts import Project

TESTS = """
from tests.pages import page

def test_that_saves(session_manager):
    session_manager.save_session(page(), "cart")
    assert session_manager.list_sessions() == ["cart"]

def test_that_asks_to_clean_up({fixture}):
    pass
"""
COUNT = "from raptor.core.session_manager import SessionManager as M; print(M().get_session_count())"


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(tmp_path)


@pytest.mark.parametrize(("fixture", "left"), [("clean_sessions", "0"), ("tmp_path", "1")])
def test_sessions_are_removed_after_the_tests_on_request(project: Project, fixture: str, left: str) -> None:
    (project.directory / "test_shop.py").write_text(TESTS.format(fixture=fixture))
    done = project.run("-m", "pytest", "-p", "raptor.pytest_plugin", "-p", "no:randomly", "-W", "error")
    assert done.returncode == 0, done.stdout
    assert project.run("-c", COUNT).stdout.strip() == left


def test_a_run_without_the_fixtures_does_not_load_django(project: Project) -> None:
    (project.directory / "test_shop.py").write_text(
        "import sys\ndef test_nothing():\n    assert not {'django', 'playwright'} & set(sys.modules)\n"
    )
    done = project.run("-m", "pytest", "-p", "raptor.pytest_plugin", "-p", "no:django", "-p", "no:randomly")
    assert done.returncode == 0, done.stdout
    assert not (project.directory / "var").exists()
