"""Session documents: bytes to the columns of a session and back, with nothing lost.

The bytes are what is kept. The columns are what the database needs of them to judge, search and
sort; where a column cannot hold a value (NUL and lone surrogates fit in no text column, an
address of a megabyte in no index) it holds what it can, and the bytes still hold all of it.
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
"""Longest text in an indexed column, in characters: PostgreSQL refuses index rows over 2,704 bytes."""


METADATA_LENGTH = 1_000
"""Characters of a session's metadata that a search looks through."""


class DocumentFields(NamedTuple):
    """What the columns of a session hold of its document; see ``StoredSession``."""

    session_id: str
    cdp_url: str
    browser_type: str
    created_at: datetime | None
    last_accessed: datetime | None
    is_corrupted: bool
    metadata_text: str


# json.loads looks for options at each call, which is a tenth of reading a small document.
_decode = json.JSONDecoder().decode

# To mask what is cut off afterwards took half of an import of large documents.
_MASKED_LENGTH = 2 * METADATA_LENGTH
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_CORRUPTED = DocumentFields("", "", "", None, None, True, "")


def read_document(data: bytes) -> dict[str, Any] | None:
    """Read a document's JSON object, or None where there is none to be read.

    ``None`` covers all of it: no JSON in UTF-8, another top level, nesting or numbers beyond what
    Python reads.
    """
    try:
        content = _decode(data.removeprefix(codecs.BOM_UTF8).decode())
    except (ValueError, RecursionError):
        return None
    return content if isinstance(content, dict) else None


def parse_document(data: bytes, *, time_zone: tzinfo) -> DocumentFields:
    """Take from a document what the columns hold. No bytes raise an error.

    Args:
        time_zone: In which naive timestamps are read; aware ones keep their instant.
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
    """Give the values in a session's metadata as a text to be searched, the first ones only.

    Endpoints are masked as on the page of the session: what is not shown there is found by no search, or
    it could be guessed letter by letter.

    Args:
        cdp_url: The session's endpoint.
    """
    if not isinstance(metadata, dict):
        return ""
    text = " ".join(_values_in(metadata))
    if len(text) > _MASKED_LENGTH:
        # Behind a space, where no address goes on: half an endpoint would not be known for one.
        text = text[:_MASKED_LENGTH].rpartition(" ")[0]
    if not text.isprintable():
        # As a page shows it: an address goes on behind a line break, though a mask would end there.
        text = _CONTROL.sub(_escaped, text)
    return _text(mask_endpoints(text, cdp_url=cdp_url)[:METADATA_LENGTH])


def _values_in(metadata: dict[str, Any]) -> list[str]:
    """Give texts, numbers and the like, those that lie deeper last; none under the name of an endpoint."""
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
                values.append(str(value).lower())  # true, as it is written there
    return values


def _members(container: dict[str, Any]) -> Iterable[Any]:
    if "cdp_url" not in " ".join(container).lower():
        return container.values()
    return [value for key, value in container.items() if key.lower() != "cdp_url"]


def _escaped(character: re.Match[str]) -> str:
    return character[0].encode("unicode_escape").decode("ascii")


def write_document(content: dict[str, Any]) -> bytes:
    """Write a document as RAPTOR's own ``SessionManager`` lays it out: indented by two, in ASCII."""
    return json.dumps(content, indent=2).encode("ascii")


def _shown(value: object) -> str:
    """Give a text that lists and reports show: of bounded length, and never an endpoint."""
    text = _text(value)
    return (mask_endpoints(text) if "/" in text else text)[:TEXT_LENGTH]


def _text(value: object) -> str:
    """Give the text without outer white space; what is no text counts as missing."""
    if not isinstance(value, str):
        return ""
    if not value.isascii():
        value = value.encode("utf-8", "replace").decode("utf-8")
    if "\0" in value:
        value = value.replace("\0", "\N{REPLACEMENT CHARACTER}")
    return value.strip()


def _instant(value: object, time_zone: tzinfo) -> datetime | None:
    """Read an ISO 8601 time as RAPTOR writes it, in UTC; None where it is none or out of range."""
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
    # Not in the first and last year, so that no time zone shifts it out of what datetime can hold.
    return instant if 1 < instant.year < 9999 else None
