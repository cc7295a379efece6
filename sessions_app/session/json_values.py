"""Reads the values of JSON that are not secret, in bounded time: documents may have millions of members."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any

from sessions_app.session.secret_names import is_credential_name, is_endpoint_name, kind_of

MEMBERS_READ = 10_000
"""Members of a value that are read; the rest is not searched."""

_COOKIE_MEMBERS = frozenset({"domain", "httpOnly", "sameSite", "expires", "url"})
_NAME = re.compile(r"-{0,2}[\w-]{1,60}")
_NAMES = ("name", "key", "header", "Name", "Key", "Header")


def named_values(value: Any) -> Iterator[tuple[str, Any]]:
    """Yield texts, numbers and booleans with their names, deeper ones last, without credentials.

    An item of a list has the name of the list. Addresses under names such as ``cdp_url`` are included, and
    what lies within ``endpoints`` and similar names has that name.
    """
    waiting = deque([("", value)])
    left = MEMBERS_READ
    while waiting and left > 0:
        name, container = waiting.popleft()
        hidden = hidden_member(container) if type(container) is dict else None
        is_endpoint = name != "" and is_endpoint_name(name)
        for key, item in islice(_members(name, container), left):
            left -= 1
            if key == hidden or kind_of(key).is_credential:
                continue
            if type(item) is dict or type(item) is list:
                if item:
                    waiting.append((name if is_endpoint else key, item))
            elif item is not None:
                yield name if is_endpoint else key, item


def endpoints_in(value: Any) -> list[str]:
    """Return the addresses of browsers in a value, such as that of ``wsEndpoint``."""
    return [text for name, text in named_values(value) if type(text) is str and is_endpoint_name(name)]


def hidden_member(members: dict[str, Any]) -> str | None:
    """Return the key of a credential: of a cookie, or as in {"name": "Cookie", "value": "a=b"}."""
    key = "value" if "value" in members else "Value"
    if key not in members:
        return None
    names = (members.get(name) for name in _NAMES)
    is_named = any(isinstance(name, str) and is_credential_name(name) for name in names)
    return key if is_named or not _COOKIE_MEMBERS.isdisjoint(members) else None


def follows_credential_name(items: list[Any], index: int) -> bool:
    """Check for the second item of ["Authorization", "Bearer …"], or for what follows "--token"."""
    before = items[index - 1] if index else None
    # An address or a sentence is not a name. Most items are sentences.
    if not isinstance(before, str) or " " in before:
        return False
    return _NAME.fullmatch(before) is not None and is_credential_name(before)


def _members(name: str, container: Any) -> Iterable[tuple[str, Any]]:
    if type(container) is dict:
        return container.items()
    if type(container) is list:
        first = range(min(len(container), MEMBERS_READ))
        return ((name, container[at]) for at in first if not follows_credential_name(container, at))
    return ((name, container),)
