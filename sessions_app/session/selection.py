"""The filters and the search of the list as a condition that can be stored, instead of ids.

Each choice of a filter is a range or an equality, so that they combine and use an index.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from datetime import datetime, timedelta
from functools import reduce
from operator import and_
from typing import Any, NamedTuple, Self

from django.db.models import Q
from django.utils import timezone

from sessions_app.session.browser_states import BrowserState, has_state, is_gone, is_unknown
from sessions_app.session.document import BROWSER_TYPES
from sessions_app.session.endpoint import mask_endpoints
from sessions_app.session.lookups import LONGEST_TEXT, begins_with, has_label, mentions, mentions_all
from sessions_app.session.problems import (
    BEGINNING,
    Problem,
    has_problem,
    is_expired,
    is_invalid,
)
from sessions_app.text import in_days


class InvalidSelection(ValueError):
    """A filter has an unknown value; the message lists the valid ones."""


class Choice(NamedTuple):
    """A value of a filter: its label beside the list, its words in a sentence, and its condition.

    ``{limit}`` in a text is replaced by the maximum age. The condition receives the instant of evaluation and
    the last access before which a session is expired.
    """

    label: str
    words: str
    condition: Callable[[datetime, datetime], Q]


def midnight_before(as_of: datetime) -> datetime:
    """Return the beginning of the day in ``TIME_ZONE``."""
    return timezone.localtime(as_of).replace(hour=0, minute=0, second=0, microsecond=0)


def _fixed(condition: Q) -> Callable[[datetime, datetime], Q]:
    return lambda as_of, cutoff: condition


def _within(days: int) -> Callable[[datetime, datetime], Q]:
    return lambda as_of, cutoff: Q(idle_since__gte=as_of - timedelta(days=days), idle_since__lte=as_of)


def _problem(problem: Problem) -> Choice:
    # A problem has no shorter name than its sentence.
    name = problem.sentence.rstrip(".")
    return Choice(name, f"with the problem “{name}”", _fixed(has_problem(problem)))


CHOICES: dict[str, dict[str, Choice]] = {
    "problem": {
        "any": Choice("Any problem", "with any problem", _fixed(is_invalid())),
        "none": Choice("None", "without a problem", _fixed(Q(problems=0))),
        **{problem.code: _problem(problem) for problem in Problem},
    },
    "expired": {
        "yes": Choice(
            "Yes, over {limit}",
            "expired (last accessed over {limit} ago)",
            lambda as_of, cutoff: is_expired(cutoff),
        ),
        "no": Choice("No", "not expired", lambda as_of, cutoff: Q(idle_since__gte=cutoff)),
    },
    "accessed": {
        "today": Choice(
            "Today",
            "last accessed on that day",
            lambda as_of, cutoff: Q(idle_since__gte=midnight_before(as_of), idle_since__lte=as_of),
        ),
        "7": Choice("Last 7 days", "last accessed in the 7 days before", _within(7)),
        "30": Choice("Last 30 days", "last accessed in the 30 days before", _within(30)),
        "older": Choice(
            "Over 30 days ago",
            "last accessed over 30 days ago",
            lambda as_of, cutoff: Q(idle_since__gt=BEGINNING, idle_since__lt=as_of - timedelta(days=30)),
        ),
        "future": Choice(
            "In the future", "last accessed in the future", lambda as_of, cutoff: Q(idle_since__gt=as_of)
        ),
        "unreadable": Choice("Cannot be read", "of unreadable age", _fixed(Q(idle_since=BEGINNING))),
    },
    "browser_type": {
        **{
            name: Choice(name, f"of browser type {name}", _fixed(Q(browser_type=name)))
            for name in BROWSER_TYPES
        },
        # Other types are a problem, so the partial index of invalid sessions applies.
        "other": Choice(
            "Other", "of another browser type", _fixed(is_invalid() & ~Q(browser_type__in=BROWSER_TYPES))
        ),
    },
    "browser": {
        "alive": Choice(
            "Alive, not in use",
            "with a browser that is alive and not in use",
            lambda as_of, cutoff: has_state(BrowserState.ALIVE, as_of=as_of),
        ),
        "in_use": Choice(
            "In use",
            "with a browser that is in use",
            lambda as_of, cutoff: has_state(BrowserState.IN_USE, as_of=as_of),
        ),
        "gone": Choice("Gone", "with a browser that is gone", lambda as_of, cutoff: is_gone(as_of)),
        "unknown": Choice(
            "Unknown",
            "with a browser of unknown state",
            lambda as_of, cutoff: is_unknown(as_of),
        ),
    },
    "pinned": {
        "yes": Choice("Yes", "pinned", _fixed(Q(is_pinned=True))),
        "no": Choice("No", "not pinned", _fixed(Q(is_pinned=False))),
    },
}
"""Filters of the list with their values, by their names in its address."""


MAX_METADATA_FILTERS = 5
METADATA = "metadata."
"""Prefix of the filters by metadata key, as in ``metadata.user=alice``."""


class Since(NamedTuple):
    """A position in the order of last access. A session follows it if it was accessed later, or at the same
    instant with an equal or larger primary key."""

    at: datetime
    id: int

    def condition(self) -> Q:
        after = Q(idle_since__gt=self.at) | Q(idle_since=self.at, pk__gte=self.id)
        # Repeat the condition as a range, so that the index of last accesses applies.
        return Q(idle_since__gte=self.at) & after


@dataclass(frozen=True, kw_only=True)
class Selection:
    """The values of the list's filters and search. Blank values do not filter.

    Args:
        problem, expired, accessed, browser_type, browser, pinned: A key of ``CHOICES``.
        namespace: Any.
        text: Text to search: the beginning of a name, or a part of name, host, session id or metadata.
        in_metadata: Whether the search includes metadata. False in selections that earlier versions stored.
        by_words: Whether each word of the text is searched. Earlier versions searched the text as a whole.
        metadata: Metadata keys with their required values.
        since: First position in which to search for parts of a text; None searches all sessions.
    Raises: InvalidSelection: a filter has an unknown value.
    """

    problem: str = ""
    expired: str = ""
    accessed: str = ""
    browser_type: str = ""
    browser: str = ""
    pinned: str = ""
    namespace: str = ""
    text: str = ""
    in_metadata: bool = False
    by_words: bool = False
    metadata: tuple[tuple[str, str], ...] = ()
    since: Since | None = None

    def __post_init__(self) -> None:
        for name, choices in CHOICES.items():
            if (value := getattr(self, name)) and value not in choices:
                raise InvalidSelection(f"“{value}” is not one of: {', '.join(choices)} ({name}).")

    @classmethod
    def from_address(cls, query: Mapping[str, str]) -> Self:
        """Read the filters and the search (``q``) of an address; other parameters are ignored.

        Raises: InvalidSelection.
        """
        given: dict[str, Any] = {name: query.get(name, "") for name in (*CHOICES, "namespace")}
        # No column is longer, so a longer text matches nothing.
        text = query.get("q", "").strip()[:LONGEST_TEXT]
        metadata = tuple(
            (name.removeprefix(METADATA), value[:LONGEST_TEXT])
            for name, value in sorted(query.items())
            if name.startswith(METADATA) and value
        )
        return cls(
            **given,
            text=text,
            in_metadata=bool(text),
            by_words=bool(text),
            metadata=metadata[:MAX_METADATA_FILTERS],
        )

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Self:
        since = data.get("since")
        place = Since(datetime.fromisoformat(since[0]), since[1]) if since else None
        metadata = tuple((key, value) for key, value in data.get("metadata", ()))
        return cls(**{**data, "since": place, "metadata": metadata})

    def to_json(self) -> dict[str, Any]:
        given: dict[str, Any] = {f.name: value for f in fields(self) if (value := getattr(self, f.name))}
        if self.metadata:
            given["metadata"] = [list(pair) for pair in self.metadata]
        if self.since:
            given["since"] = [self.since.at.isoformat(), self.since.id]
        return given

    @property
    def is_empty(self) -> bool:
        """Whether no filter is set, so that every session matches."""
        return not self.to_json()

    @property
    def words(self) -> tuple[str, ...]:
        """The words of the search."""
        return tuple(dict.fromkeys(self.text.split()))

    @property
    def reads_texts(self) -> bool:
        """Whether the selection depends on the search texts or the metadata of sessions."""
        return bool(self.text or self.metadata)

    @property
    def indexed_words(self) -> tuple[str, ...]:
        """Words that are in the texts of all selected sessions."""
        return (*self.words, *(f"{key}:{value}" for key, value in self.metadata))

    def taking(self, name: str, value: str) -> Self:
        """Return a copy with another value of one filter; blank clears it."""
        taken: dict[str, Any] = {name: value}
        if name.startswith(METADATA):
            pairs = {**dict(self.metadata), name.removeprefix(METADATA): value}
            taken = {"metadata": tuple(sorted(pair for pair in pairs.items() if pair[1]))}
        return replace(self, **taken)

    def conditions(self, as_of: datetime, cutoff: datetime) -> dict[str, Q]:
        """Return the condition of each filter that is set, by its name, evaluated at an instant.

        Args:
            cutoff: Last access before which a session is expired.
        """
        asked = {
            name: choices[value].condition(as_of, cutoff)
            for name, choices in CHOICES.items()
            if (value := getattr(self, name))
        }
        asked |= {f"{METADATA}{key}": has_label(key, value) for key, value in self.metadata}
        return asked | ({"namespace": Q(namespace=self.namespace)} if self.namespace else {})

    def matching(self, as_of: datetime, cutoff: datetime) -> Q:
        """Match the selected sessions."""
        return reduce(and_, self.conditions(as_of, cutoff).values(), Q()) & self.search_condition()

    def search_condition(self) -> Q:
        """Match the sessions that the search finds; all without a search."""
        if not self.text:
            return Q()
        mentioned = (
            mentions_all(self.words) if self.by_words else mentions(self.text, in_metadata=self.in_metadata)
        )
        if self.since is None:
            return mentioned
        return begins_with(self.text) | (self.since.condition() & mentioned)

    def describe(self, max_age_days: float) -> str:
        """Describe the selection without its namespace, as in “sessions with any problem, not pinned”."""
        limit = in_days(max_age_days)
        words = [
            choices[value].words.format(limit=limit)
            for name, choices in CHOICES.items()
            if (value := getattr(self, name))
        ]
        words += [f"with {key} “{mask_endpoints(value)}” in metadata" for key, value in self.metadata]
        if self.text:
            # The text may be an endpoint.
            text = mask_endpoints(self.text)
            places = "name, host, session id or metadata" if self.in_metadata else "name, host or session id"
            if self.since is None:
                words.append(f"with “{text}” in {places}")
            else:
                words.append(
                    f"with a name that begins with “{text}”, or with it in {places} "
                    f"where accessed since {self.since.at:%Y-%m-%d %H:%M} UTC"
                )
        return ", ".join(["sessions", *words]).replace(", ", " ", 1)
