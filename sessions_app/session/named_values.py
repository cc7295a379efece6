"""Masks the values of secret names in texts: JSON and Python values, even torn ones, headers, assignments."""

from __future__ import annotations

import re
from collections.abc import Callable

from sessions_app.session.secret_names import is_credential_name, is_endpoint_name
from sessions_app.session.spellings import without_escapes

# A name, as in "name: value", name=value, {'name': value} and --name value, but not the scheme of an address.
# It starts where no other name continues, and is possessive, so that each character is read once.
_NAMED = re.compile(
    r"(?<![\w.-])(?:(--[\w-]++)[ \t]{1,4}(?=[^\s=-])"
    r"|((?:(?i:api|access|private|storage|local|session) )?[\w.-]++)"
    r"[\"']?\s{0,64}+(?:=>|->|:=|==|=|:(?!\\{0,8}(?:/|u002[fF])\\{0,8}(?:/|u002[fF])))\s{0,64}+)"
    # Python literals such as b'…'.
    r"(?:[bBuUrR]{1,2}(?=[\"']))?"
)
_QUOTED = {'"': re.compile(r'(?:[^"\\]|\\.)*+', re.DOTALL), "'": re.compile(r"(?:[^'\\]|\\.)*+", re.DOTALL)}
_PLAIN = re.compile(r"(?:(?i:bearer|basic|digest|token)\s+)?[^\s,;&\"'<>\]})]*")
# The rest of the line, except that a quote ends it unless it begins a value.
_LINE = re.compile(r"(?:[^\r\n\"']|(?<==)\"[^\"\r\n]*\"?)*+")
_LITERAL = re.compile(r"(?i)(?:true|false|null|none)(?![^\s,;}\])&\"'])")
_BRACKETS = re.compile(r"[\[\]{}\"']")
_WHOLE_LINE = re.compile(r"(?i)cookie|authori|header")


def mask_named_values(text: str, mask_address: Callable[[str], str]) -> str:
    """Mask the values of names that are secret, in a text that is or contains JSON, Python or a header.

    Args:
        mask_address: Shortens the address of a browser.
    """
    kept, done = [], 0
    previous = ""
    for found in _NAMED.finditer(text):
        if found.start() < done:
            continue
        name, start = found[1] or found[2], found.end()
        # A pair, as in {"name": "Cookie", "value": "a=b"}.
        is_credential = is_credential_name(name) or (name == "value" and is_credential_name(previous))
        if name in ("name", "key") and text[start : start + 1] in ("'", '"'):
            previous = text[start + 1 : _end_of_string(text, start) - 1]
            is_credential &= not is_credential_name(previous)
        if not is_credential and not is_endpoint_name(name):
            continue
        end = _end_of_value(text, start, name)
        value = text[start:end]
        if value.strip("\"'…") and not _LITERAL.fullmatch(value):
            kept += [text[done:start], _masked_value(value, None if is_credential else mask_address)]
            done = end
    return "".join(kept) + text[done:] if kept else text


def _masked_value(value: str, mask_address: Callable[[str], str] | None) -> str:
    quote = value[0] if value[0] in _QUOTED else ""
    inner = value.strip(quote) if quote else value
    shown = mask_address(without_escapes(inner)) if mask_address and value[0] not in "[{" else "…"
    return f"{quote}{shown}{quote if value[-1:] == quote and len(value) > 1 else ''}"


def _end_of_value(text: str, start: int, name: str) -> int:
    first = text[start : start + 1]
    if first in _QUOTED:
        if text.startswith(3 * first, start):
            end = text.find(3 * first, start + 3)
            return end + 3 if end >= 0 else len(text)
        return _end_of_string(text, start)
    if first in ("[", "{"):
        return _end_of_structure(text, start)
    found = _LITERAL.match(text, start) or (_LINE if _WHOLE_LINE.search(name) else _PLAIN).match(text, start)
    return found.end() if found else len(text)


def _end_of_string(text: str, start: int) -> int:
    """Return where a quoted text ends; the end of the text if it is cut off."""
    found = _QUOTED[text[start]].match(text, start + 1)
    return min(found.end() + 1, len(text)) if found else len(text)


def _end_of_structure(text: str, start: int) -> int:
    """Return where a list or an object ends; the end of the text if it is cut off."""
    depth, position = 0, start
    while found := _BRACKETS.search(text, position):
        position = found.end()
        if found[0] in _QUOTED:
            position = _end_of_string(text, found.start())
            continue
        depth += 1 if found[0] in "[{" else -1
        if depth == 0:
            return position
    return len(text)
