"""Runs commands as a user does, and makes the documents they are run on."""

from __future__ import annotations

import io
import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from django.core.management import CommandError, call_command

from sessions_app.models import BrowserSession
from sessions_app.session.document import write_document

PROJECT_DIR = Path(__file__).resolve().parents[2]
SESSION_FILES = PROJECT_DIR / "tests" / "session_files"
AS_OF = "2026-11-22T12:00:00+00:00"
OLD = "2026-10-01T11:00:00+00:00"
SECRET = "5e55104e-1111-4222-8333-444455556666"


@dataclass(frozen=True)
class Outcome:
    """What a command printed, and the exit status that the shell would see."""

    out: str
    err: str
    status: int

    @property
    def json(self) -> Any:
        return json.loads(self.out)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def run(*command: str | Path) -> Outcome:
    """Run a command with its arguments as written in a shell."""
    name, *arguments = map(str, command)
    out, err, status = io.StringIO(), io.StringIO(), 0
    try:
        call_command(name, *arguments, stdout=out, stderr=err)
    except CommandError as error:
        status = error.returncode
        err.write(f"{error}\n")
    return Outcome(out.getvalue(), err.getvalue(), status)


def expected() -> dict[str, dict[str, Any]]:
    """The truth table: what is told and removed of each file of ``SESSION_FILES``."""
    files: dict[str, dict[str, Any]] = json.loads((SESSION_FILES / "expected.json").read_text())["files"]
    return files


def copy_session_files(folder: Path) -> Path:
    """Copy the files of the truth table to where they may be removed."""
    shutil.copytree(SESSION_FILES / "sessions", folder)
    return folder


def names_in(folder: Path) -> set[str]:
    """The sessions that have a file in a folder."""
    return {path.stem for path in folder.glob("*.json")}


def write(folder: Path, name: str, **changes: Any) -> None:
    """Write a valid document, accessed an hour before ``AS_OF``, with some of its values replaced."""
    content = {
        "session_id": name,
        "cdp_url": f"ws://127.0.0.1:9222/devtools/browser/{SECRET}",
        "browser_type": "chromium",
        "created_at": "2026-11-22T10:00:00+00:00",
        "last_accessed": "2026-11-22T11:00:00+00:00",
        "metadata": {"page_url": "https://shop.example/cart"},
    }
    folder.mkdir(exist_ok=True)
    (folder / f"{name}.json").write_bytes(write_document({**content, **changes}))


def sync_four_sessions(folder: Path) -> Path:
    """Four sessions: a good one, an old one, an invalid one, and an old one that is pinned."""
    write(folder, "good")
    write(folder, "old", last_accessed=OLD)
    write(folder, "invalid", cdp_url="", session_id="")
    write(folder, "pinned", last_accessed=OLD)
    run("sync_directories", folder)
    BrowserSession.objects.filter(name="pinned").update(is_pinned=True)
    return folder
