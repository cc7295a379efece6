"""Criteria of cleanups: which sessions match, and for which reasons."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, fields
from datetime import datetime, timedelta
from typing import Any, Self

from django.db.models import F, Func, IntegerField, Q, Value
from django.db.models.expressions import Case, Combinable, When

from sessions_app.session.browser_states import is_gone, may_run
from sessions_app.session.criteria_text import describe_criteria
from sessions_app.session.keeping import Newest, Protection, protected
from sessions_app.session.metadata import read_key
from sessions_app.session.problems import UNREADABLE, is_expired, is_invalid
from sessions_app.session.reasons import (
    PROBLEM_BITS,
    REASONS,
    Reason,
    count_reasons,
    reasons_in,
)
from sessions_app.session.selection import Selection

MAX_AGE_LIMIT_DAYS = 36_525
SELECTION_LIMIT = 10_000

__all__ = [
    "MAX_AGE_LIMIT_DAYS",
    "REASONS",
    "SELECTION_LIMIT",
    "Criteria",
    "InvalidCriteria",
    "Reason",
    "count_reasons",
    "has_id",
    "reasons_in",
]


class _ListedIds(Func):
    """The ids of a list as rows, of which a statement can hold any number: they are one parameter."""

    def as_sqlite(self, compiler: Any, connection: Any, **context: Any) -> Any:
        return self.as_sql(
            compiler, connection, template="(SELECT value FROM JSON_EACH(%(expressions)s))", **context
        )

    def as_postgresql(self, compiler: Any, connection: Any, **context: Any) -> Any:
        template = "(SELECT JSONB_ARRAY_ELEMENTS_TEXT((%(expressions)s)::jsonb)::bigint)"
        return self.as_sql(compiler, connection, template=template, **context)


def has_id(ids: tuple[int, ...]) -> Q:
    """The sessions with these primary keys."""
    if len(ids) <= SELECTION_LIMIT:
        return Q(pk__in=ids)
    return Q(pk__in=_ListedIds(Value(json.dumps(ids)), output_field=IntegerField()))


class InvalidCriteria(ValueError):
    """The criteria are empty, or a value is out of range."""


@dataclass(frozen=True, kw_only=True)
class Criteria:
    """Criteria of a cleanup: it removes sessions that meet any criterion, within the scope.

    Args:
        expired: Last accessed more than ``max_age_days`` ago, or of unreadable age.
        invalid: With at least one problem.
        gone: With a browser that was gone at the instant of evaluation and has not answered since.
        all: Every session in the scope, pinned ones included.
        session_ids: These sessions (primary keys).
        newest: All but the newest of each group. Cannot be combined with other criteria.
        protected: Rules for sessions to keep regardless of the criteria.
        selection: Sessions that the filters and the search of the list show. Its namespace is the scope.
        has_vanished: ``session_ids`` are sessions whose files are gone; used by syncs only.
        namespace: Scope; blank for all namespaces.
        not_namespaces: Scope: namespaces that are hidden from the user (``access.visibility``).
        browser_type: Scope; blank for all.
        not_alive: Leave out sessions whose browser answered the last probe.
        not_directories: Session directories (primary keys) that scheduled sweeps leave alone for now. Their
            sessions still count in the scope.
        not_session_ids: Sessions (primary keys) that a user left out of the plan. Ignored when criteria are
            compared.
        directory: Scope: primary key of the session directory.
        settle_seconds: Leave out mirrored sessions that were written less than this time before the plan. Set
            by scheduled plans. Ignored when criteria are compared.
        spares_in_use: Leave out sessions whose browsers are in use. Set by scheduled plans.
    Raises: InvalidCriteria: no criterion is given, or a value is out of range.
    """

    expired: bool = False
    invalid: bool = False
    gone: bool = False
    all: bool = False
    session_ids: tuple[int, ...] | None = None
    selection: Selection | None = None
    has_vanished: bool = False
    max_age_days: float = 7
    namespace: str = ""
    not_namespaces: tuple[str, ...] = ()
    browser_type: str = ""
    not_alive: bool = False
    directory: int | None = None
    not_directories: tuple[int, ...] = ()
    not_session_ids: tuple[int, ...] = field(default=(), compare=False)
    newest: Newest | None = None
    protected: tuple[Protection, ...] = ()
    settle_seconds: float = field(default=0, compare=False)
    spares_in_use: bool = field(default=False, compare=False)

    def __post_init__(self) -> None:
        is_given = self.expired or self.invalid or self.gone or self.all or self.is_selection
        if self.newest is not None and is_given:
            raise InvalidCriteria("Keeping the newest sessions cannot be combined with other criteria.")
        if not is_given and self.newest is None:
            raise InvalidCriteria(
                "No criterion was given. Choose expired, invalid, gone or all, or select sessions."
            )
        if self.selection is not None and (
            self.selection.is_empty or self.selection.namespace != self.namespace
        ):
            raise InvalidCriteria("No criterion was given: filter the list, or select sessions.")
        if not 0 < self.max_age_days <= MAX_AGE_LIMIT_DAYS:
            raise InvalidCriteria(
                f"A maximum age of {self.max_age_days} days is not possible: "
                f"choose more than 0 and at most {MAX_AGE_LIMIT_DAYS:,}."
            )

    @classmethod
    def from_selection(cls, selection: Selection, *, max_age_days: float) -> Self:
        """Build criteria from the filters and the search of the list.

        Raises: InvalidCriteria: no filter is set.
        """
        return cls(selection=selection, namespace=selection.namespace, max_age_days=max_age_days)

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Self:
        ids, selection = data.get("session_ids"), data.get("selection")
        return cls(
            **{
                **data,
                "session_ids": None if ids is None else tuple(ids),
                "selection": None if selection is None else Selection.from_json(selection),
                "not_namespaces": tuple(data.get("not_namespaces", ())),
                "not_directories": tuple(data.get("not_directories", ())),
                "not_session_ids": tuple(data.get("not_session_ids", ())),
                "newest": Newest(**newest) if (newest := data.get("newest")) else None,
                "protected": tuple(Protection(**rule) for rule in data.get("protected", ())),
            }
        )

    def to_json(self) -> dict[str, Any]:
        data = {given.name: getattr(self, given.name) for given in fields(self)}
        # Omit later keys that are not set, so that criteria stored earlier stay equal.
        later: dict[str, Any] = {
            "gone": self.gone,
            "not_alive": self.not_alive,
            "selection": self.selection and self.selection.to_json(),
            "not_namespaces": list(self.not_namespaces),
            "not_directories": list(self.not_directories),
            "not_session_ids": list(self.not_session_ids),
            "newest": self.newest and self.newest.to_json(),
            "protected": [rule.to_json() for rule in self.protected],
            "settle_seconds": self.settle_seconds,
            "spares_in_use": self.spares_in_use,
        }
        return {name: value for name, value in (data | later).items() if name not in later or value}

    @property
    def reads_browsers(self) -> bool:
        """Whether the criteria depend on the state of browsers."""
        return self.gone or self.not_alive or (self.selection is not None and bool(self.selection.browser))

    @property
    def reads_texts(self) -> bool:
        """Whether the criteria depend on the search texts or the metadata of sessions."""
        rules = any(read_key(rule.per) for rule in self.protected)
        newest = self.newest is not None and bool(read_key(self.newest.per))
        return rules or newest or (self.selection is not None and self.selection.reads_texts)

    @property
    def is_selection(self) -> bool:
        """Whether a user selected sessions, one by one or by filters."""
        return self.session_ids is not None or self.selection is not None

    def cutoff(self, as_of: datetime) -> datetime:
        """Return the last access before which a session is expired."""
        return as_of - timedelta(days=self.max_age_days)

    def reaches(self, namespace: str) -> bool:
        """Check whether sessions of a namespace may match."""
        return self.namespace in ("", namespace) and namespace not in self.not_namespaces

    def scope(self) -> Q:
        scope = Q()
        if self.namespace:
            scope &= Q(namespace=self.namespace)
        if self.not_namespaces:
            scope &= ~Q(namespace__in=self.not_namespaces)
        if self.browser_type:
            scope &= Q(browser_type=self.browser_type)
        if self.directory is not None:
            scope &= Q(directory=self.directory)
        return scope

    def _kept_in_scope(self, as_of: datetime) -> Q:
        """Match the sessions in the scope that the plan does not exclude."""
        kept = Q()
        if self.not_directories:
            kept &= ~Q(directory__in=self.not_directories)
        if self.not_session_ids:
            kept &= ~has_id(self.not_session_ids)
        if self.not_alive:
            kept &= ~may_run(as_of)
        if self.protected:
            kept &= ~protected(self.protected)
        return kept

    def matching(self, as_of: datetime, *, beyond: Q | None = None) -> Q:
        """Match the sessions that meet these criteria at an instant.

        Args:
            beyond: Condition for sessions that are not among the newest. See ``cleanup.newest``.
        Raises: ValueError: ``newest`` is given without ``beyond``.
        """
        if (beyond is None) != (self.newest is None):
            raise ValueError("Criteria with “newest” require the condition “beyond”.")
        scope = self.scope() & self._kept_in_scope(as_of)
        if self.all:
            return scope
        chosen = beyond or Q()
        if self.expired:
            chosen |= is_expired(self.cutoff(as_of))
        if self.invalid:
            chosen |= is_invalid()
        if self.gone:
            chosen |= is_gone(as_of)
        if self.session_ids is not None:
            chosen |= has_id(self.session_ids)
        if self.selection is not None:
            chosen |= self.selection.matching(as_of, self.cutoff(as_of))
        if self.has_vanished:
            return scope & chosen
        return scope & chosen & Q(is_pinned=False)

    def reasons(self, as_of: datetime) -> Combinable:
        """Return the reason bits of each matching session, as SQL."""
        if self.has_vanished:
            return Value(Reason.VANISHED.value)
        if self.newest is not None:
            return Value(Reason.NOT_NEWEST.value)
        is_selected = self.all or self.is_selection
        mask = ~0 if self.invalid or is_selected else UNREADABLE.value
        bits: Combinable = F("problems").bitand(mask & PROBLEM_BITS)
        if self.expired and not (self.invalid or self.gone or is_selected):
            # All of them are expired: evaluating each would cost a large plan a third more.
            bits = bits + Value(Reason.EXPIRED.value)
        elif self.expired or is_selected:
            expired = When(is_expired(self.cutoff(as_of)), then=Value(Reason.EXPIRED.value))
            bits = bits + Case(expired, default=Value(0), output_field=IntegerField())
        if self.gone:
            gone = When(is_gone(as_of), then=Value(Reason.GONE.value))
            bits = bits + Case(gone, default=Value(0), output_field=IntegerField())
        if self.all:
            return bits + Value(Reason.ALL.value)
        if self.is_selection:
            return bits + Value(Reason.SELECTED.value)
        return bits

    def describe(self) -> str:
        """Describe the criteria in a line."""
        return describe_criteria(self)
