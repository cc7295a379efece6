"""Makes sessions for the tests of the screens."""

from __future__ import annotations

import itertools
import json
from datetime import UTC, datetime, timedelta
from typing import Any

from sessions_app.models import BrowserSession
from sessions_app.session.document import parse_document, write_document

LIST = "/admin/sessions_app/browsersession/"
AS_OF = datetime(2026, 11, 22, 12, tzinfo=UTC)
SECRET = "0c7ad1c4-secret-of-the-endpoint"
ENDPOINT = f"ws://127.0.0.1:9222/devtools/browser/{SECRET}"
_numbers = itertools.count(1)


def build_session(
    name: str = "",
    *,
    namespace: str = "default",
    age: timedelta = timedelta(hours=1),
    document: bytes | None = None,
    is_pinned: bool = False,
    **keys: Any,
) -> BrowserSession:
    """Give an unsaved session, valid unless ``keys`` of its document say otherwise."""
    name = name or f"session-{next(_numbers)}"
    if document is None:
        content = {
            "session_id": f"id-of-{name}",
            "cdp_url": ENDPOINT,
            "browser_type": "chromium",
            "created_at": (AS_OF - age).isoformat(),
            "last_accessed": (AS_OF - age).isoformat(),
            "metadata": {"page_title": "Welcome"},
        }
        document = write_document(content | keys)
    fields = parse_document(document, time_zone=UTC)
    return BrowserSession(
        namespace=namespace,
        name=name,
        size_bytes=len(document),
        document=document,
        is_pinned=is_pinned,
        **fields._asdict(),
    )


def make_session(name: str = "", **options: Any) -> BrowserSession:
    session = build_session(name, **options)
    session.save()
    return session


def nested(depth: int) -> bytes:
    return json.dumps({"deep": "x"}).encode().replace(b'"x"', b"[" * depth + b"]" * depth)


def page_of(session: BrowserSession) -> str:
    return f"{LIST}{session.pk}/change/"
