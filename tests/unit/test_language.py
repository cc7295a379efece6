"""Find wording that readers must decode, in all tracked texts of the project."""

from __future__ import annotations

import ast
import io
import re
import subprocess
import tokenize
from collections.abc import Iterator
from pathlib import Path

PROJECT_DIR = Path(__file__).resolve().parents[2]
SUFFIXES = {".py", ".html", ".js", ".css", ".md"}
NAMES = {"Makefile", "pyproject.toml"}
GUIDE = "tests/guide/session-cleanup-guide.md"
WORDS = (
    "told|tells|for good|by hand|but for|waits for a person|gone on with|goes on with|meanwhile|brought back"
    "|so many|so long|whoever|else than|by way of|any more|by then|heard from|the one of|given up"
    "|(?:is|was|are|were) to be|(?:or|and) the like|(?:it|them) back in|brings? (?:it|them) back"
    # The term is “probe”.
    "|(?:a|last|first|second|two|older) looks?|ask(?:s|ed)? (?:the|its|their)? ?browsers?"
    # “in its own thread” is plain; “in a thread of its own” is not.
    r"|of (?:its|their) own(?=[.,;:)`]|$)|(?:queue|database|redis|worker) (?:that )?(?:is|was) away"
    r"|past (?:a|its|the) (?:safety )?limit"
    # "There is no such page." is plain; "It is no folder." is not.
    r"|(?<!there )is no(?! longer\b| more\b)"
)
ANYWHERE = re.compile(rf"(?<![^\W_])(?:{WORDS.replace(' ', '[ _]')})(?![^\W_])", re.IGNORECASE)
BEGINNINGS = "Who|Whose|That of|Those"
# In a heading of a document, “What” is a question that the section answers.
BEGINNINGS_IN_CODE = "What|One that"
AT_THE_BEGINNING = re.compile(rf"[\s#\"'/*<>!{{%-]*(?:{BEGINNINGS})\b")
IN_CODE = re.compile(rf"[\s#\"']*(?:{BEGINNINGS_IN_CODE})\b")
# Finding the prose of a file takes most of the time, so it is only done where it may be at fault.
ANY_BEGINNING = re.compile(f"{BEGINNINGS}|{BEGINNINGS_IN_CODE}")


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
    if ANY_BEGINNING.search(text):
        found |= {
            number
            for number, line in prose(name, text)
            if AT_THE_BEGINNING.match(line) or (name.endswith(".py") and IN_CODE.match(line))
        }
    return [f"{name}:{number}: {lines[number - 1].strip()}" for number in sorted(found)]


def test_the_project_is_written_in_plain_english() -> None:
    found = [
        fault
        for name in texts()
        if (PROJECT_DIR / name).exists()
        for fault in faults(name, (PROJECT_DIR / name).read_text(encoding="utf-8"))
    ]
    assert not found, "Rewrite these lines:\n" + "\n".join(found)


def test_the_patterns_find_faults_and_spare_plain_english() -> None:
    for line in (
        "# It is no folder.",
        "# Who waits is asked.",
        "assert_told(page)",
        "# Removed for good.",
        "# The last look found it.",
        "# In a thread of its own.",
        "# What a run removed.",
    ):
        assert faults("module.py", line), line
    for line in (
        "# There is no page.",
        "# It is no longer there.",
        "# Users who wait.",
        "# Names that look alike.",
        "# The worker of its own machine.",
    ):
        assert not faults("module.py", line), line
