"""Snapshots of the visible text of pages, so that one test per screen pins its wording.

Run the tests with ``RAPTOR_TEST_UPDATE_SNAPSHOTS=1`` to update the snapshots, then review the diff.
"""

from __future__ import annotations

import html
import os
import re
from pathlib import Path

UPDATE_VARIABLE = "RAPTOR_TEST_UPDATE_SNAPSHOTS"
_HIDDEN = re.compile(r"<(script|style|datalist|svg|nav)\b.*?</\1>|<!--.*?-->", re.DOTALL)
_CONTENT = re.compile(r'<(?:main|div id="content)[^>]*>(.*?)(?:</main>|<footer)', re.DOTALL)
_FIELD = re.compile(r'<input type="submit"[^>]*?value="([^"]*)"[^>]*>')
_BLOCK = re.compile(
    r"</?(?:p|div|h\d|li|ul|tr|table|caption|form|fieldset|legend|dl|dt|dd|label|option|br)\b[^>]*>"
)
_CELL = re.compile(r"</t[hd]>\s*<t[hd]\b")
_VARIABLE = (
    (re.compile(r"RAPTOR_VAR_DIR=\S+ "), ""),
    (re.compile(r"\d{4}-\d\d-\d\d(?: \d\d:\d\d(?::\d\d)?)?(?: UTC)?"), "<time>"),
    (re.compile(r"\b\d\d:\d\d:\d\d\b"), "<time>"),
    (re.compile(r"\b([Rr]un) \d+"), r"\1 <id>"),
    (re.compile(r"\b[\d.,]+\s(?:bytes?|KB|MB|GB)\b"), "<size>"),
    (re.compile(r"\b\d+ (?:milli)?seconds?\b|\bunder a second\b"), "<duration>"),
)


def visible_text(page: str) -> str:
    """Return the text of the content of a page, a block on each line; ids, times and sizes are replaced."""
    content = _CONTENT.search(page)
    text = _HIDDEN.sub("", content[1] if content else page)
    text = _FIELD.sub(r"[\1]", text)
    text = re.sub(r"<button\b[^>]*>(.*?)</button>", r"[\1]", text, flags=re.DOTALL)
    text = _CELL.sub(" | <td", text)
    text = _BLOCK.sub("\n", re.sub(r"[ \t\r\n]+", " ", text))
    text = html.unescape(re.sub(r"<[^>]*>", "", text)).replace("\xa0", " ")
    for pattern, replacement in _VARIABLE:
        text = pattern.sub(replacement, text)
    lines = (" ".join(line.split()) for line in text.splitlines())
    return "".join(f"{line}\n" for line in lines if line)


def assert_snapshot(file: Path, page: str) -> None:
    """Compare the visible text of a page with a file, or write the file."""
    text = visible_text(page)
    if os.environ.get(UPDATE_VARIABLE):
        file.write_text(text)
    assert file.read_text() == text, f"run again with {UPDATE_VARIABLE}=1 to update {file.name}"
