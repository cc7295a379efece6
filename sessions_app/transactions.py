"""Transactions whose commits need not wait for the disk."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from django.db import connection, transaction


@contextmanager
def repeatable_transaction() -> Iterator[None]:
    """A transaction whose work is simply done again if a power cut takes it back.

    It is whole or not there, as any other, and the next commit that waits makes it last. PostgreSQL is
    told so by transaction, SQLite by connection and outside of transactions only.
    """
    is_told = connection.vendor == "sqlite" and not connection.in_atomic_block
    if is_told:
        _pragma("NORMAL")
    try:
        with transaction.atomic():
            if connection.vendor == "postgresql":
                with connection.cursor() as cursor:
                    cursor.execute("SET LOCAL synchronous_commit TO OFF")
            yield
    finally:
        if is_told and connection.connection is not None:
            _pragma("FULL")


def _pragma(synchronous: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute(f"PRAGMA synchronous={synchronous}")
