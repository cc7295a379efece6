"""The earlier column ``past_runs``, with the runs that removed a session and from which it was restored."""

from __future__ import annotations

from typing import Any

from django.db import models


class LastRun(models.Func):
    """The last run in ``past_runs``. The SQL must equal the expression of the index."""

    output_field = models.BigIntegerField()

    def as_sqlite(self, compiler: Any, connection: Any, **context: Any) -> Any:
        return self.as_sql(compiler, connection, template="JSON_EXTRACT(%(expressions)s, '$[#-1]')")

    def as_postgresql(self, compiler: Any, connection: Any, **context: Any) -> Any:
        return self.as_sql(compiler, connection, template="((%(expressions)s ->> -1)::bigint)")
