"""What the page of a session tells, live or archived."""

from __future__ import annotations

from datetime import datetime
from typing import Any, NamedTuple

from django.conf import settings

from sessions_app.admin import presentation
from sessions_app.admin.document_view import show_document
from sessions_app.criteria import Reason, reasons_in
from sessions_app.models import StoredSession
from sessions_app.problems import Problem, warnings_of


class Finding(NamedTuple):
    """A problem or a warning, with what to do about it."""

    sentence: str
    advice: str


def session_context(session: Any, bits: int, *, as_of: datetime) -> dict[str, Any]:
    """Gather what is told of a session, judged at an instant.

    Args:
        bits: Why it is invalid or expired, as ``criteria.reasons_in`` reads it.
    """
    warnings = warnings_of(
        browser_type=session.browser_type,
        last_accessed=session.last_accessed,
        cdp_url=session.cdp_url,
        as_of=as_of,
        allowed_hosts=settings.RAPTOR_CDP_ALLOWED_HOSTS,
    )
    return {
        "session": session,
        "verdicts": presentation.verdicts(bits),
        "facts": _facts(session, as_of),
        "problems": [Finding(found.sentence, found.advice) for found in Problem(session.problems)],
        "expiry": _expiry(session, bits, as_of),
        "warnings": [Finding(found.sentence, found.advice) for found in warnings],
        "document": show_document(bytes(session.document), cdp_url=session.cdp_url),
    }


def _facts(session: StoredSession, as_of: datetime) -> list[tuple[str, str]]:
    facts = [
        ("Namespace", session.namespace),
        ("Session id", session.session_id or presentation.NONE),
        ("Browser type", session.browser_type or presentation.NONE),
        ("Host", presentation.host(session.cdp_url)),
        ("Created", presentation.moment(session.created_at)),
        ("Last accessed", presentation.moment(session.last_accessed)),
        ("Age", presentation.age(session.last_accessed, as_of)),
        ("Size", presentation.size(session.size_bytes)),
        ("Pinned", "Yes" if session.is_pinned else "No"),
        ("Added to the panel", presentation.moment(session.added_at)),
        ("Last changed here", presentation.moment(session.updated_at)),
    ]
    if session.directory is not None:
        facts += [("Session directory", session.directory.path), ("File", session.file_name)]
    return facts


def _expiry(session: StoredSession, bits: int, as_of: datetime) -> str:
    if Reason.EXPIRED not in reasons_in(bits):
        return ""
    return presentation.explain(Reason.EXPIRED | bits & session.problems, session.last_accessed, as_of=as_of)[
        -1
    ]
