"""How numbers are put into words, on screens, in commands and in logs alike."""

from __future__ import annotations


def count_of(number: int, noun: str, plural: str = "") -> str:
    """Say how many, as in “1 session” and “2,000 sessions”."""
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"


def in_days(days: float) -> str:
    """Say a number of days, which may have a fraction, as in “1 day” and “7.5 days”."""
    return f"{days:g} {'day' if days == 1 else 'days'}"
