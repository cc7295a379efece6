"""Criteria of cleanups: which sessions match, and for which reasons."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field, fields
from datetime import datetime, timedelta
from typing import Any, Self

from django.db.models import F, Func, IntegerField, Q, Value
from django.db.models.expressions import Case, Combinable, When

from sessions_app.session.problems import UNREADABLE, CodedFlag, Problem, is_expired, is_invalid
from sessions_app.session.selection import Selection
from sessions_app.text import count_of, in_days

MAX_AGE_LIMIT_DAYS = 36_525
SELECTION_LIMIT = 10_000


class Reason(CodedFlag):
    """Why a session is removed. Problems are reasons too; their bits are lower than these."""

    EXPIRED = 1 << 8, "Last accessed too long ago, or its age cannot be read."
    SELECTED = 1 << 9, "Selected manually."
    ALL = 1 << 10, "All sessions in the scope were selected."
    VANISHED = 1 << 11, "Its file is gone from the session directory."


REASONS: dict[str, Problem | Reason] = {reason.code: reason for reason in (*Reason, *Problem)}
"""Every reason for a removal by its code, in display order."""

_PROBLEM_BITS = (1 << 8) - 1


def reasons_in(bits: int) -> list[Problem | Reason]:
    """Split a sum of reason bits into its members."""
    return [*Problem(bits & _PROBLEM_BITS), *Reason(bits & ~_PROBLEM_BITS)]


def count_reasons(groups: Iterable[tuple[int, int]]) -> dict[str, int]:
    """Count each reason by its code over ``(bits, sessions)`` groups; a session counts for each reason."""
    counts: Counter[str] = Counter()
    for bits, sessions in groups:
        for reason in reasons_in(bits):
            counts[reason.code] += sessions
    return dict(counts)


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
        all: Every session in the scope, pinned ones included.
        session_ids: These sessions (primary keys).
        selection: Sessions that the filters and the search of the list show. Its namespace is the scope.
        has_vanished: ``session_ids`` are sessions whose files are gone; used by syncs only.
        namespace: Scope; blank for all namespaces.
        not_namespaces: Scope: namespaces that are hidden from the user (``access.visibility``).
        browser_type: Scope; blank for all.
        not_directories: Session directories (primary keys) that are left out, though their sessions count in
            the scope: scheduled sweeps do not touch them yet.
        directory: Scope: primary key of the session directory.
        settle_seconds: Leave out mirrored sessions that were written less than this before the plan; set by
            scheduled plans. Equal criteria may differ in it.
    Raises: InvalidCriteria: no criterion is given, or a value is out of range.
    """

    expired: bool = False
    invalid: bool = False
    all: bool = False
    session_ids: tuple[int, ...] | None = None
    selection: Selection | None = None
    has_vanished: bool = False
    max_age_days: float = 7
    namespace: str = ""
    not_namespaces: tuple[str, ...] = ()
    browser_type: str = ""
    directory: int | None = None
    not_directories: tuple[int, ...] = ()
    settle_seconds: float = field(default=0, compare=False)

    def __post_init__(self) -> None:
        if not (self.expired or self.invalid or self.all or self.is_selection):
            raise InvalidCriteria("No criterion was given: choose expired, invalid, all, or select sessions.")
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
            }
        )

    def to_json(self) -> dict[str, Any]:
        data = {given.name: getattr(self, given.name) for given in fields(self)}
        # Omit later keys that are not set, so that criteria stored earlier stay equal.
        later: dict[str, Any] = {
            "selection": self.selection and self.selection.to_json(),
            "not_namespaces": list(self.not_namespaces),
            "not_directories": list(self.not_directories),
            "settle_seconds": self.settle_seconds,
        }
        return {name: value for name, value in (data | later).items() if name not in later or value}

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

    def matching(self, as_of: datetime) -> Q:
        """Match the sessions that meet these criteria, evaluated at an instant."""
        scope = self.scope()
        if self.not_directories:
            scope &= ~Q(directory__in=self.not_directories)
        if self.all:
            return scope
        chosen = Q()
        if self.expired:
            chosen |= is_expired(self.cutoff(as_of))
        if self.invalid:
            chosen |= is_invalid()
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
        is_selected = self.all or self.is_selection
        mask = ~0 if self.invalid or is_selected else UNREADABLE.value
        bits: Combinable = F("problems").bitand(mask & _PROBLEM_BITS)
        if self.expired and not (self.invalid or is_selected):
            # All of them are expired: evaluating each would cost a large plan a third more.
            bits = bits + Value(Reason.EXPIRED.value)
        elif self.expired or is_selected:
            expired = When(is_expired(self.cutoff(as_of)), then=Value(Reason.EXPIRED.value))
            bits = bits + Case(expired, default=Value(0), output_field=IntegerField())
        if self.all:
            return bits + Value(Reason.ALL.value)
        if self.is_selection:
            return bits + Value(Reason.SELECTED.value)
        return bits

    def describe(self) -> str:
        """Describe the criteria in a line."""
        return (
            "sessions whose files are gone" if self.has_vanished else self._chosen() + self._scope_in_words()
        )

    def _chosen(self) -> str:
        chosen = []
        if self.all:
            chosen.append("all sessions")
        if self.expired:
            chosen.append(f"expired (last accessed over {in_days(self.max_age_days)} ago)")
        if self.invalid:
            chosen.append("invalid")
        if self.session_ids is not None:
            chosen.append(f"{len(self.session_ids):,} selected")
        if self.selection is not None:
            chosen.append(self.selection.describe(self.max_age_days))
        return " or ".join(chosen)

    def _scope_in_words(self) -> str:
        text = ""
        if self.namespace:
            text += f", in namespace {self.namespace}"
        elif self.not_namespaces:
            text += f", except {count_of(len(self.not_namespaces), 'limited namespace')}"
        if self.browser_type:
            text += f", of browser type {self.browser_type}"
        if self.directory is not None:
            text += ", in one session directory"
        if self.not_directories:
            number = count_of(len(self.not_directories), "session directory", "session directories")
            text += f", but not in {number} that scheduled sweeps leave alone for now"
        return text
