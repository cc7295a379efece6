"""The clock of the database, which all machines of an installation share."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from django.db import connection, models
from django.db.models.functions import Now


class DatabaseClock(Now):
    """The time of the database at which a row is written.

    On PostgreSQL ``Now`` is the start of the statement. A writer that waited for a lock must not date its
    change before the seal of a plan (``cleanup.plan_cleanup``), so this uses the actual time.
    """

    def as_postgresql(self, compiler: Any, connection: Any, **context: Any) -> tuple[str, Any]:
        return self.as_sql(compiler, connection, template="CLOCK_TIMESTAMP()", **context)


if TYPE_CHECKING:
    _DateTimeField = models.DateTimeField[Any, Any]
else:
    _DateTimeField = models.DateTimeField


class ChangedAtField(_DateTimeField):
    """The time of the last change of a row, by the database's clock."""

    def pre_save(self, model_instance: models.Model, add: bool) -> Any:
        return DatabaseClock()


def database_now() -> datetime:
    """Return the current time of the database, in UTC."""
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            cursor.execute("SELECT CLOCK_TIMESTAMP()")
            now: datetime = cursor.fetchone()[0]
            return now.astimezone(UTC)
        cursor.execute("SELECT STRFTIME('%Y-%m-%dT%H:%M:%f', 'NOW')")
        return datetime.fromisoformat(cursor.fetchone()[0]).replace(tzinfo=UTC)
