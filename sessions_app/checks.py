"""System checks, which report a wrong configuration at start rather than when a sweep fails at night."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.core.checks import CheckMessage, Error, Warning, register  # noqa: A004  # Django's own name
from django.db import connection

from sessions_app.transactions.disk import database_folder
from sessions_app.transactions.file_systems import file_system_of, is_network_type

FILE_SYSTEMS = "file_systems"
"""Tag of the check that must pass before the database is opened."""


@register()
def check_task_times(**kwargs: Any) -> list[CheckMessage]:
    """Check that a task ends before django-q2 kills it, and is killed before it is delivered again."""
    timeout, retry = settings.Q_CLUSTER["timeout"], settings.Q_CLUSTER["retry"]
    if settings.RAPTOR_TASK_DEADLINE_SECONDS < timeout < retry:
        return []
    return [
        Error(
            f"The deadline of a task ({settings.RAPTOR_TASK_DEADLINE_SECONDS} s), Q_CLUSTER's timeout "
            f"({timeout} s) and its retry ({retry} s) must be in ascending order.",
            hint="Otherwise a long cleanup is killed midway or delivered to two workers at once.",
            id="sessions_app.E001",
        )
    ]


@register()
def check_missed_schedules(**kwargs: Any) -> list[CheckMessage]:
    """Check that a worker that was off for a day does not repeat the sync for 1,440 missed minutes."""
    # The default of django-q2 is to catch up.
    if not settings.Q_CLUSTER.get("catch_up", True):
        return []
    return [
        Error(
            "Q_CLUSTER's catch_up is on.",
            hint="Set it to False. Otherwise a worker that was off runs each schedule for every missed time.",
            id="sessions_app.E002",
        )
    ]


@register()
def check_task_attempts(**kwargs: Any) -> list[CheckMessage]:
    """Check that a failed task is not delivered again forever; the next schedule is its retry."""
    if settings.Q_CLUSTER.get("max_attempts") == 1 and settings.Q_CLUSTER.get("ack_failures"):
        return []
    return [
        Error(
            "Q_CLUSTER must have max_attempts 1 and ack_failures True.",
            hint="Otherwise a failed sweep is delivered again and again. The next schedule is its retry.",
            id="sessions_app.E003",
        )
    ]


@register()
def check_workers_on_sqlite(**kwargs: Any) -> list[CheckMessage]:
    """Check that SQLite, which has one writer at a time, has one worker."""
    workers = settings.Q_CLUSTER.get("workers")
    if connection.vendor != "sqlite" or workers == 1:
        return []
    return [
        Warning(
            f"Q_CLUSTER has {workers or 'as many'} workers{'' if workers else ' as processors'} on SQLite.",
            hint="Set workers to 1, or use PostgreSQL. Several workers on SQLite only wait for each other.",
            id="sessions_app.W001",
        )
    ]


@register(FILE_SYSTEMS)
def check_file_system(**kwargs: Any) -> list[CheckMessage]:
    """SQLite's write-ahead log needs memory that all processes share, and locks that hold."""
    folder = database_folder()
    kind = "" if folder is None else file_system_of(folder)
    if not is_network_type(kind):
        return []
    return [
        Error(
            f"The SQLite database lies on a network file system: {folder} ({kind}).",
            hint="SQLite can be damaged there. Move RAPTOR_VAR_DIR to a local disk, or use PostgreSQL: set "
            "RAPTOR_DATABASE_URL.",
            id="sessions_app.E004",
        )
    ]
