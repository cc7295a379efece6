"""Relaxes the durability of repeatable transactions, and retries transactions on a busy database."""

from __future__ import annotations

import functools
import logging
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import ParamSpec, TypeVar

from django.db import OperationalError, connection, transaction

from sessions_app.deadline import Deadline

logger = logging.getLogger(__name__)
_P = ParamSpec("_P")
_T = TypeVar("_T")

RETRY_SECONDS = 30.0
FIRST_PAUSE_SECONDS = 0.02
MAX_PAUSE_SECONDS = 2.0
MAX_ATTEMPTS = 50

_BUSY_ON_SQLITE = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)
_BUSY_ON_POSTGRESQL = {
    "40001",  # serialization_failure
    "40P01",  # deadlock_detected
    "55P03",  # lock_not_available, after lock_timeout
}


def is_busy(error: Exception) -> bool:
    """Check whether the database refused a statement only because of other writers."""
    cause = error.__cause__
    code = getattr(cause, "sqlite_errorcode", None)
    if code is not None:
        # The low byte of an extended code such as SQLITE_BUSY_SNAPSHOT is the primary one.
        return code & 0xFF in _BUSY_ON_SQLITE
    return getattr(cause, "sqlstate", None) in _BUSY_ON_POSTGRESQL


def retry_when_busy(
    work: Callable[[], _T], *, deadline: Deadline | None = None, seconds: float | None = None
) -> _T:
    """Call a function, and repeat the call while the database is busy with other writers.

    Inside the caller's transaction nothing is repeated, because the error aborts that whole transaction.

    Args:
        work: Executes one transaction or one statement. It must not reuse results of an earlier call, nor
            change anything outside the database before its commit.
        deadline: Instant after which no further attempt starts.
        seconds: Time after which no further attempt starts; ``RETRY_SECONDS`` by default.
    Raises: OperationalError: the database is still busy, or has failed for another reason.
    """
    if connection.in_atomic_block:
        return work()
    until = Deadline.after(RETRY_SECONDS if seconds is None else seconds)
    pause = FIRST_PAUSE_SECONDS
    for attempt in range(1, MAX_ATTEMPTS):
        try:
            return work()
        except OperationalError as error:
            if not is_busy(error) or until.has_passed or (deadline is not None and deadline.has_passed):
                raise
            logger.info("The database is busy; attempt %s follows in %.2f s.", attempt + 1, pause)
        time.sleep(pause)
        pause = min(MAX_PAUSE_SECONDS, 2 * pause)
    return work()


def retried_when_busy(function: Callable[_P, _T]) -> Callable[_P, _T]:
    """Repeat each call of a function as ``retry_when_busy`` does."""

    @functools.wraps(function)
    def repeat(*args: _P.args, **kwargs: _P.kwargs) -> _T:
        return retry_when_busy(lambda: function(*args, **kwargs))

    return repeat


@contextmanager
def repeatable_transaction() -> Iterator[None]:
    """Run work that is repeated if a power failure undoes its commit.

    The transaction stays atomic, and the next commit that waits for the disk makes it durable too. PostgreSQL
    relaxes durability for one transaction; SQLite does so for a connection, and only outside a transaction.
    """
    is_relaxed = connection.vendor == "sqlite" and not connection.in_atomic_block
    if is_relaxed:
        _set_synchronous("NORMAL")
    try:
        with transaction.atomic():
            if connection.vendor == "postgresql":
                with connection.cursor() as cursor:
                    cursor.execute("SET LOCAL synchronous_commit TO OFF")
            yield
    finally:
        if is_relaxed and connection.connection is not None:
            _set_synchronous("FULL")


def _set_synchronous(level: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute(f"PRAGMA synchronous={level}")
