"""Compare the documentation with the code."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from django.core.management import get_commands, load_command_class

from raptor.core import exceptions
from raptor.core.session_manager import SessionManager
from raptor_admin.environment import VARIABLES
from sessions_app.browsers.surroundings import SESSION_VARIABLE
from sessions_app.queue.schedules import JOBS

PROJECT_DIR = Path(__file__).resolve().parents[2]
README = (PROJECT_DIR / "README.md").read_text(encoding="utf-8")
OPERATIONS = (PROJECT_DIR / "docs" / "operations.md").read_text(encoding="utf-8")
MANAGER = (PROJECT_DIR / "docs" / "session-manager.md").read_text(encoding="utf-8")
GUIDE = (PROJECT_DIR / "docs" / "guide.md").read_text(encoding="utf-8")
DOCUMENTS = {
    path.relative_to(PROJECT_DIR).as_posix(): path.read_text(encoding="utf-8")
    for path in (*PROJECT_DIR.glob("*.md"), *PROJECT_DIR.glob("docs/*.md"))
}
README_WORDS = 900
DJANGO_ONLY = "RAPTOR_TASK_DEADLINE_SECONDS"
"""A Django setting without an environment variable."""

MARKS = {SESSION_VARIABLE}
"""Variables that the panel sets and does not read."""

COMMANDS = sorted(name for name, app in get_commands().items() if app == "sessions_app")


def rows(text: str, heading: str) -> list[list[str]]:
    """Return the cells of the first table under a heading, without its header."""
    section = text.split(f"\n## {heading}\n", 1)[1].split("\n## ", 1)[0]
    lines = [line for line in section.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines[2:]]


def test_the_settings_table_agrees_with_the_code() -> None:
    declared = [[f"`{v.name}`", v.documented_default, v.meaning] for v in VARIABLES]
    assert rows(OPERATIONS, "Settings") == declared


def test_each_command_is_documented() -> None:
    assert sorted(row[0].strip("`").split()[0] for row in rows(GUIDE, "Commands")) == COMMANDS


@pytest.mark.parametrize("name", COMMANDS)
def test_each_command_and_each_option_has_a_help_text(name: str) -> None:
    command = load_command_class("sessions_app", name)
    parser = command.create_parser("manage.py", name)
    assert command.help.endswith(".")
    assert all(action.help for action in parser._actions if action.option_strings)


def test_each_option_in_the_guide_exists() -> None:
    options = {
        option
        for name in COMMANDS
        for action in load_command_class("sessions_app", name).create_parser("manage.py", name)._actions
        for option in action.option_strings
    }
    section = GUIDE.split("\n## Commands\n", 1)[1].split("\n## ", 1)[0]
    assert set(re.findall(r"--[a-z][a-z-]+", section)) <= options


def test_each_variable_in_the_documents_is_a_setting() -> None:
    known = {variable.name for variable in VARIABLES}
    assert set(re.findall(r"RAPTOR_(?!TEST_)[A-Z_]+", "".join(DOCUMENTS.values()))) <= known | MARKS | {
        DJANGO_ONLY
    }


def test_the_readme_can_be_read_in_two_minutes() -> None:
    assert len(README.split()) <= README_WORDS


def test_the_readme_starts_with_the_two_commands() -> None:
    top = README.split("\n## ", 2)
    assert "make up " in top[1]
    assert "make test " in top[1]


def test_each_make_target_in_the_readme_exists() -> None:
    makefile = (PROJECT_DIR / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z-]+):", makefile, flags=re.MULTILINE))
    assert set(re.findall(r"`?make ([a-z-]+)`?(?:  |`)", README)) <= targets


def test_each_schedule_is_documented() -> None:
    documented = [row[0].strip("`") for row in rows(OPERATIONS, "What runs")]
    assert documented == [job.task.rpartition(".")[2] for job in JOBS]


def test_each_check_is_documented() -> None:
    checks = (PROJECT_DIR / "sessions_app" / "checks.py").read_text(encoding="utf-8")
    documented = [row[0].strip("`") for row in rows(OPERATIONS, "Messages of the checks")]
    assert documented == re.findall(r'id="(sessions_app\.[EW]\d+)"', checks)


@pytest.mark.parametrize("name", DOCUMENTS)
def test_each_link_has_a_target(name: str) -> None:
    text, folder = DOCUMENTS[name], (PROJECT_DIR / name).parent
    anchors = {
        re.sub(r"[^a-z0-9 -]", "", heading.lower()).replace(" ", "-")
        for heading in re.findall(r"^#+ (.+)$", "\n".join(DOCUMENTS.values()), flags=re.MULTILINE)
    }
    for link in re.findall(r"\]\(([^)]+)\)", text):
        path, _, anchor = link.partition("#")
        assert not path or (folder / path).is_file(), link
        assert not anchor or anchor in anchors, link


def test_no_path_of_a_developer_is_in_the_documents() -> None:
    assert not re.search(r"(?<![\w~.])/(home|root|Users|work|tmp)/", "".join(DOCUMENTS.values()))


def test_each_method_of_the_manager_is_documented_with_its_arguments() -> None:
    documented = [row[0].strip("`") for row in rows(MANAGER, "All methods")]
    methods = {name: method for name, method in vars(SessionManager).items() if inspect.isfunction(method)}
    signatures = [_arguments(method, name) for name, method in methods.items() if not name.startswith("_")]
    assert sorted(documented) == sorted(signatures)
    assert f"`{_arguments(SessionManager.__init__, 'SessionManager')}`" in MANAGER


def _arguments(method: Callable[..., object], name: str) -> str:
    """Return the signature of a method as in the table: without self and annotations."""
    signature = inspect.signature(method)
    bare = [p.replace(annotation=p.empty) for p in signature.parameters.values() if p.name != "self"]
    short = signature.replace(parameters=bare, return_annotation=signature.empty)
    return f"{name}{short}".replace("'", '"')


def test_each_exception_of_a_restore_is_documented() -> None:
    documented = {row[0].strip("`") for row in rows(MANAGER, "Restore")}
    assert documented == {name for name in exceptions.__all__ if not name.endswith(("Warning", "Exception"))}
