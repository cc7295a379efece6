"""Reads texts in which an address or a name is spelled with escapes, of JSON, URLs or HTML."""

from __future__ import annotations

import re

# Only printable ASCII characters: addresses and the names of secrets have no others. The limits keep long
# rows of backslashes from being slow.
_ESCAPE = re.compile(
    r"%([2-7][0-9a-fA-F])"
    r"|\\{1,8}(?:u00|x)([2-7][0-9a-fA-F])"
    r"|\\{1,8}([/\"'])"
    r"|&#(?:x([2-7][0-9a-fA-F])|(3[2-9]|[4-9][0-9]|1[01][0-9]|12[0-6]));"
    r"|&(amp|quot|apos|lt|gt);"
)
_ENTITIES = {"amp": "&", "quot": '"', "apos": "'", "lt": "<", "gt": ">"}


def without_escapes(text: str) -> str:
    """Return a text with one level of escapes replaced by the characters that they stand for."""
    if "%" not in text and "\\" not in text and "&" not in text:
        return text
    return _ESCAPE.sub(_character, text)


def _character(found: re.Match[str]) -> str:
    percent, unicode, quoted, hexadecimal, decimal, entity = found.groups()
    if code := percent or unicode or hexadecimal:
        # "%7f" and its like are control characters.
        return chr(int(code, 16)) if code.lower() != "7f" else found[0]
    if decimal:
        return chr(int(decimal))
    return quoted or _ENTITIES[entity]
