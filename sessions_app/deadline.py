"""Time limits of long work."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Self


@dataclass(frozen=True)
class Deadline:
    """An instant after which long work starts no further batch; by default there is none."""

    monotonic_seconds: float = float("inf")

    @classmethod
    def after(cls, seconds: float) -> Self:
        """Return the deadline that many seconds from now."""
        return cls(time.monotonic() + seconds)

    @property
    def has_passed(self) -> bool:
        return time.monotonic() >= self.monotonic_seconds
