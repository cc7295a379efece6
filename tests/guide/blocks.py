"""Read the Python blocks of a Markdown document."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

GUIDE = Path(__file__).with_name("session-cleanup-guide.md")
# Match blocks of any language, so that a comment in one is not read as a heading.
_PARTS = re.compile(
    r"^#+ (?P<heading>[^\n]+)$|^```(?P<language>\w*)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL
)


@dataclass(frozen=True)
class Block:
    """A block of Python and its heading."""

    heading: str
    text: str


def read_blocks(document: Path) -> list[Block]:
    """Return the Python blocks of a document, in order."""
    heading = ""
    blocks = []
    for part in _PARTS.finditer(document.read_text(encoding="utf-8")):
        heading = part["heading"] or heading
        if part["language"] == "python":
            blocks.append(Block(heading, part["text"]))
    return blocks
