"""Session documents: bytes to the columns of a session and back, without loss.

The bytes are kept exactly. The columns hold what the database needs to evaluate, search and sort. A value
that a column cannot hold (NUL and lone surrogates in a text column, a megabyte in an index) is shortened or
replaced there; the bytes still hold all of it.
"""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Iterable
from datetime import UTC, datetime, tzinfo
from typing import Any, NamedTuple

from sessions_app.session.endpoint import mask_endpoints

TEXT_LENGTH = 255
"""Longest text in an indexed column, in characters; PostgreSQL refuses index rows over 2,704 bytes."""


METADATA_LENGTH = 1_000
"""Characters of a session's metadata that are searched."""


class DocumentFields(NamedTuple):
    """Columns of a session that are read from its document; see ``StoredSession``."""

    session_id: str
    cdp_url: str
    browser_type: str
    created_at: datetime | None
    last_accessed: datetime | None
    is_corrupted: bool
    metadata_text: str


# json.loads checks its options and searches white space at each call, a fifth of the time.
_decode = json.JSONDecoder().raw_decode
_WHITE_SPACE = " \t\n\r"

# Masking text that is cut off afterwards took half of an import of large documents.
_MASKED_LENGTH = 2 * METADATA_LENGTH
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_CORRUPTED = DocumentFields("", "", "", None, None, True, "")


def read_document(data: bytes) -> dict[str, Any] | None:
    """Return a document's JSON object, or None if it has none.

    None means: not JSON in UTF-8, another top level, or nesting or numbers beyond what Python reads.
    """
    try:
        text = data.removeprefix(codecs.BOM_UTF8).decode().strip(_WHITE_SPACE)
        content, end = _decode(text)
    except (ValueError, RecursionError):
        return None
    return content if isinstance(content, dict) and end == len(text) else None


def parse_document(data: bytes, *, time_zone: tzinfo) -> DocumentFields:
    """Read the columns of a session from its document. No input raises an error.

    Args:
        time_zone: Zone of naive timestamps; aware ones keep their instant.
    """
    content = read_document(data)
    if content is None:
        return _CORRUPTED
    get = content.get
    cdp_url = _text(get("cdp_url"))
    return DocumentFields(
        _shown(get("session_id")),
        cdp_url,
        _shown(get("browser_type")),
        _instant(get("created_at"), time_zone),
        _instant(get("last_accessed"), time_zone),
        False,
        metadata_text(get("metadata"), cdp_url=cdp_url),
    )


def metadata_text(metadata: object, *, cdp_url: str) -> str:
    """Return the first values in a session's metadata as a text to search.

    Endpoints are masked as on the page of the session: a search for hidden text could guess it letter by
    letter.

    Args:
        cdp_url: Endpoint of the session.
    """
    if not isinstance(metadata, dict):
        return ""
    text = " ".join(_values_in(metadata))
    if len(text) > _MASKED_LENGTH:
        # Cut at a space, where every address ends: half an endpoint would not be masked.
        text = text[:_MASKED_LENGTH].rpartition(" ")[0]
    if not text.isprintable():
        # Escape as a page does: a mask would end at a line break inside an address.
        text = _CONTROL.sub(_escaped, text)
    return _text(mask_endpoints(text, cdp_url=cdp_url)[:METADATA_LENGTH])


def _values_in(metadata: dict[str, Any]) -> list[str]:
    """Return texts, numbers and booleans, deeper ones last, without those named cdp_url."""
    values: list[str] = []
    left: list[Any] = [metadata]
    while left and len(values) < METADATA_LENGTH:
        container = left.pop(0)
        for value in container if type(container) is list else _members(container):
            if type(value) is str:
                values.append(value)
            elif type(value) is dict or type(value) is list:
                left.append(value)
            elif value is not None:
                values.append(str(value).lower())
    return values


def _members(container: dict[str, Any]) -> Iterable[Any]:
    if "cdp_url" not in " ".join(container).lower():
        return container.values()
    return [value for key, value in container.items() if key.lower() != "cdp_url"]


def _escaped(character: re.Match[str]) -> str:
    return character[0].encode("unicode_escape").decode("ascii")


def write_document(content: dict[str, Any]) -> bytes:
    """Return a document in the layout of RAPTOR's own ``SessionManager``: indented by two, in ASCII."""
    return json.dumps(content, indent=2).encode("ascii")


def _shown(value: object) -> str:
    """Return a text for lists and reports: of bounded length, endpoints masked."""
    text = _text(value)
    return (mask_endpoints(text) if "/" in text else text)[:TEXT_LENGTH]


def _text(value: object) -> str:
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
