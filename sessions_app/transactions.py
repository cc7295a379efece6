"""Transactions whose commits do not wait for the disk."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from django.db import connection, transaction


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
