"""Databases for the benchmarks, which can be copied."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import psycopg
from psycopg import sql

POSTGRESQL = os.environ.get("RAPTOR_TEST_DATABASE_URL") or "postgres://postgres@127.0.0.1:5432/postgres"


class Place(Protocol):
    """A database with its address, which can be copied and dropped."""

    @property
    def url(self) -> str: ...

    def copy(self, name: str) -> Place: ...

    def drop(self) -> None: ...


@dataclass(frozen=True)
class SqlitePlace:
    """A SQLite file."""

    path: Path

    @property
    def url(self) -> str:
        return f"sqlite:///{self.path}"

    def copy(self, name: str) -> SqlitePlace:
        target = self.path.with_name(f"{name}.sqlite3")
        shutil.copyfile(self.path, target)
        return SqlitePlace(target)

    def drop(self) -> None:
        for suffix in ("", "-wal", "-shm"):
            Path(f"{self.path}{suffix}").unlink(missing_ok=True)


@dataclass(frozen=True)
class PostgresqlPlace:
    """A database on the PostgreSQL server of the tests."""

    name: str

    @property
    def url(self) -> str:
        return f"{POSTGRESQL.rpartition('/')[0]}/{self.name}"

    def copy(self, name: str) -> PostgresqlPlace:
        target = PostgresqlPlace(f"raptor_bench_{os.getpid()}_{name}")
        target.drop()
        target._do(
            sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(
                sql.Identifier(target.name), sql.Identifier(self.name)
            )
        )
        # Write the copy to disk before anything is measured.
        target._do(sql.SQL("CHECKPOINT"))
        return target

    def drop(self) -> None:
        self._do(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(self.name)))

    @staticmethod
    def _do(statement: sql.SQL | sql.Composed) -> None:
        with psycopg.connect(POSTGRESQL, autocommit=True) as connection:
            connection.execute(statement)


def empty_place(vendor: str, folder: Path) -> Place:
    """Return an empty database of a vendor."""
    if vendor == "sqlite":
        (folder / "empty.sqlite3").touch()
        return SqlitePlace(folder / "empty.sqlite3")
    return PostgresqlPlace("template1").copy("empty")
