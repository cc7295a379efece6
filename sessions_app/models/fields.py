"""Lengths of columns, in characters."""

from __future__ import annotations

from sessions_app.session.document import MACHINE_LENGTH, TEXT_LENGTH
from sessions_app.session.names import NAME_LENGTH

NAMESPACE_LENGTH = 100
PATH_LENGTH = 1024

__all__ = ["MACHINE_LENGTH", "NAMESPACE_LENGTH", "NAME_LENGTH", "PATH_LENGTH", "TEXT_LENGTH"]
