"""Makes names that look alike distinguishable.

“é” can be one character or an “e” with a combining accent, and some characters are invisible. A folder can
contain files with all of these names.
"""

from __future__ import annotations

import unicodedata

# Invisible characters in the categories of letters and marks: fillers, joiners and variation selectors.
_BLANK_RANGES = (
    (0x034F, 0x034F),
    (0x115F, 0x1160),
    (0x17B4, 0x17B5),
    (0x180B, 0x180F),
    (0x2800, 0x2800),
    (0x3164, 0x3164),
    (0xFE00, 0xFE0F),
    (0xFFA0, 0xFFA0),
    (0xE0100, 0xE01EF),
)
_BLANK_CATEGORIES = frozenset(("Cc", "Cf", "Cn", "Co", "Cs", "Zl", "Zp", "Zs"))


def reveal(name: str) -> str:
    """Return a name with escapes for invisible and ambiguous characters; blank if it has none."""
    if name.isascii() and name.isprintable():
        return ""
    is_decomposed = not unicodedata.is_normalized("NFC", name)
    escaped = "".join(_escape(c) if _is_deceptive(c, is_decomposed) else c for c in name)
    if is_decomposed and escaped == name:
        # Some characters, such as Hangul letters, combine without a combining mark.
        escaped = "".join(c if c.isascii() else _escape(c) for c in name)
    return escaped if escaped != name else ""


def is_invisible(character: str) -> bool:
    """Check whether a character shows nothing, as spaces do."""
    return unicodedata.category(character) in _BLANK_CATEGORIES or any(
        first <= ord(character) <= last for first, last in _BLANK_RANGES
    )


def _is_deceptive(character: str, is_decomposed: bool) -> bool:
    if character == " ":
        return False
    return (
        is_invisible(character)
        or (is_decomposed and unicodedata.combining(character) != 0)
        or unicodedata.normalize("NFKC", character) != character
    )


def _escape(character: str) -> str:
    return character.encode("unicode_escape").decode()
