"""Run programs that use ``SessionManager``, each in a new process that has not set Django up."""

from __future__ import annotations

from django.db import connection

from tests.e2e.scripts import Project

IMPORT = "from raptor.core.session_manager import SessionManager\n"
_AWAITING = """
import ast, asyncio
from raptor.core.session_manager import SessionManager

async def main():
    async with SessionManager() as manager:
        names = {{"manager": manager}}
        await eval(compile({block!r}, "block", "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT), names)
        {after}

asyncio.run(main())
"""


def run(project: Project, *command: str) -> tuple[str, str]:
    """Run Python with some arguments and return its standard output and standard error.

    Warnings are errors, as in a strict test project.
    """
    done = project.run("-W", "error", *command)
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    return done.stdout, done.stderr


def run_text(project: Project, text: str) -> tuple[str, str]:
    """Run the text of a program."""
    (project.directory / "program.py").write_text(text, encoding="utf-8")
    return run(project, "program.py")


def awaiting(block: str, *, after: str = "pass") -> str:
    """Return a program that runs a block with ``await`` in an async function.

    Args:
        block: Code that uses ``manager``.
        after: A line that runs after the block and finds its variables in ``names``.
    """
    return _AWAITING.format(block=block, after=after)


def url_of_database() -> str:
    """Return the address of the database of the test."""
    database = connection.settings_dict
    if connection.vendor == "sqlite":
        return f"sqlite:///{database['NAME']}"
    user = ":".join(filter(None, (database["USER"], database["PASSWORD"])))
    host, port = database["HOST"] or "127.0.0.1", database["PORT"] or 5432
    return f"postgres://{user}@{host}:{port}/{database['NAME']}"
