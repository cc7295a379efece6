"""Lengths of columns, in characters, and a field."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.db import models

from sessions_app.session.document import MACHINE_LENGTH, TEXT_LENGTH
from sessions_app.session.names import NAME_LENGTH

NAMESPACE_LENGTH = 100
PATH_LENGTH = 1024

if TYPE_CHECKING:
    _OneToOneField = models.OneToOneField[Any, Any]
else:
    _OneToOneField = models.OneToOneField


class RowKeyField(_OneToOneField):
    """A one-to-one relation whose column is SQLite's own key of a row.

    A primary key of any other type than ``integer`` has an index of its own there, which each insert writes.
    """

    def db_type(self, connection: Any) -> str | None:
        return "integer" if connection.vendor == "sqlite" else super().db_type(connection)


__all__ = ["MACHINE_LENGTH", "NAMESPACE_LENGTH", "NAME_LENGTH", "PATH_LENGTH", "TEXT_LENGTH", "RowKeyField"]
