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
def check_queue(**kwargs: Any) -> list[CheckMessage]:
    """Check that django-q2 neither runs its own schedules nor repeats tasks."""
    required = {"scheduler": False, "max_attempts": 1, "ack_failures": True}
    wrong = [name for name, value in required.items() if settings.Q_CLUSTER.get(name) != value]
    return [
        Error(
            f"Q_CLUSTER's {name} must be {required[name]}.",
            hint="The panel's own schedule and attempts replace those of django-q2.",
            id="sessions_app.E002",
        )
        for name in wrong
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
