"""Reads the values of JSON that are not secret, in bounded time: documents may have millions of members."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from itertools import islice, repeat
from typing import Any

from sessions_app.session.secret_names import is_credential_name, is_endpoint_name

MEMBERS_READ = 10_000
"""Members of a value that are read; the rest is not searched."""

_COOKIE_MEMBERS = frozenset({"domain", "httpOnly", "sameSite", "expires"})


def named_values(value: Any) -> Iterator[tuple[str, Any]]:
    """Yield texts, numbers and booleans with their names, deeper ones last, without credentials.

    An item of a list has the name of the list. Addresses under names such as ``cdp_url`` are included.
    """
    waiting = deque([("", value)])
    left = MEMBERS_READ
    while waiting and left > 0:
        name, container = waiting.popleft()
        hidden = "value" if type(container) is dict and hides_value(container) else None
        for key, item in islice(_members(name, container), left):
            left -= 1
            if key == hidden or is_credential_name(key):
                continue
            if type(item) is dict or type(item) is list:
                if item and not is_endpoint_name(key):
                    waiting.append((key, item))
            elif item is not None:
                yield key, item


def endpoints_in(value: Any) -> list[str]:
    """Return the addresses of browsers in a value, such as that of ``wsEndpoint``."""
    return [text for name, text in named_values(value) if type(text) is str and is_endpoint_name(name)]


def hides_value(members: dict[str, Any]) -> bool:
    """Check whether ``value`` is a credential: of a cookie, or as in {"name": "Cookie", "value": "a=b"}."""
    if "value" not in members:
        return False
    names = (members.get("name"), members.get("key"))
    is_named = any(isinstance(name, str) and is_credential_name(name) for name in names)
    return is_named or not _COOKIE_MEMBERS.isdisjoint(members)


def is_credential_pair(items: list[Any]) -> bool:
    """Check for a list such as ["Authorization", "Bearer …"]."""
    return (
        len(items) == 2
        and isinstance(items[0], str)
        and isinstance(items[1], str)
        and is_credential_name(items[0])
    )


def _members(name: str, container: Any) -> Iterable[tuple[str, Any]]:
    if type(container) is dict:
        return container.items()
    if type(container) is list:
        return zip(repeat(name), container[:1] if is_credential_pair(container) else container, strict=False)
    return ((name, container),)
