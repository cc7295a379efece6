"""Sends messages to the queue. ``queue.outbox`` stores a task before it is sent."""

from __future__ import annotations

from enum import StrEnum
from typing import Any

from django_q.conf import Conf
from django_q.tasks import async_task

from sessions_app.transactions import retry_when_busy


class Task(StrEnum):
    """The tasks of ``sessions_app.tasks``. Queue rows contain these names, so they must not change."""

    TICK = "sessions_app.tasks.tick"
    SWEEP = "sessions_app.tasks.sweep"
    CONTINUE_CLEANUP = "sessions_app.tasks.continue_cleanup"
    RUN_PLANNED = "sessions_app.tasks.run_planned"
    SYNC_DIRECTORIES = "sessions_app.tasks.sync_directories"
    UNDO_RUN = "sessions_app.tasks.undo_run"
    CONTINUE_UNDO = "sessions_app.tasks.continue_undo"
    EMPTY_ARCHIVE = "sessions_app.tasks.empty_archive"
    TAKE_SNAPSHOT = "sessions_app.tasks.take_snapshot"
    TIDY_UP = "sessions_app.tasks.tidy_up"
    PROBE_SESSIONS = "sessions_app.tasks.probe_sessions"
    CLOSE_BROWSERS = "sessions_app.tasks.close_browsers"
    OPEN_BROWSER = "sessions_app.tasks.open_browser"
    INDEX_SESSIONS = "sessions_app.tasks.index_sessions"
    CHECK_INDEX = "sessions_app.tasks.check_index"
    DELIVER_ALERTS = "sessions_app.tasks.deliver_alerts"


class QueueUnreachable(Exception):
    """The queue does not answer. The message contains no password."""


def send(task: Task, *arguments: Any, machine: str = "", queued_task: int | None = None) -> None:
    """Send a message to the workers of a machine, or of any machine; the queue may lose it.

    Args:
        queued_task: Key of the row that the task marks as started and finished.
    Raises: QueueUnreachable.
    """
    keywords = {} if queued_task is None else {"queued_task": queued_task}
    cluster = {"cluster": machine_key(machine)} if machine else {}
    retry_when_busy(lambda: async_task(task.value, *arguments, q_options={**cluster}, **keywords))


def machine_key(machine: str) -> str:
    """Return the name of the queue that only the workers of a machine read."""
    return f"{Conf.PREFIX}@{machine}"
