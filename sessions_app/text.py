"""Wording that screens, commands and logs share."""

from __future__ import annotations

import difflib
import os
import shlex
from collections.abc import Iterable
from datetime import datetime

from django.utils import timezone

VAR_DIR = "RAPTOR_VAR_DIR"


def count_of(number: int, noun: str, plural: str = "") -> str:
    """Return a number with its noun, as in “1 session” and “2,000 sessions”."""
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"


def part_of(number: int, total: int, noun: str) -> str:
    """Return a fraction with its noun, as in “2 of 3 sessions” and “1 of 1 session”."""
    return f"{number:,} of {count_of(total, noun)}"


def were(number: int) -> str:
    """Return “was” or “were” for a number of objects."""
    return "was" if number == 1 else "were"


def in_days(days: float) -> str:
    """Return a number of days, which may have a fraction, as in “1 day” and “7.5 days”."""
    return f"{days:g} {'day' if days == 1 else 'days'}"


def manage_command(arguments: str) -> str:
    """Return a management command to run in the folder of the project, for the data of this panel."""
    var_dir = os.environ.get(VAR_DIR, "")
    data = f"{VAR_DIR}={shlex.quote(var_dir)} " if var_dir else ""
    return f"{data}.venv/bin/python manage.py {arguments}"


def clock(instant: datetime | None, now: datetime) -> str:
    """Format an instant in TIME_ZONE as a time, with the date unless it is today; blank for None."""
    if instant is None:
        return ""
    local = timezone.localtime(instant)
    is_today = local.date() == timezone.localtime(now).date()
    return local.strftime("%H:%M" if is_today else "%Y-%m-%d %H:%M")


def printable(text: str, *, kept: str = "") -> str:
    """Escape characters that would control a terminal or forge a line of a log, except those in ``kept``."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c in kept else c.encode("unicode_escape").decode() for c in text)


def did_you_mean(name: str, known: Iterable[str], *, limit: int = 3) -> str:
    """Return “Did you mean “a” or “b”?” with the known names closest to a name, or "" if none is close."""
    close = difflib.get_close_matches(name, list(known), n=limit)
    return f"Did you mean {' or '.join(f'“{other}”' for other in close)}?" if close else ""
