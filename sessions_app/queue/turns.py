"""Lets a long task end early if other tasks wait, because a worker on SQLite runs one task at a time."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Self

from django.conf import settings

from sessions_app.deadline import Deadline
from sessions_app.models import QueuedTask
from sessions_app.queue.enqueue import Task

TURN_SECONDS = 3.0
"""Minimum time for which a task works, so that it makes progress even if many others wait."""


@dataclass(frozen=True)
class Turn(Deadline):
    """A deadline that also passes when another task waits for a worker of this machine.

    Not thread-safe.
    """

    task: Task = Task.TICK
    _next_look: list[float] = field(default_factory=list)

    @classmethod
    def of(cls, task: Task, *, seconds: float) -> Self:
        """Return the turn of a task. It lasts for the given time if no other task waits."""
        now = time.monotonic()
        return cls(now + seconds, task, [now + TURN_SECONDS])

    @property
    def has_passed(self) -> bool:
        if super().has_passed or not self._next_look:
            return True
        if time.monotonic() < self._next_look[0]:
            return False
        self._next_look[0] = time.monotonic() + 1
        waiting = QueuedTask.objects.filter(
            finished_at=None, started_at=None, machine__in=("", settings.RAPTOR_MACHINE)
        )
        if waiting.exclude(task=self.task.value).exists():
            # A deadline that has passed stays passed.
            self._next_look.clear()
        return not self._next_look
