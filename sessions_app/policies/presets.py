"""Daily, weekly and monthly schedules without cron syntax, and the next instants of any schedule."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime, time
from enum import StrEnum

from sessions_app.queue.schedules import next_instant

WEEKDAYS = ("Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday")
"""In the order of cron's weekday numbers, which begin at 0."""

LAST_MONTH_DAY = 28
"""The last day that exists in every month."""

_CRON = re.compile(r"(\d{1,2}) (\d{1,2}) (\*|\d{1,2}) \* (\*|[0-7])")


class Frequency(StrEnum):
    MANUAL = "manual"
    DAILY = "daily"
    WEEKLY = "weekly"
    MONTHLY = "monthly"
    CRON = "cron"


@dataclass(frozen=True, kw_only=True)
class Preset:
    """A schedule in parts: frequency, time, and weekday or day of the month, depending on the frequency.

    Args:
        weekday: As in cron; 0 is Sunday.
    """

    frequency: Frequency
    at: time = time(2)
    weekday: int = 1
    month_day: int = 1

    @classmethod
    def from_cron(cls, cron: str) -> Preset:
        """Parse a cron expression; the frequency is ``CRON`` if the expression is not a preset."""
        if not cron:
            return cls(frequency=Frequency.MANUAL)
        found = _CRON.fullmatch(cron)
        if found is None:
            return cls(frequency=Frequency.CRON)
        minute, hour, month_day, weekday = found.groups()
        if int(minute) > 59 or int(hour) > 23 or "*" not in (month_day, weekday):
            return cls(frequency=Frequency.CRON)
        at = time(int(hour), int(minute))
        if weekday != "*":
            return cls(frequency=Frequency.WEEKLY, at=at, weekday=int(weekday) % 7)
        if month_day == "*":
            return cls(frequency=Frequency.DAILY, at=at)
        if not 1 <= int(month_day) <= LAST_MONTH_DAY:
            return cls(frequency=Frequency.CRON)
        return cls(frequency=Frequency.MONTHLY, at=at, month_day=int(month_day))

    def to_cron(self) -> str:
        """Return the cron expression; blank for a manual start.

        Raises: ValueError: the frequency is ``CRON``.
        """
        match self.frequency:
            case Frequency.MANUAL:
                return ""
            case Frequency.DAILY:
                days = "* * *"
            case Frequency.WEEKLY:
                days = f"* * {self.weekday}"
            case Frequency.MONTHLY:
                days = f"{self.month_day} * *"
            case Frequency.CRON:
                raise ValueError("A cron expression has no parts.")
        return f"{self.at.minute} {self.at.hour} {days}"


def next_instants(cron: str, *, after: datetime, count: int = 3) -> list[datetime]:
    """Return the next instants of a cron expression, fewer if it has no more.

    Raises: CronSimError.
    """
    found: list[datetime] = []
    while len(found) < count:
        instant = next_instant(cron, found[-1] if found else after)
        if instant is None:
            break
        found.append(instant)
    return found
