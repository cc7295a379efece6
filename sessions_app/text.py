"""Wording that screens, commands and logs share."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def count_of(number: int, noun: str, plural: str = "") -> str:
    """Return a number with its noun, as in “1 session” and “2,000 sessions”."""
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"


def in_days(days: float) -> str:
    """Return a number of days, which may have a fraction, as in “1 day” and “7.5 days”."""
    return f"{days:g} {'day' if days == 1 else 'days'}"


def printable(text: str, *, kept: str = "") -> str:
    """Escape characters that would control a terminal or forge a line of a log, except those in ``kept``."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c in kept else c.encode("unicode_escape").decode() for c in text)


def did_you_mean(name: str, known: Iterable[str], *, limit: int = 3) -> str:
    """Return “Did you mean “a” or “b”?” with the known names closest to a name, or "" if none is close."""
    close = difflib.get_close_matches(name, list(known), n=limit)
    return f"Did you mean {' or '.join(f'“{other}”' for other in close)}?" if close else ""
