"""Finds the secret parts of known endpoints in other texts, wherever they stand and in any case."""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Iterable
from itertools import chain
from urllib.parse import unquote

from sessions_app.session.secret_names import is_credential_name

SHORTEST_PART = 12
"""Shorter than the secret of any browser. Shorter parts would match in unrelated text."""

SHORTEST_CREDENTIAL = 4
"""Shortest password or token in an endpoint that is masked elsewhere."""

SEARCHED_LENGTH = 20_000
"""Characters of endpoints in which parts are searched; far more than a usable endpoint has."""

_FEW = 8
_UPPER = re.compile("[A-Z]+")
_SEPARATOR = re.compile(r"[/?&#=\s\"'\\]+")
_QUERY = re.compile(r"[?&#]([^=?&#\s]+)=([^?&#\s]+)")


class OwnSecrets:
    """The parts of endpoints after their schemes and hosts, by their first characters.

    A part that is found ends at the next separator, so that the time does not depend on the number of parts.
    """

    def __init__(self, endpoints: Iterable[str]) -> None:
        parts: set[str] = set()
        credentials: set[str] = set()
        left = SEARCHED_LENGTH
        for endpoint in dict.fromkeys(endpoints):
            if not left:
                break
            address = endpoint[:left].strip()
            left -= len(address)
            host, *path = _SEPARATOR.split(address.partition("://")[2] or address)
            parts.update(_with_unquoted(path if "/" in address else [host, *path]))
            if "@" in address or "=" in address:
                credentials.update(_with_unquoted(_credentials_in(address)))
        self._beginnings = [
            (length, beginnings)
            for length, found in ((SHORTEST_PART, parts), (SHORTEST_CREDENTIAL, credentials))
            if (beginnings := _cut(found, length))
        ]

    def mask(self, text: str) -> str:
        """Replace each part by "…"."""
        for length, beginnings in self._beginnings:
            if len(text) >= length:
                text = _mask(text, length, beginnings)
        return text


def _mask(text: str, length: int, beginnings: frozenset[str]) -> str:
    lower = _lower(text)
    if len(beginnings) <= _FEW and not any(beginning in lower for beginning in beginnings):
        # Most texts, in a tenth of the time.
        return text
    kept: list[str] = []
    done = start = 0
    last = len(text) - length
    while start <= last:
        if lower[start : start + length] not in beginnings:
            start += 1
            continue
        end = _SEPARATOR.search(text, start + length)
        kept += [text[done:start], "…"]
        done = start = end.start() if end else len(text)
    return "".join(kept) + text[done:] if kept else text


def _credentials_in(address: str) -> list[str]:
    """Return the passwords and tokens in an address; a long user name is a token too."""
    user, at, _ = _SEPARATOR.split(address.partition("://")[2], maxsplit=1)[0].rpartition("@")
    name, *passwords = user.split(":")
    found = [*passwords, b64encode(unquote(user).encode()).decode()] if at else []
    if len(name) >= SHORTEST_PART:
        found.append(name)
    return [*found, *(value for name, value in _QUERY.findall(address) if is_credential_name(name))]


def _with_unquoted(parts: Iterable[str]) -> list[str]:
    listed = list(parts)
    if not any("%" in part for part in listed):
        return listed
    unquoted = (_SEPARATOR.split(unquote(part)) for part in listed if "%" in part)
    return [*listed, *chain.from_iterable(unquoted)]


def _cut(parts: Iterable[str], length: int) -> frozenset[str]:
    return frozenset([_lower(part[:length]) for part in parts if len(part) >= length])


def _lower(text: str) -> str:
    """Return ASCII letters in lower case; other letters could change the length of the text."""
    return text.lower() if text.isascii() else _UPPER.sub(lambda found: found[0].lower(), text)
