"""Programs as a test project has them: a fresh process each, in which nobody has set Django up."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from django.db import connection

PROJECT_DIR = Path(__file__).resolve().parents[2]
PROGRAM_SECONDS = 120
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


@dataclass(frozen=True)
class Programs:
    """A folder that programs run in, and the environment that they are given."""

    directory: Path
    database_url: str = ""
    chromium: str = ""

    def run(self, *command: str) -> tuple[str, str]:
        """Run Python with some arguments, to its end; give what it printed, and what it wrote to stderr.

        A warning is an error there, as in any strict test project.
        """
        done = subprocess.run(
            [sys.executable, "-W", "error", *command],
            cwd=self.directory,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=PROGRAM_SECONDS,
            check=False,
        )
        assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
        return done.stdout, done.stderr

    def run_text(self, text: str) -> tuple[str, str]:
        """Run a program that is given as text."""
        (self.directory / "program.py").write_text(text, encoding="utf-8")
        return self.run("program.py")

    @property
    def environment(self) -> dict[str, str]:
        return {
            "PATH": os.environ["PATH"],
            "HOME": str(self.directory),
            "PYTHONPATH": str(PROJECT_DIR),
            "PYTHONDONTWRITEBYTECODE": "1",
            "RAPTOR_VAR_DIR": str(self.directory / "var"),
            "RAPTOR_DATABASE_URL": self.database_url,
            "RAPTOR_CHROMIUM": self.chromium,
            "RAPTOR_TIME_ZONE": "UTC",
        }


def awaiting(block: str, *, after: str = "pass") -> str:
    """A program that runs a block with ``await`` in an async function.

    Args:
        block: It has a ``manager``.
        after: A line that is run after it, and finds what it has made in ``names``.
    """
    return _AWAITING.format(block=block, after=after)


def url_of_database() -> str:
    """The address of the database that the test itself is connected to."""
    database = connection.settings_dict
    if connection.vendor == "sqlite":
        return f"sqlite:///{database['NAME']}"
    user = ":".join(filter(None, (database["USER"], database["PASSWORD"])))
    host, port = database["HOST"] or "127.0.0.1", database["PORT"] or 5432
    return f"postgres://{user}@{host}:{port}/{database['NAME']}"
