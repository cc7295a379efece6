"""Metadata keys for grouping and protecting sessions, and their values as SQL expressions."""

from __future__ import annotations

import re
from typing import Any

from django.db.models import Func, TextField

from sessions_app.session.search_text import LABEL_KEY_LENGTH, LABEL_SEPARATOR
from sessions_app.session.secret_names import is_credential_name, is_endpoint_name

METADATA = "metadata:"
"""Prefix of a group or rule by metadata key."""

_KEY = re.compile(rf"[\w .:/-]{{1,{LABEL_KEY_LENGTH}}}")


def read_key(per: str) -> str:
    """Return the metadata key of a group or rule; blank if it is not by metadata key."""
    return per.removeprefix(METADATA) if per.startswith(METADATA) else ""


def is_usable_key(key: str) -> bool:
    """Check whether a metadata key may be used: it is short, and its values are not secret."""
    return _KEY.fullmatch(key) is not None and not (is_credential_name(key) or is_endpoint_name(key))


class MetadataValue(Func):
    """The value of a key in the labels of a session; NULL for sessions without it."""

    output_field = TextField()

    def __init__(self, key: str, labels: Any) -> None:
        # Keyword arguments are part of the identity of an expression.
        super().__init__(labels, key=key)

    def as_sqlite(self, compiler: Any, connection: Any, **context: Any) -> Any:
        labels, params = compiler.compile(self.source_expressions[0])
        lines = f"(CHAR(10) || {labels} || CHAR(10))"
        after = f"SUBSTR({lines}, INSTR({lines}, %s) + %s)"
        value = f"SUBSTR({after}, 1, INSTR({after}, CHAR(10)) - 1)"
        found = [*params, *params, self._before, len(self._before)]
        return (
            f"CASE WHEN INSTR({lines}, %s) > 0 THEN {value} END",
            [*params, self._before, *found, *found],
        )

    def as_postgresql(self, compiler: Any, connection: Any, **context: Any) -> Any:
        labels, params = compiler.compile(self.source_expressions[0])
        lines = f"(CHR(10) || {labels} || CHR(10))"
        value = f"SPLIT_PART(SPLIT_PART({lines}, %s, 2), CHR(10), 1)"
        return f"NULLIF({value}, '')", [*params, self._before]

    @property
    def _before(self) -> str:
        """The text before the value."""
        return f"\n{self.extra['key']}{LABEL_SEPARATOR}"
