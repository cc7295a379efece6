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
from itertools import chain
from typing import Any, NamedTuple

from sessions_app.session.endpoint import Mask, cut_between_words
from sessions_app.session.json_values import endpoints_of, named_values
from sessions_app.session.secret_names import is_endpoint_name

TEXT_LENGTH = 255
"""Longest text in an indexed column, in characters; PostgreSQL refuses index rows over 2,704 bytes."""

CDP_URL_LENGTH = 2_000
"""Longest endpoint, in characters. The column of a longer one has one character more, and so a problem."""

METADATA_LENGTH = 1_000
"""Characters of a session's metadata that are searched."""


class DocumentFields(NamedTuple):
    """Columns of a session that are read from its document; see ``StoredSession``.

    Its own endpoint is masked in the other columns.
    """

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
    cdp_url = _text(get("cdp_url"))
    metadata = get("metadata")
    values = list(named_values(metadata))
    others = {name: value for name, value in content.items() if name != "metadata"}
    mask = Mask(cdp_url, *endpoints_of(chain(named_values(others), values)))
    return DocumentFields(
        _shown(get("session_id"), mask),
        cdp_url[: CDP_URL_LENGTH + 1],
        _shown(get("browser_type"), mask),
        _instant(get("created_at"), time_zone),
        _instant(get("last_accessed"), time_zone),
        False,
        _searched_text(values if isinstance(metadata, dict) else (), mask),
    )


def _searched_text(values: Iterable[tuple[str, Any]], mask: Mask) -> str:
    """Return the first values in a session's metadata as a text to search.

    Secrets are left out or masked as on the page of the session: a search for hidden text could guess it
    letter by letter.
    """
    parts, length = [], 0
    for name, value in values:
        if length > _MASKED_LENGTH:
            break
        if not is_endpoint_name(name):
            part = value[: _MASKED_LENGTH + 1] if type(value) is str else str(value).lower()
            parts.append(part)
            length += len(part) + 1
    # Half an endpoint would not be masked.
    text = cut_between_words(" ".join(parts), _MASKED_LENGTH)
    if not text.isprintable():
        # Escape as a page does: a mask would end at a line break inside an address.
        text = _CONTROL.sub(_escaped, text)
    return _text(mask(text)[:METADATA_LENGTH])


def _escaped(character: re.Match[str]) -> str:
    return character[0].encode("unicode_escape").decode("ascii")


def write_document(content: dict[str, Any]) -> bytes:
    """Return a document in the layout of RAPTOR's own ``SessionManager``: indented by two, in ASCII."""
    return json.dumps(content, indent=2).encode("ascii")


def _shown(value: object, mask: Mask) -> str:
    """Return a text for lists and reports: of bounded length, without secrets."""
    text = _text(value)
    if len(text) > _MASKED_LENGTH:
        text = cut_between_words(text, _MASKED_LENGTH) or "…"
    return mask(text)[:TEXT_LENGTH]


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
