"""Keeps ``make up`` from starting a long copy of the sessions without a word."""

from __future__ import annotations

from django.core.management import CommandError
from django.db import connection
from django.db.migrations.recorder import MigrationRecorder

COPIED_AT_ONCE = 50_000
"""A copy of more sessions takes noticeable time, so a person starts it."""

SECONDS_A_SESSION = 0.0001
"""Measured: 100,000 sessions with documents of 0.5 kB in 6 s on SQLite, rounded up."""

_MIGRATION = ("sessions_app", "0025_one_row")
_FIRST = ("sessions_app", "0001_initial")


def refuse_long_copy() -> None:
    """Raise CommandError if the migrations will copy many sessions, with an estimate and the command."""
    from sessions_app.migrations.one_row.counting import sessions_to_copy
    from sessions_app.text import count_of

    recorder = MigrationRecorder(connection)
    applied = recorder.applied_migrations() if recorder.has_table() else {}
    if _MIGRATION in applied or _FIRST not in applied:
        return
    count = sessions_to_copy(connection)
    if count > COPIED_AT_ONCE:
        minutes = max(1, round(count * SECONDS_A_SESSION / 60))
        raise CommandError(
            "This version stores each session in one row. "
            f"Before it can start, {count_of(count, 'session')} must be copied. "
            f"This takes about {count_of(minutes, 'minute')}, and as much free space as the database uses. "
            "Make a backup, then start it: .venv/bin/python manage.py migrate. It shows its progress, and "
            "continues where it was if it is interrupted. Then start the panel again."
        )
