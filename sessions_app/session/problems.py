"""The rules of validity, each in one place: its public code, its condition, its text and its advice.

A rule is a ``Q`` over the columns of a session, so the database evaluates every row itself, rows written by
raw SQL included: see ``BrowserSession.problems``. Problems make a session invalid; warnings are shown and
never cause a removal.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from enum import IntFlag
from typing import Self

from django.db.models import F, Q, Value
from django.db.models.expressions import Case, CombinedExpression, When
from django.db.models.fields import IntegerField
from django.db.models.functions import Trim
from django.db.models.lookups import Exact

from sessions_app.session.document import BROWSER_TYPES, CDP_URL_LENGTH, DocumentFields
from sessions_app.session.endpoint import ENDPOINT_SCHEMES, Endpoint, is_allowed_host

BEGINNING = datetime(1, 1, 1, tzinfo=UTC)
"""Represents a last access that cannot be read; earlier than any other."""


class CodedFlag(IntFlag):
    """A set of named facts: each member has a public code, a sentence, and advice."""

    sentence: str
    advice: str

    def __new__(cls, value: int, sentence: str = "", advice: str = "") -> Self:
        member = int.__new__(cls, value)
        member._value_ = value
        member.sentence = sentence
        member.advice = advice
        return member

    @property
    def code(self) -> str:
        """Public name of a single member in screens, filters and JSON."""
        return str(self.name).lower()

    @property
    def codes(self) -> list[str]:
        """Codes of all members in the set, in the order of their bits."""
        return [member.code for member in self]

    @classmethod
    def from_codes(cls, codes: Iterable[str]) -> Self:
        """Build a set from codes.

        Raises: ValueError: a code is unknown; the message lists the valid ones.
        """
        members = {member.code: member for member in cls}
        found = cls(0)
        for code in codes:
            if code not in members:
                raise ValueError(f"“{code}” is not one of: {', '.join(members)}.")
            found |= members[code]
        return found


class Problem(CodedFlag):
    """The broken rules of a session. A session with at least one is invalid."""

    MISSING_SESSION_ID = (
        1,
        "The session id is missing.",
        "The test that saved it crashed or wrote no id. Save the session again, or clean it up.",
    )
    MISSING_CDP_URL = (
        2,
        "The endpoint (cdp_url) is missing.",
        "Nobody can reconnect. Launch the browser with --remote-debugging-port=0 and save again.",
    )
    INVALID_CREATED_AT = (
        4,
        "The time of creation cannot be read.",
        "Write created_at as an ISO 8601 date and time, such as 2026-11-21T09:00:00+00:00.",
    )
    INVALID_LAST_ACCESSED = (
        8,
        "The time of last access cannot be read.",
        "Write last_accessed as an ISO 8601 date and time; until then it counts as expired.",
    )
    INVALID_BROWSER_TYPE = (
        16,
        "The browser type is not one of chromium, firefox, webkit.",
        "Write browser_type in lower case, as Playwright names it.",
    )
    CORRUPTED_DOCUMENT = (
        32,
        "The document is not a JSON object.",
        "It was cut off or is not a session. Its bytes are kept as they are; clean it up.",
    )
    INVALID_CDP_URL = (
        64,
        f"The endpoint (cdp_url) has over {CDP_URL_LENGTH:,} characters.",
        "It is not the address of a browser. Save the address that the browser reports at /json/version.",
    )


UNREADABLE = Problem.INVALID_CREATED_AT | Problem.INVALID_LAST_ACCESSED | Problem.CORRUPTED_DOCUMENT
"""The problems that leave the age unknown: the guide counts such a session as expired."""


def _blank(column: str) -> Q:
    return Q(Exact(Trim(column), Value("")))


def _is_one_of(column: str, values: Iterable[str]) -> Q:
    # For IN with three values SQLite fills a temporary table for each row that is written (2 µs).
    return Q(*((column, value) for value in values), _connector=Q.OR)


def _in_a_readable_document(rule: Q) -> Q:
    # The content of a corrupted document is unknown, so only its corruption counts.
    return Q(is_corrupted=False) & rule


RULES: dict[Problem, Q] = {
    Problem.MISSING_SESSION_ID: _in_a_readable_document(_blank("session_id")),
    Problem.MISSING_CDP_URL: _in_a_readable_document(Q(endpoint_length=0)),
    Problem.INVALID_CREATED_AT: _in_a_readable_document(Q(created_at=None)),
    Problem.INVALID_LAST_ACCESSED: _in_a_readable_document(Q(last_accessed=None)),
    Problem.INVALID_BROWSER_TYPE: _in_a_readable_document(~_is_one_of("browser_type", BROWSER_TYPES)),
    Problem.CORRUPTED_DOCUMENT: Q(is_corrupted=True),
    Problem.INVALID_CDP_URL: _in_a_readable_document(Q(endpoint_length__gt=CDP_URL_LENGTH)),
}


def is_good(fields: DocumentFields) -> bool:
    """Check whether a document breaks none of ``RULES``, before it is stored."""
    has_texts = bool(fields.session_id and fields.cdp_url) and len(fields.cdp_url) <= CDP_URL_LENGTH
    has_times = fields.created_at is not None and fields.last_accessed is not None
    return not fields.is_corrupted and has_texts and has_times and fields.browser_type in BROWSER_TYPES


def problems_expression() -> CombinedExpression:
    """Return the sum of the bits of all broken rules, as SQL for a stored generated column."""
    bits = [
        Case(When(rule, then=Value(problem.value)), default=Value(0), output_field=IntegerField())
        for problem, rule in RULES.items()
    ]
    total = bits[0] + bits[1]
    for bit in bits[2:]:
        total += bit
    return total


def is_expired(cutoff: datetime) -> Q:
    """Match sessions last accessed before the cutoff, or of unreadable age: the guide's rule."""
    return Q(idle_since__lt=cutoff)


def is_invalid() -> Q:
    """Match sessions with any problem."""
    return Q(problems__gt=0)


def has_problem(problem: Problem) -> Q:
    """Match sessions with any of the given problems."""
    # "problems > 0" lets the partial index session_invalid narrow the rows first.
    return is_invalid() & ~Q(Exact(F("problems").bitand(problem.value), Value(0)))


class SessionWarning(CodedFlag):
    """A remark about a session that does not make it invalid."""

    NOT_RECONNECTABLE = (
        1,
        "Firefox and WebKit cannot be reconnected to over CDP.",
        "Use Chromium for tests that reconnect to a browser.",
    )
    LAST_ACCESSED_IN_FUTURE = (
        2,
        "The last access is in the future.",
        "Check the clock and the time zone of the machine that saved it.",
    )
    ENDPOINT_HOST_NOT_ALLOWED = (
        4,
        "The endpoint's host is not an allowed host.",
        "Add it to RAPTOR_CDP_ALLOWED_HOSTS if it is yours; until then nobody connects to it.",
    )
    ENDPOINT_SCHEME_UNSUPPORTED = (
        8,
        "The endpoint is neither an http nor a ws address.",
        "Save the address that the browser reports at /json/version.",
    )


def warnings_of(
    *,
    browser_type: str,
    last_accessed: datetime | None,
    shown_endpoint: str,
    has_endpoint: bool,
    as_of: datetime,
    allowed_hosts: Iterable[str],
) -> SessionWarning:
    """Return the warnings about a session.

    Args:
        shown_endpoint: Scheme, host and port of its endpoint; see ``endpoint.shown_endpoint``.
    """
    found = SessionWarning(0)
    if browser_type in ("firefox", "webkit"):
        found |= SessionWarning.NOT_RECONNECTABLE
    if last_accessed is not None and last_accessed > as_of:
        found |= SessionWarning.LAST_ACCESSED_IN_FUTURE
    if has_endpoint:
        endpoint = Endpoint.parse(shown_endpoint)
        if endpoint.scheme not in ENDPOINT_SCHEMES:
            found |= SessionWarning.ENDPOINT_SCHEME_UNSUPPORTED
        elif not is_allowed_host(endpoint.host, allowed_hosts):
            found |= SessionWarning.ENDPOINT_HOST_NOT_ALLOWED
    return found
