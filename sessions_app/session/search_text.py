"""The searched text of a session: its name, session id, host and metadata values, without secrets.

Otherwise a user could guess hidden text letter by letter with searches.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from itertools import islice
from typing import Any, NamedTuple

from sessions_app.session.document import mask_of, read_document, text_of
from sessions_app.session.endpoint import Endpoint, cut_between_words
from sessions_app.session.json_values import named_values
from sessions_app.session.secret_names import is_endpoint_name

METADATA_LENGTH = 1_000
"""Characters of a session's metadata that are searched."""

LABELS = 20
"""Maximum number of short metadata values that are stored with their keys, for lists and policies."""
LABEL_KEY_LENGTH = 40
LABEL_LENGTH = 120
LABEL_SEPARATOR = "\x1e"
"""Separates key and value. An equals sign would double the time of masking, which checks assignments."""

# Masking text that is cut off afterwards takes half of the time for large documents.
_MASKED_LENGTH = 2 * METADATA_LENGTH
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
# Cannot occur in texts, because their control characters are escaped.
_SEPARATOR = "\n\x1f\n"
_Named = Sequence[tuple[str, str]]


class SearchText(NamedTuple):
    """The searched text of a session.

    Args:
        text: Name, session id, host and metadata values in lower case, on separate lines.
        labels: Short metadata values with their keys, one on each line; see ``labels_of``.
    """

    text: str
    labels: str

    def mentions(self, word: str) -> bool:
        """Check for a word of a search, as ``lookups.mentions`` does in the database."""
        word = word.lower()
        if word in self.text:
            return True
        key, colon, value = word.partition(":")
        return bool(colon) and f"\n{key}{LABEL_SEPARATOR}{value}" in f"\n{self.labels.lower()}"


def search_text(document: bytes, *, name: str, session_id: str, cdp_url: str) -> SearchText:
    """Return the searched text of a session.

    Args:
        session_id: As in its column, which is masked.
    """
    metadata, labels = _metadata_texts(read_document(document))
    host = str(Endpoint.parse(cdp_url))
    text = "\n".join(filter(None, (name, session_id, host, metadata)))
    return SearchText(text_of(text).lower(), labels)


def labels_of(text: str | None) -> dict[str, str]:
    """Return the labels of a session by key. If a key is repeated, as for lists, return the first value."""
    found: dict[str, str] = {}
    for line in (text or "").split("\n"):
        key, separator, value = line.partition(LABEL_SEPARATOR)
        if separator:
            found.setdefault(key, value)
    return found


def _metadata_texts(content: dict[str, Any] | None) -> tuple[str, str]:
    """Return the first metadata values of a document as a text and as labels, masked as on its page."""
    metadata = content.get("metadata") if content else None
    values = _texts(named_values(metadata)) if isinstance(metadata, dict) else []
    if content is None or not values:
        return "", ""
    # Mask both at once, because each call takes a tenth of the time.
    masked = mask_of(content)(_SEPARATOR.join((_searched_text(values), _labels(values))))
    text, _, labels = masked.partition(_SEPARATOR)
    return text_of(text[:METADATA_LENGTH]), text_of(labels)


def _texts(named: Iterable[tuple[str, Any]]) -> _Named:
    """Return the named values as texts, without the addresses of browsers."""
    return [
        (name, value if type(value) is str else str(value).lower())
        for name, value in named
        if not is_endpoint_name(name)
    ]


def _searched_text(values: _Named) -> str:
    parts, length = [], 0
    for _, text in values:
        parts.append(text[: _MASKED_LENGTH + 1])
        length += len(parts[-1]) + 1
        if length > _MASKED_LENGTH:
            break
    # Half an endpoint would not be masked.
    return _printable(cut_between_words(" ".join(parts), _MASKED_LENGTH))


def _labels(values: _Named) -> str:
    """Return the first short metadata values of a session with their keys, one on each line."""
    short = (
        f"{_printable(name)}{LABEL_SEPARATOR}{_printable(text)}"
        for name, text in values
        if 0 < len(text) <= LABEL_LENGTH and 0 < len(name) <= LABEL_KEY_LENGTH
    )
    return "\n".join(islice(short, LABELS))


def _printable(text: str) -> str:
    """Escape control characters, because a mask would end at a line break inside an address."""
    return text if text.isprintable() else _CONTROL.sub(_escaped, text)


def _escaped(character: re.Match[str]) -> str:
    return character[0].encode("unicode_escape").decode("ascii")
