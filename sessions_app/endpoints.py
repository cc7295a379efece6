"""What may be said and asked of a CDP address. The address itself is a password: see ``Endpoint``."""

from __future__ import annotations

import re
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from typing import Self
from urllib.parse import urlsplit

ENDPOINT_SCHEMES = ("http", "https", "ws", "wss")


@dataclass(frozen=True)
class Endpoint:
    """The parts of a CDP address that may be shown; the rest of it is a password."""

    scheme: str
    host: str
    port: int | None

    @classmethod
    def parse(cls, cdp_url: str) -> Self:
        """Take the address apart; what cannot be read comes back empty, never as an error."""
        try:
            parts = urlsplit(cdp_url.strip())
            return cls(parts.scheme, parts.hostname or "", parts.port)
        except ValueError:
            return cls("", "", None)

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}" if self.port is not None else host


def is_allowed_host(host: str, allowed_hosts: Iterable[str]) -> bool:
    """Tell whether a host is one of the allowed names, addresses or networks."""
    try:
        address = ip_address(host)
    except ValueError:
        return host.lower() in {allowed.lower() for allowed in allowed_hosts}
    return any(address in network for network in _networks(tuple(allowed_hosts)))


@lru_cache
def _networks(allowed_hosts: tuple[str, ...]) -> list[IPv4Network | IPv6Network]:
    """The networks among the allowed hosts: read once, for they are asked for each session of a list."""
    networks = []
    for allowed in allowed_hosts:
        with suppress(ValueError):
            networks.append(ip_network(allowed, strict=False))
    return networks


_SOCKET_ADDRESS = re.compile(r"(?i)(wss?:(?:\\?/){2})(?:[^\s/@\"'\\]*@)?([^\s/?#\"'\\]*)[^\s\"']*")
_DEVTOOLS_PATH = re.compile(r"(?i)(\\?/devtools\\?/)[^\s\"']+")


def mask_endpoints(text: str) -> str:
    """Hide in any text what would give control of a browser, and leave the host to be seen."""
    return _DEVTOOLS_PATH.sub(r"\1…", _SOCKET_ADDRESS.sub(r"\1\2/…", text))
