"""Simulate the death of the process at one SQL statement."""

from __future__ import annotations

from typing import Any

from django.db import connection


class Died(BaseException):
    """The death of the process, which no code of the product handles."""


class Faulty:
    """Raise ``Died`` just before or just after a statement, counted from the entry."""

    def __init__(self, number: int, *, is_after: bool) -> None:
        self.left = number
        self.is_after = is_after
        self.has_failed = False
        self._wrapper = connection.execute_wrapper(self._execute)

    def __enter__(self) -> Faulty:
        self._wrapper.__enter__()
        return self

    def __exit__(self, *exception: Any) -> None:
        self._wrapper.__exit__(*exception)

    def _execute(self, execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        self.left -= 1
        if self.left == 0:
            self.has_failed = True
            if self.is_after:
                execute(sql, params, many, context)
            # Django closes the cursor for an Exception only, and Python warns of an open cursor.
            context["cursor"].close()
            raise Died
        return execute(sql, params, many, context)
