"""Reasons for the removal of sessions, as bits of a number and as public codes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from sessions_app.session.problems import CodedFlag, Problem


class Reason(CodedFlag):
    """Why a session is removed. Problems are also reasons; they use the lower bits."""

    EXPIRED = 1 << 8, "Last accessed too long ago, or its age cannot be read."
    SELECTED = 1 << 9, "Selected manually."
    ALL = 1 << 10, "All sessions in the scope were selected."
    VANISHED = 1 << 11, "Its file is gone from the session directory."
    GONE = 1 << 12, "Its browser is gone: two probes at least 10 minutes apart did not find it."
    NOT_NEWEST = 1 << 13, "It is not among the newest sessions that are kept."


REASONS: dict[str, Problem | Reason] = {reason.code: reason for reason in (*Reason, *Problem)}
"""All reasons by code, in display order."""

PROBLEM_BITS = (1 << 8) - 1


def reasons_in(bits: int) -> list[Problem | Reason]:
    """Return the reasons whose bits are set in a number."""
    return [*Problem(bits & PROBLEM_BITS), *Reason(bits & ~PROBLEM_BITS)]


def count_reasons(groups: Iterable[tuple[int, int]]) -> dict[str, int]:
    """Count the sessions with each reason by its code, from ``(bits, sessions)`` groups."""
    counts: Counter[str] = Counter()
    for bits, sessions in groups:
        for reason in reasons_in(bits):
            counts[reason.code] += sessions
    return dict(counts)
