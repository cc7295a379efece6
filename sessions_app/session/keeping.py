"""The sessions that a policy step keeps: the newest of each group, and protected ones."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from functools import reduce
from operator import or_
from typing import TYPE_CHECKING, Any

from django.db.models import CharField, F, Lookup, Q, TextField
from django.db.models.expressions import Combinable
from django.db.models.lookups import IsNull

from sessions_app.session.lookups import Indexed
from sessions_app.session.metadata import METADATA, MetadataValue, read_key

if TYPE_CHECKING:
    _Lookup = Lookup[bool]
else:
    _Lookup = Lookup

GROUPS = ("namespace", "browser_type")
"""Columns by which sessions can be grouped, in addition to metadata keys."""


@dataclass(frozen=True, kw_only=True)
class Newest:
    """Keeps the newest sessions of each group and matches the others.

    Sessions without a group, such as sessions without the metadata key, are also kept.

    Args:
        count: Number of sessions to keep in each group, including pinned and protected ones.
        per: ``namespace``, ``browser_type``, or ``metadata:`` followed by a key.
        sealed: Identifies the oldest kept sessions that the plan has stored (``cleanup.newest``); blank
            before the criteria are planned.
    Raises: ValueError: the number or the group is invalid.
    """

    count: int
    per: str = "namespace"
    sealed: str = field(default="", compare=False)

    def __post_init__(self) -> None:
        if self.count < 1:
            raise ValueError("Keep at least one session of each group.")
        if self.per not in GROUPS and not read_key(self.per):
            raise ValueError(f"“{self.per}” is not one of: {', '.join(GROUPS)}, {METADATA}KEY.")

    def to_json(self) -> dict[str, Any]:
        return {name: value for name, value in asdict(self).items() if value}

    def group(self, column: type[F] = F) -> Combinable:
        """Return an expression for the group of a session; blank or NULL for sessions without a group.

        Args:
            column: ``OuterRef`` to refer to the sessions of an outer query.
        """
        if self.per in GROUPS:
            return column(self.per)
        return MetadataValue(read_key(self.per), Indexed("labels", column("pk")))

    def describe(self) -> str:
        per = f"value of metadata “{key}”" if (key := read_key(self.per)) else self.per.replace("_", " ")
        return f"all but the newest {self.count:,} of each {per}"


@dataclass(frozen=True, kw_only=True)
class Protection:
    """A rule that keeps sessions regardless of the other criteria.

    Args:
        per: ``name``, or ``metadata:`` followed by a key.
        pattern: Case-sensitive; ``*`` matches any characters, ``?`` matches one.
    """

    per: str = "name"
    pattern: str

    def to_json(self) -> dict[str, str]:
        return {"per": self.per, "pattern": self.pattern}

    def matching(self) -> Q:
        """Match the protected sessions. The condition is never NULL, so that it can be negated."""
        key = read_key(self.per)
        if not key:
            return Q(MatchesPattern(F("name"), self.pattern))
        labels = Indexed("labels")
        # The metadata of a session is unknown until the session is indexed.
        return Q(MatchesPattern(MetadataValue(key, labels), self.pattern)) | Q(IsNull(labels, True))

    def describe(self) -> str:
        what = f"metadata “{key}”" if (key := read_key(self.per)) else "name"
        return f"{what} “{self.pattern}”"


def protected(rules: Iterable[Protection]) -> Q:
    """Match sessions that are protected by at least one rule."""
    return reduce(or_, (rule.matching() for rule in rules))


@CharField.register_lookup
@TextField.register_lookup
class MatchesPattern(_Lookup):
    """Matches a text against a pattern with ``*`` and ``?``: ``GLOB`` on SQLite, ``LIKE`` on PostgreSQL.

    Both are case-sensitive. NULL matches no pattern.
    """

    lookup_name = "matches_pattern"
    prepare_rhs = False

    def as_sql(self, compiler: Any, connection: Any) -> Any:
        text, params = self.process_lhs(compiler, connection)
        if connection.vendor == "postgresql":
            escaped = self.rhs.replace("\\", r"\\").replace("%", r"\%").replace("_", r"\_")
            pattern = escaped.replace("*", "%").replace("?", "_")
            return f"COALESCE({text}, '') LIKE %s", [*params, pattern]
        # In GLOB, a bracket begins a set of characters.
        return f"COALESCE({text}, '') GLOB %s", [*params, self.rhs.replace("[", "[[]")]
