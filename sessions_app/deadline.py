from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Self


@dataclass(frozen=True)
class Deadline:
    """The instant after which long work starts no further batch."""

    monotonic_seconds: float = float("inf")

    @classmethod
    def after(cls, seconds: float) -> Self:
        return cls(time.monotonic() + seconds)

    @property
    def has_passed(self) -> bool:
        return time.monotonic() >= self.monotonic_seconds
