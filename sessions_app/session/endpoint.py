"""Parses, checks and masks CDP addresses. An address must be protected like a password."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from typing import Self
from urllib.parse import urlsplit

from sessions_app.session.named_values import mask_named_values
from sessions_app.session.own_secrets import OwnSecrets
from sessions_app.session.secret_names import is_credential_name
from sessions_app.session.spellings import without_escapes

ENDPOINT_SCHEMES = ("http", "https", "ws", "wss")
_SHOWN_LENGTH = 255


_LOOPBACK = IPv4Network("127.0.0.0/8")


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


_PLAIN = re.compile(r"((?:ws|http)s?://)([a-zA-Z0-9.-]{1,200}(?::(?:[1-9][0-9]{0,3}|[1-5][0-9]{4}))?)/")
_UNUSUAL = re.compile(r"[^\w.:-]")


def shown_endpoint(cdp_url: str) -> str:
    """Return scheme, host and port of an endpoint; blank if it has none or is not a plain address.

    An unknown scheme is left out, because it may be the secret. So is a host with unusual characters.
    """
    # Parsing takes five times as long, and an import does this for each document.
    if plain := _PLAIN.match(cdp_url):
        return plain[1] + plain[2].lower()
    endpoint = Endpoint.parse(cdp_url)
    if ":" not in endpoint.host and _UNUSUAL.search(endpoint.host):
        return ""
    shown = f"{endpoint.scheme}://{endpoint}" if endpoint.scheme in ENDPOINT_SCHEMES else f"//{endpoint}"
    return shown if len(shown) <= _SHOWN_LENGTH and shown != "//" else ""


def is_loopback_host(host: str) -> bool:
    """Check whether a host is a loopback address or a name for one."""
    name = host.strip("[]").rstrip(".").lower()
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        address = ip_address(name.partition("%")[0])
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None)
    return address.is_loopback or address.is_unspecified or (mapped is not None and mapped in _LOOPBACK)


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
_SOCKET_ADDRESS = re.compile(rf"(?i)(wss?:{_SLASH}{{1,4}}){_USER}([^\s/?#\"'\\]*)[^\s\"']*")
_OTHER_USER = re.compile(rf"(:{_SLASH}{{2}})(?:[^\s/\"'\\]*@)")
_DEVTOOLS_PATH = re.compile(rf"(?i)({_SLASH}devtools{_SLASH})[^\s\"']+")
# Possessive, because backtracking would try a long name at each of its letters.
_QUERY = re.compile(r"([?&#;])([\w.-]++)=[^\s&#\"'\\]+")
_SECRET_IN_QUERY = re.compile(r"(?i)token|key|secret|passw|auth")
_BEARER = re.compile(r"(?i)\b(bearer\s+)[\w.~+/=-]{6,}")

_ELEMENT = re.compile(r"(<([\w:.-]++)[^<>]{0,200}>)[^<]+(?=</)")

# As in ["Authorization", "Bearer …"].
_PAIR = re.compile(r"([\[(]\s{0,4}(['\"])([\w -]++)\2\s{0,4},\s{0,4}(['\"]))(?:(?!\4)[^\\]|\\.)*+")


def _without_secret(found: re.Match[str]) -> str:
    is_secret = _SECRET_IN_QUERY.search(found[2]) or is_credential_name(found[2])
    return f"{found[1]}{found[2]}=…" if is_secret else found[0]


def _without_content(found: re.Match[str]) -> str:
    return f"{found[1]}…" if is_credential_name(found[2]) else found[0]


def _without_second(found: re.Match[str]) -> str:
    return f"{found[1]}…" if is_credential_name(found[3]) else found[0]


# Each pattern is preceded by lower-case texts of which it needs one. Searching these takes a tenth of the
# time, and an import masks a part of each document.
_MASKS: tuple[tuple[tuple[str, ...], re.Pattern[str], str | Callable[[re.Match[str]], str]], ...] = (
    (("ws:", "wss:"), _SOCKET_ADDRESS, r"\1\2/…"),
    (("@",), _OTHER_USER, r"\1…@"),
    (("devtools",), _DEVTOOLS_PATH, r"\1…"),
    (("=",), _QUERY, _without_secret),
    (("bearer",), _BEARER, r"\1…"),
    (("</",), _ELEMENT, _without_content),
    (("[", "("), _PAIR, _without_second),
)
# One of these is in every text that a pattern changes; most short texts have none.
_HINT = re.compile(r"(?i)[:=@<\[(]|--|->|bearer|devtools")
# Levels of escapes: JSON within JSON, or a URL in the query of another one.
_LEVELS = 4


class Mask:
    """Masks what gives control of a browser, and credentials, in texts about a session.

    Args:
        endpoints: The endpoints of the session; their secret parts are masked wherever they stand.
    """

    def __init__(self, *endpoints: str) -> None:
        self._own = OwnSecrets(endpoints) if any(endpoints) else None

    def __call__(self, text: str) -> str:
        masked = plain = self._mask(text)
        for _ in range(_LEVELS):
            unescaped = without_escapes(plain)
            if unescaped == plain:
                break
            plain = self._mask(unescaped)
            if plain != unescaped:
                # Escapes hid a secret, so show the text without them.
                masked = plain
        return masked

    def _mask(self, text: str) -> str:
        if self._own is not None:
            text = self._own.mask(text)
        if not _HINT.search(text):
            return text
        lower = text.lower()
        for hints, pattern, shown in _MASKS:
            if hints[0] in lower or hints[-1] in lower:
                text = pattern.sub(shown, text)
        return mask_named_values(text, mask_address) if _may_name_values(text) else text


def _may_name_values(text: str) -> bool:
    """Check whether a text may contain "name: value" or similar. Most texts have colons only in addresses."""
    return "=" in text or "--" in text or "->" in text or text.count(":") > text.count("://")


def mask_endpoints(text: str, *, cdp_url: str = "") -> str:
    """Mask endpoints and credentials in a text, but keep hosts visible; see ``Mask``."""
    return Mask(cdp_url)(text)


def mask_address(cdp_url: str) -> str:
    """Return the scheme and the host of an endpoint, or "…" if it cannot be parsed."""
    if not cdp_url.strip():
        return cdp_url
    endpoint = Endpoint.parse(cdp_url)
    return f"{endpoint.scheme}://{endpoint}/…" if endpoint.scheme and endpoint.host else "…"


def cut_between_words(text: str, length: int) -> str:
    """Return the beginning of a text, cut where no address and no word is cut in two."""
    if len(text) <= length:
        return text
    return text[: max(text.rfind(separator, 0, length) for separator in " \n\t\"'") + 1]
