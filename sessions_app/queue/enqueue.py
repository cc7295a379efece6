"""Puts tasks into the queue, by an enum that the type checker verifies."""

from __future__ import annotations

from enum import StrEnum
from typing import Any

from django_q.tasks import async_task

from sessions_app.transactions import retry_when_busy


class Task(StrEnum):
    """The tasks of ``sessions_app.tasks``. Queue rows contain these names, so they must not change."""

    START_SWEEPS = "sessions_app.tasks.start_sweeps"
    SWEEP = "sessions_app.tasks.sweep"
    CONTINUE_CLEANUP = "sessions_app.tasks.continue_cleanup"
    RUN_PLANNED = "sessions_app.tasks.run_planned"
    SYNC_DIRECTORIES = "sessions_app.tasks.sync_directories"
    UNDO_RUN = "sessions_app.tasks.undo_run"
    CONTINUE_UNDO = "sessions_app.tasks.continue_undo"
    EMPTY_ARCHIVE = "sessions_app.tasks.empty_archive"
    TAKE_SNAPSHOT = "sessions_app.tasks.take_snapshot"
    TIDY_UP = "sessions_app.tasks.tidy_up"


def enqueue(task: Task, *arguments: Any) -> None:
    """Queue a task for the worker; it is delivered at least once."""
    retry_when_busy(lambda: async_task(task.value, *arguments))
