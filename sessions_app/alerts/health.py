"""Checks the panel for ``/readyz`` and ``check_health``, even if the database cannot be reached."""

from __future__ import annotations

import logging

from django.db import DatabaseError

from sessions_app.alerts.findings import Code, Finding
from sessions_app.alerts.sources import find, missing_migrations
from sessions_app.models.clock import database_now
from sessions_app.session.masking import safe_message
from sessions_app.transactions.disk import disk_full_message
from sessions_app.transactions.reserve import open_database

logger = logging.getLogger(__name__)


def check_health() -> list[Finding]:
    """Return all current findings; only one if the database cannot be used or migrations are missing."""
    try:
        open_database()
        now = database_now()
        return list(missing_migrations(now)) or find(now)
    except DatabaseError as error:
        logger.warning("The health check failed: %s", safe_message(error))
        if message := disk_full_message(error):
            return [Finding(Code.DISK_FULL, message)]
        return [Finding(Code.DATABASE_UNREACHABLE, "The database does not answer.")]
