"""The context of the page of a session, live or archived."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, NamedTuple

from django.conf import settings
from django.urls import reverse
from django.utils.html import format_html

from sessions_app.admin import badges, formatting
from sessions_app.admin.sessions.document_view import ShownDocument, show_document
from sessions_app.models import BrowserSession
from sessions_app.session.criteria import Reason, reasons_in
from sessions_app.session.document import parse_document
from sessions_app.session.problems import Problem, warnings_of


class Finding(NamedTuple):
    """A problem or a warning, with what to do about it."""

    sentence: str
    advice: str


def session_context(
    session: Any,
    bits: int,
    *,
    as_of: datetime,
    offers_endpoint: bool = False,
    shows_credentials: bool = False,
) -> dict[str, Any]:
    """Build the context of a session, evaluated at an instant.

    Args:
        bits: Why it is invalid or expired; see ``criteria.reasons_in``.
        offers_endpoint: Add a button to the host that shows the endpoint.
        shows_credentials: Show the values of names such as ``password`` in its document.
    """
    warnings = warnings_of(
        browser_type=session.browser_type,
        last_accessed=session.last_accessed,
        shown_endpoint=session.shown_endpoint,
        has_endpoint=session.endpoint_length > 0,
        as_of=as_of,
        allowed_hosts=settings.RAPTOR_CDP_ALLOWED_HOSTS,
    )
    return {
        "session": session,
        "verdicts": badges.verdicts(bits),
        "facts": _facts(session, as_of, offers_endpoint=offers_endpoint),
        "problems": [Finding(found.sentence, found.advice) for found in Problem(session.problems)],
        "expiry": _expiry(session, bits, as_of),
        "warnings": [Finding(found.sentence, found.advice) for found in warnings],
        "document": show_document(
            session.document, cdp_url=session.cdp_url, shows_credentials=shows_credentials
        ),
        "last_good_document": _last_good_document(session),
    }


def _last_good_document(session: BrowserSession) -> ShownDocument | None:
    if session.last_good_document is None:
        return None
    data = session.last_good_document
    # Its endpoint may differ from the endpoint of the broken document.
    return show_document(data, cdp_url=parse_document(data, time_zone=UTC).cdp_url)


def _facts(session: BrowserSession, as_of: datetime, *, offers_endpoint: bool) -> list[tuple[str, str]]:
    host = formatting.host(session.shown_endpoint)
    facts = [
        ("Namespace", session.namespace),
        ("Session id", session.shown_session_id or formatting.NONE),
        ("Browser type", session.shown_browser_type or formatting.NONE),
        ("Host", _with_button(host, session) if offers_endpoint else host),
        ("Created", formatting.moment(session.created_at)),
        ("Last accessed", formatting.moment(session.last_accessed)),
        ("Age", formatting.age(session.last_accessed, as_of)),
        ("Size", formatting.size(session.size_bytes)),
        ("Pinned", "Yes" if session.is_pinned else "No"),
        ("Added to the panel", formatting.moment(session.added_at)),
        ("Last changed here", formatting.moment(session.updated_at)),
    ]
    if session.last_good_document is not None:
        facts.append(("Last good document", formatting.size(len(session.last_good_document))))
    if session.directory is not None:
        facts += [("Session directory", session.directory.path), ("File", session.file_name)]
    return facts


def _with_button(host: str, session: BrowserSession) -> str:
    # The button belongs to the form at the top of the page, which has the CSRF token.
    return format_html(
        '{} <button class="button raptor-plain" form="session-actions" formaction="{}">{}</button>',
        host,
        reverse("admin:sessions_app_browsersession_endpoint", args=[session.pk]),
        "Show endpoint",
    )


def _expiry(session: BrowserSession, bits: int, as_of: datetime) -> str:
    if Reason.EXPIRED not in reasons_in(bits):
        return ""
    return formatting.explain(Reason.EXPIRED | bits & session.problems, session.last_accessed, as_of=as_of)[
        -1
    ]
