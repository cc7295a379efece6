"""The block of the guide that restores a session, with a browser that another process has left running."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.e2e.scripts import Project
from tests.guide.blocks import GUIDE, read_blocks
from tests.guide.programs import awaiting, run_text

(RESTORING,) = (block.text for block in read_blocks(GUIDE) if "await" in block.text)
SHOP = "data:text/html,<title>Shop</title>"
LAUNCH = f'await manager.launch_session("my_session", url="{SHOP}")\n'
LOOK = 'print(await names["page"].title())'


@pytest.fixture
def project(tmp_path: Path) -> Iterator[Project]:
    yield Project(tmp_path)
    for pid in browsers(tmp_path):
        with suppress(ProcessLookupError):
            os.killpg(pid, signal.SIGKILL)


def browsers(folder: Path) -> list[int]:
    """The main processes of the browsers whose profiles are in a folder."""
    listed = subprocess.run(
        ["ps", "-A", "-ww", "-o", "pid=,args="], capture_output=True, text=True, check=True
    ).stdout
    lines = [line.split(None, 1) for line in listed.splitlines()]
    return [int(pid) for pid, args in lines if f"--user-data-dir={folder}" in args and "--type=" not in args]


def test_the_block_restores_a_session_of_another_process(project: Project) -> None:
    assert run_text(project, awaiting(LAUNCH)) == ("", "")
    assert run_text(project, awaiting(RESTORING, after=LOOK)) == ("Shop\n", "")
    # It goes on, for the next program.
    assert len(browsers(project.directory)) == 1


def test_the_block_makes_a_session_anew_where_there_is_none(project: Project) -> None:
    printed, _ = run_text(project, awaiting(RESTORING + "    " + LAUNCH, after=""))
    assert printed == "Session is invalid, creating new session...\n"
    assert run_text(project, awaiting(RESTORING, after=LOOK)) == ("Shop\n", "")
