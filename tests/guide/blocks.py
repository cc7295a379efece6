"""The blocks of Python in a document, taken out of it as they stand."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

GUIDE = Path(__file__).with_name("session-cleanup-guide.md")
# Blocks of any language: a comment in one is no heading.
_PARTS = re.compile(
    r"^#+ (?P<heading>[^\n]+)$|^```(?P<language>\w*)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL
)


@dataclass(frozen=True)
class Block:
    """Some lines of Python, and the heading that they stand under."""

    heading: str
    text: str


def read_blocks(document: Path) -> list[Block]:
    """Give all blocks of Python of a document, in order."""
    heading = ""
    blocks = []
    for part in _PARTS.finditer(document.read_text(encoding="utf-8")):
        heading = part["heading"] or heading
        if part["language"] == "python":
            blocks.append(Block(heading, part["text"]))
    return blocks
