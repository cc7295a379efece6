"""The database's clock: the one clock that all machines of an installation share."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from django.db import connection, models
from django.db.models.functions import Now


class DatabaseClock(Now):
    """The database's time at the instant the row is written.

    On PostgreSQL this is not the start of the statement, as ``Now`` is: a writer that waited for a
    lock must not date its change before the seal of a plan (``cleanup.plan_cleanup``).
    """

    def as_postgresql(self, compiler: Any, connection: Any, **context: Any) -> tuple[str, Any]:
        return self.as_sql(compiler, connection, template="CLOCK_TIMESTAMP()", **context)


if TYPE_CHECKING:
    _DateTimeField = models.DateTimeField[Any, Any]
else:
    _DateTimeField = models.DateTimeField


class ChangedAtField(_DateTimeField):
    """Holds when the row was last written, by the database's clock."""

    def pre_save(self, model_instance: models.Model, add: bool) -> Any:
        return DatabaseClock()


def database_now() -> datetime:
    """The instant by the database's clock, in UTC."""
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            cursor.execute("SELECT CLOCK_TIMESTAMP()")
            now: datetime = cursor.fetchone()[0]
            return now.astimezone(UTC)
        cursor.execute("SELECT STRFTIME('%Y-%m-%dT%H:%M:%f', 'NOW')")
        return datetime.fromisoformat(cursor.fetchone()[0]).replace(tzinfo=UTC)
