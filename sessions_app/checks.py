"""System checks: a wrong configuration is told at start, not at 02:00."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.core.checks import CheckMessage, Error, register


@register()
def check_task_times(**kwargs: Any) -> list[CheckMessage]:
    """A task must end by itself before django-q2 kills it, and be killed before it is delivered again."""
    timeout, retry = settings.Q_CLUSTER["timeout"], settings.Q_CLUSTER["retry"]
    if settings.RAPTOR_TASK_DEADLINE_SECONDS < timeout < retry:
        return []
    return [
        Error(
            f"The deadline of a task ({settings.RAPTOR_TASK_DEADLINE_SECONDS} s), Q_CLUSTER's timeout "
            f"({timeout} s) and its retry ({retry} s) must be in rising order.",
            hint="Otherwise a long cleanup is killed in the middle, or delivered to two workers at once.",
            id="sessions_app.E001",
        )
    ]
