"""Render a document for the page: readable for any bytes, with its endpoints masked."""

from __future__ import annotations

import codecs
import json
import re
from dataclasses import dataclass

from sessions_app.session.document import read_document
from sessions_app.session.endpoint import mask_endpoints
from sessions_app.session.masking import mask_address, mask_json

SHOWN_CHARACTERS = 20_000
# json.dumps with indent runs in pure Python and takes 0.2 s for this size. Longer documents are not indented.
INDENTED_BYTES = 500_000

_CDP_URL = re.compile(r'(?i)("cdp_url"\s*:\s*")((?:[^"\\]|\\.)*)')


@dataclass(frozen=True)
class ShownDocument:
    text: str
    is_truncated: bool


def show_document(data: bytes, *, cdp_url: str) -> ShownDocument:
    """Format a document for reading, with its endpoints masked to their hosts."""
    text = _indented(data) if len(data) <= INDENTED_BYTES else None
    if text is None:
        start = data[: SHOWN_CHARACTERS * 4]
        text = start.decode(_encoding(start), "backslashreplace")
        text = _CDP_URL.sub(lambda match: match[1] + mask_address(match[2]), text)
    text = mask_endpoints(text, cdp_url=cdp_url)
    is_truncated = len(text) > SHOWN_CHARACTERS or (len(data) > SHOWN_CHARACTERS * 4)
    return ShownDocument("".join(map(_visible, text[:SHOWN_CHARACTERS])), is_truncated)


def _encoding(data: bytes) -> str:
    """Detect UTF-16 and UTF-32 by their many NULs; decoded as UTF-8, their endpoints would not be masked."""
    has_mark = data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    return json.detect_encoding(data) if has_mark or data.count(0) * 4 >= len(data) else "utf-8"


def _indented(data: bytes) -> str | None:
    content = read_document(data)
    if content is None:
        return None
    try:
        return json.dumps(mask_json(content), indent=2, ensure_ascii=False)
    except RecursionError:
        return None


def _visible(character: str) -> str:
    """Escape characters without a glyph: control characters, lone surrogates, direction marks."""
    if character.isprintable() or character in "\n\t":
        return character
    return character.encode("unicode_escape", "surrogatepass").decode("ascii")
