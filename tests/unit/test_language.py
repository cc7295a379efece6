"""Hold the wording that readers had to decode at zero, in all tracked texts of the project."""

from __future__ import annotations

import ast
import io
import re
import subprocess
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest

PROJECT_DIR = Path(__file__).resolve().parents[2]
SUFFIXES = {".py", ".html", ".js", ".css", ".md"}
NAMES = {"Makefile", "pyproject.toml"}
GUIDE = "tests/guide/session-cleanup-guide.md"
WORDS = (
    "told|tells|for good|by hand|but for|waits for a person|gone on with|goes on with|meanwhile|brought back"
    "|so many|so long|whoever|else than|by way of"
    # "There is no such page." is plain; "It is no folder." is not.
    r"|(?<!there )is no(?! longer\b| more\b)"
)
ANYWHERE = re.compile(rf"(?<![^\W_])(?:{WORDS.replace(' ', '[ _]')})(?![^\W_])", re.IGNORECASE)
AT_THE_BEGINNING = re.compile(r"[\s#\"'/*<>!{%-]*(?:Who|Whose|That of|Those)\b")


def texts() -> list[str]:
    tracked = subprocess.run(["git", "ls-files", "-z"], cwd=PROJECT_DIR, check=True, capture_output=True)
    return [
        name
        for name in tracked.stdout.decode().split("\0")
        if (Path(name).suffix in SUFFIXES or Path(name).name in NAMES)
        and "/migrations/" not in name
        and name not in (GUIDE, Path(__file__).relative_to(PROJECT_DIR).as_posix())
    ]


def prose(name: str, text: str) -> Iterator[tuple[int, str]]:
    """Yield the lines of comments and docstrings; of other files than Python's, every line."""
    if not name.endswith(".py"):
        yield from enumerate(text.splitlines(), 1)
        return
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.COMMENT:
            yield token.start[0], token.string
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            lines = text.splitlines()[node.lineno - 1 : node.end_lineno]
            yield from enumerate(lines, node.lineno)


def faults(name: str, text: str) -> list[str]:
    lines = text.splitlines()
    found = {number for number, line in enumerate(lines, 1) if ANYWHERE.search(line)}
    found |= {number for number, line in prose(name, text) if AT_THE_BEGINNING.match(line)}
    return [f"{name}:{number}: {lines[number - 1].strip()}" for number in sorted(found)]


def test_the_project_is_written_in_plain_english() -> None:
    found = [
        fault
        for name in texts()
        if (PROJECT_DIR / name).exists()
        for fault in faults(name, (PROJECT_DIR / name).read_text(encoding="utf-8"))
    ]
    assert not found, "Rewrite these lines:\n" + "\n".join(found)


@pytest.mark.parametrize(
    "line",
    [
        "# It is no folder.",
        "# Who waits is asked.",
        '"""Whose file was written."""',
        "assert_told(page)",
        "# Removed for good.",
        "def test_what_is_done_meanwhile(): ...",
    ],
)
def test_a_worst_pattern_is_found(line: str) -> None:
    assert faults("module.py", line)


@pytest.mark.parametrize("line", ["# There is no page.", "# It is no longer there.", "# Users who wait."])
def test_plain_english_is_left_alone(line: str) -> None:
    assert not faults("module.py", line)
