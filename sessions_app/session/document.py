"""Session documents: bytes to the columns of a session and back, without loss.

The bytes are kept exactly. The columns hold what the database needs to evaluate, search and sort. A value
that a column cannot hold (NUL and lone surrogates in a text column, a megabyte in an index) is shortened or
replaced there; the bytes still hold all of it.
"""

from __future__ import annotations

import codecs
import json
import re
from datetime import UTC, datetime, tzinfo
from functools import lru_cache
from typing import Any, NamedTuple

from sessions_app.session.endpoint import Mask, cut_between_words
from sessions_app.session.info import OURS
from sessions_app.session.json_values import endpoints_in
from sessions_app.session.own_secrets import SHORTEST_PART
from sessions_app.session.secret_names import is_endpoint_name

TEXT_LENGTH = 255
"""Longest text in an indexed column, in characters; PostgreSQL refuses index rows over 2,704 bytes."""

CDP_URL_LENGTH = 2_000
"""Longest endpoint, in characters. The column of a longer one has one character more, and so a problem."""

MACHINE_LENGTH = 64
"""Maximum length of a machine's name, in characters."""

BROWSER_TYPES = ("chromium", "firefox", "webkit")


class DocumentFields(NamedTuple):
    """Columns of a session that are read from its document; see ``StoredSession``.

    Parts of its endpoints are masked in the other columns.
    """

    session_id: str
    cdp_url: str
    browser_type: str
    created_at: datetime | None
    last_accessed: datetime | None
    is_corrupted: bool
    machine: str | None = None


# json.loads checks its options and searches white space at each call, a fifth of the time.
_decode = json.JSONDecoder().raw_decode
_WHITE_SPACE = " \t\n\r"

# Masking text that is cut off afterwards took half of an import of large documents.
_MASKED_LENGTH = 2_000
_FEW_VALUES = 200
_HASHED_ID = re.compile(r"[0-9a-f]{16}")
_CORRUPTED = DocumentFields("", "", "", None, None, True)


def read_json(data: bytes) -> Any:
    """Read JSON in UTF-8.

    Raises: ValueError, RecursionError: it is not JSON, or nested deeper than Python reads.
    """
    text = data.removeprefix(codecs.BOM_UTF8).decode().strip(_WHITE_SPACE)
    content, end = _decode(text)
    if end != len(text):
        raise ValueError("There is text after the JSON.")
    return content


def read_document(data: bytes) -> dict[str, Any] | None:
    """Return a document's JSON object, or None if it has none.

    None means: not JSON in UTF-8, another top level, or nesting or numbers beyond what Python reads.
    """
    try:
        content = read_json(data)
    except (ValueError, RecursionError):
        return None
    return content if isinstance(content, dict) else None


def parse_document(data: bytes, *, time_zone: tzinfo) -> DocumentFields:
    """Read the columns of a session from its document. No input raises an error.

    Args:
        time_zone: Zone of naive timestamps; aware ones keep their instant.
    """
    content = read_document(data)
    if content is None:
        return _CORRUPTED
    get = content.get
    cdp_url = text_of(get("cdp_url"))
    return DocumentFields(
        _shown(get("session_id"), content, data),
        cdp_url[: CDP_URL_LENGTH + 1],
        _shown(get("browser_type"), content, data),
        _instant(get("created_at"), time_zone),
        _instant(get("last_accessed"), time_zone),
        False,
        _machine(get("metadata")),
    )


def _machine(metadata: object) -> str | None:
    """Return the machine on which ``SessionManager`` saved a document."""
    ours = metadata.get(OURS) if isinstance(metadata, dict) else None
    name = text_of(ours.get("machine")) if isinstance(ours, dict) else ""
    # Earlier versions stored a hashed id under this key.
    is_name = 0 < len(name) <= MACHINE_LENGTH and not _HASHED_ID.fullmatch(name)
    return name if is_name else None


def write_document(content: dict[str, Any]) -> bytes:
    """Return a document in the layout of RAPTOR's own ``SessionManager``: indented by two, in ASCII."""
    return json.dumps(content, indent=2).encode("ascii")


def _shown(value: object, content: dict[str, Any], data: bytes) -> str:
    """Return a text for lists and reports: of bounded length, without secrets."""
    text = text_of(value)
    if not text or text in BROWSER_TYPES:
        return text
    if len(text) > _MASKED_LENGTH:
        text = cut_between_words(text, _MASKED_LENGTH) or "…"
    mask = Mask() if _is_unlike_endpoints(text, content) else mask_of(content)
    return mask(text)[:TEXT_LENGTH]


def mask_of(content: dict[str, Any]) -> Mask:
    """Return the mask for all endpoints in a document."""
    others = {name: value for name, value in content.items() if name != "metadata"}
    endpoints = (*endpoints_in(others), *endpoints_in(content.get("metadata")))
    return Mask(text_of(content.get("cdp_url")), *endpoints)


def _is_unlike_endpoints(text: str, content: dict[str, Any]) -> bool:
    """Check quickly whether a value has no part in common with an endpoint of its document.

    Building the mask of a document takes longer than reading its other columns. False means: not sure.
    """
    names = _names_in(content)
    if names is None or _count_endpoint_names(names) > ("cdp_url" in content):
        return False
    if not isinstance(content.get("cdp_url", ""), str):
        return False
    endpoint = text_of(content.get("cdp_url")).lower()
    # Credentials may be shorter or written in other ways than other parts.
    if "@" in endpoint or "=" in endpoint or "%" in endpoint or not text.isascii():
        return False
    own, half = text.lower(), SHORTEST_PART // 2
    # Each part of an endpoint in the text would contain one of these pieces.
    return not any(own[at : at + half] in endpoint for at in range(0, len(own) - half + 1, half))


def _names_in(content: dict[str, Any]) -> tuple[str, ...] | None:
    """Return the names of all members at any depth; None if there are many."""
    names: list[str] = []
    waiting: list[Any] = [content]
    read = 0
    while waiting:
        container = waiting.pop()
        values = container
        if type(container) is dict:
            names += container
            values = container.values()
        read += len(container)
        if read > _FEW_VALUES:
            return None
        waiting += [value for value in values if type(value) is dict or type(value) is list]
    return tuple(names)


@lru_cache(1024)
def _count_endpoint_names(names: tuple[str, ...]) -> int:
    """Count the names of endpoints. Most documents of a folder have the same names."""
    return sum(map(is_endpoint_name, names))


def text_of(value: object) -> str:
    """Return a text without surrounding white space; other values are blank."""
    if not isinstance(value, str):
        return ""
    if not value.isascii():
        value = value.encode("utf-8", "replace").decode("utf-8")
    if "\0" in value:
        value = value.replace("\0", "\N{REPLACEMENT CHARACTER}")
    return value.strip()


def _instant(value: object, time_zone: tzinfo) -> datetime | None:
    """Read an ISO 8601 time as RAPTOR writes it, in UTC; None if it is invalid or out of range."""
    if not isinstance(value, str):
        return None
    try:
        instant = datetime.fromisoformat(value)
        if instant.tzinfo is None:
            instant = instant.replace(tzinfo=time_zone)
        if instant.tzinfo is not UTC:
            instant = instant.astimezone(UTC)
    except (ValueError, OverflowError):
        return None
    # Leave out the first and last year: a time zone could shift them out of datetime's range.
    return instant if 1 < instant.year < 9999 else None
