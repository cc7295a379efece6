"""Render a document for the page: readable for any bytes, with its endpoints and credentials masked."""

from __future__ import annotations

import codecs
import json
import re
from dataclasses import dataclass

from sessions_app.session.document import read_json
from sessions_app.session.endpoint import Mask, cut_between_words
from sessions_app.session.masked_json import SHOWN_CHARACTERS, mask_json

_INVISIBLE = re.compile(r"[^\n\t -~]")


@dataclass(frozen=True)
class ShownDocument:
    text: str
    is_truncated: bool


def show_document(data: bytes, *, cdp_url: str, shows_credentials: bool = False) -> ShownDocument:
    """Format the beginning of a document for reading; the time is that of reading its JSON.

    Args:
        cdp_url: Endpoint of the session; its parts are masked everywhere.
        shows_credentials: Show the values of names such as ``password`` too.
    """
    try:
        masked = mask_json(read_json(data), endpoints=[cdp_url], shows_credentials=shows_credentials)
    except (ValueError, RecursionError):
        text, is_truncated = _masked_text(data, cdp_url)
    else:
        text, is_truncated = json.dumps(masked.value, indent=2, ensure_ascii=False), masked.is_truncated
    shown = _INVISIBLE.sub(_visible, text[:SHOWN_CHARACTERS])
    return ShownDocument(shown, is_truncated or len(text) > SHOWN_CHARACTERS)


def _masked_text(data: bytes, cdp_url: str) -> tuple[str, bool]:
    """Decode the beginning of bytes that are not JSON, and mask it as a text."""
    start = data[: SHOWN_CHARACTERS * 4]
    text = start.decode(_encoding(start), "backslashreplace")
    cut = cut_between_words(text, SHOWN_CHARACTERS)
    return Mask(cdp_url)(cut), len(cut) < len(text) or len(start) < len(data)


def _encoding(data: bytes) -> str:
    """Detect UTF-16 and UTF-32 by their many NULs; decoded as UTF-8, their endpoints would not be masked."""
    has_mark = data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    return json.detect_encoding(data) if has_mark or data.count(0) * 4 >= len(data) else "utf-8"


def _visible(found: re.Match[str]) -> str:
    """Escape characters without a glyph: control characters, lone surrogates, direction marks."""
    character = found[0]
    if character.isprintable():
        return character
    return character.encode("unicode_escape", "surrogatepass").decode("ascii")
