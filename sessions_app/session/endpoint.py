"""Parses, checks and masks CDP addresses. An address must be protected like a password."""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from typing import Self
from urllib.parse import unquote, urlsplit

ENDPOINT_SCHEMES = ("http", "https", "ws", "wss")


@dataclass(frozen=True)
class Endpoint:
    """The parts of a CDP address that may be shown. The rest must be protected like a password."""

    scheme: str
    host: str
    port: int | None

    @classmethod
    def parse(cls, cdp_url: str) -> Self:
        """Parse an address; the parts of an invalid address are empty."""
        try:
            parts = urlsplit(cdp_url.strip())
            return cls(parts.scheme, parts.hostname or "", parts.port)
        except ValueError:
            return cls("", "", None)

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}" if self.port is not None else host


def is_allowed_host(host: str, allowed_hosts: Iterable[str]) -> bool:
    """Check whether a host is one of the allowed names, addresses or networks."""
    try:
        address = ip_address(host)
    except ValueError:
        return host.lower() in {allowed.lower() for allowed in allowed_hosts}
    return any(address in network for network in _networks(tuple(allowed_hosts)))


@lru_cache
def _networks(allowed_hosts: tuple[str, ...]) -> list[IPv4Network | IPv6Network]:
    """Return the networks among the allowed hosts; cached, because lists check each session."""
    networks = []
    for allowed in allowed_hosts:
        with suppress(ValueError):
            networks.append(ip_network(allowed, strict=False))
    return networks


# A slash with any escaping of nested strings. The limit keeps long rows of backslashes from being slow.
_SLASH = r"(?:\\{0,7}/|\\{1,7}u002[fF])"
_USER = r"(?:[^\s/\"'\\]*@)?"
_SOCKET_ADDRESS = re.compile(rf"(?i)(wss?:{_SLASH}{{2}}){_USER}([^\s/?#\"'\\]*)[^\s\"']*")
_OTHER_USER = re.compile(rf"(?i)(https?:{_SLASH}{{2}})(?:[^\s/\"'\\]*@)")
_DEVTOOLS_PATH = re.compile(rf"(?i)({_SLASH}devtools{_SLASH})[^\s\"']+")
# Separators of the parts of an address, in addition to the slash.
_SEPARATORS = "?=&#"
# Possessive, because backtracking would try a long name at each of its letters.
_VALUE = re.compile(r"([?&])([\w-]++)=[^\s&#\"'\\]+")
_SECRET_NAME = re.compile(r"(?i)token|key|secret|passw|auth")


def _without_secret(found: re.Match[str]) -> str:
    return f"{found[1]}{found[2]}=…" if _SECRET_NAME.search(found[2]) else found[0]


# Each pattern is preceded by lower-case texts of which it needs one. Searching these takes a tenth of the
# time, and an import masks a part of each document.
_MASKS: tuple[tuple[tuple[str, ...], re.Pattern[str], str | Callable[[re.Match[str]], str]], ...] = (
    (("ws:", "wss:"), _SOCKET_ADDRESS, r"\1\2/…"),
    (("@",), _OTHER_USER, r"\1…@"),
    (("devtools",), _DEVTOOLS_PATH, r"\1…"),
    (("?", "&"), _VALUE, _without_secret),
)
# Shorter than the secret of any browser. Shorter parts would match in unrelated text.
_SHORTEST_SECRET = 12
_SHORTEST_LOGIN = 4


def mask_endpoints(text: str, *, cdp_url: str = "") -> str:
    """Mask the parts of a text that give control of a browser, but keep the hosts visible.

    Args:
        cdp_url: The endpoint of the session that the text describes; its secret parts are masked everywhere.
    """
    for part in _secrets_in(cdp_url.strip()):
        if len(part) >= _SHORTEST_SECRET:
            text = text.replace(part, "…")
    for secret in _logins_in(cdp_url.strip()):
        text = text.replace(secret, "…")
    lower = text.lower()
    for hints, pattern, shown in _MASKS:
        if hints[0] in lower or hints[-1] in lower:
            text = pattern.sub(shown, text)
    return text


def _secrets_in(cdp_url: str) -> list[str]:
    """Return an address and its parts after the scheme and the host."""
    parts = cdp_url
    for separator in _SEPARATORS:
        if separator in parts:
            parts = parts.replace(separator, "/")
    # "ws:", "", "host" come first.
    return [cdp_url, *parts.split("/")[3:]]


def _logins_in(cdp_url: str) -> list[str]:
    """Return what an address proves its right with, as written and as decoded, the longest first.

    A user's password and a token may be short, so only these parts are masked below the usual length.
    """
    if "@" not in cdp_url and "?" not in cdp_url:
        return []
    try:
        parts = urlsplit(cdp_url)
    except ValueError:
        return []
    user = parts.netloc.rpartition("@")[0]
    found = {user, user.partition(":")[2]}
    for member in parts.query.split("&"):
        name, _, value = member.partition("=")
        if _SECRET_NAME.search(name):
            found.add(value)
    found |= {unquote(part) for part in found}
    if user:
        found.add(b64encode(unquote(user).encode()).decode())
    return sorted((part for part in found if len(part) >= _SHORTEST_LOGIN), key=len, reverse=True)
