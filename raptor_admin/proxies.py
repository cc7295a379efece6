"""Reads headers of trusted proxies: the address of the client, and whether the client uses HTTPS."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable
from contextlib import suppress
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

from django.conf import settings
from django.http import HttpRequest, HttpResponse

from raptor_admin.paths import PROBES

logger = logging.getLogger(__name__)

_FORWARDED = (
    "HTTP_X_FORWARDED_FOR",
    "HTTP_X_FORWARDED_PROTO",
    "HTTP_X_FORWARDED_HOST",
    "HTTP_X_FORWARDED_PORT",
)
_WITH_PORT = re.compile(r"\[([^\]]*)\](?::[0-9]*)?|([0-9.]+):[0-9]*")


def is_trusted_proxy(address: str) -> bool:
    """Check whether an address belongs to a proxy in RAPTOR_TRUSTED_PROXIES."""
    try:
        found = _read_address(address)
    except ValueError:
        return False
    spellings = (found, ip_address(f"::ffff:{found}")) if found.version == 4 else (found,)
    networks = [ip_network(proxy) for proxy in settings.RAPTOR_TRUSTED_PROXIES]
    return any(spelling in network for spelling in spellings for network in networks)


def client_address(request: HttpRequest) -> str:
    """Return the address of the client; that of the connection, unless it is a trusted proxy.

    Proxies append the address of their client to ``X-Forwarded-For``. The last address that is not a trusted
    proxy is the client: what stands before it was sent by the client.
    """
    address = str(request.META.get("REMOTE_ADDR", ""))
    with suppress(ValueError):
        address = str(_read_address(address))
    if not is_trusted_proxy(address):
        return address
    for forwarded in reversed(request.META.get("HTTP_X_FORWARDED_FOR", "").split(",")):
        try:
            address = str(_read_address(forwarded.strip()))
        except ValueError:
            break
        if not is_trusted_proxy(address):
            break
    return address


def _read_address(text: str) -> IPv4Address | IPv6Address:
    """Read an address, also one with a port; a socket for both versions shows IPv4 as ``::ffff:192.0.2.7``.

    Raises: ValueError: it is not an address.
    """
    with_port = _WITH_PORT.fullmatch(text)
    address = ip_address((with_port[1] or with_port[2]) if with_port else text)
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return mapped or address


class ProxyMiddleware:
    """Ignores forwarded headers that no trusted proxy sent, once RAPTOR_TRUSTED_PROXIES names any.

    It warns once if the headers of a proxy and RAPTOR_HTTPS disagree.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response
        self.has_warned = False

    def __call__(self, request: HttpRequest) -> HttpResponse:
        """Remove the headers of others."""
        if settings.RAPTOR_TRUSTED_PROXIES and not is_trusted_proxy(request.META.get("REMOTE_ADDR", "")):
            for name in _FORWARDED:
                request.META.pop(name, None)
        is_probe = request.path_info.removeprefix("/") in PROBES
        if not self.has_warned and not is_probe and (warning := _disagreement(request)):
            self.has_warned = True
            logger.warning("%s (request from %s)", warning, client_address(request))
        return self.get_response(request)


def _disagreement(request: HttpRequest) -> str:
    protocol = request.META.get("HTTP_X_FORWARDED_PROTO")
    if settings.SECURE_SSL_REDIRECT and protocol is None:
        return (
            "RAPTOR_HTTPS is on, but a request has no X-Forwarded-Proto header, so it is redirected. "
            "Let the proxy set the header. If RAPTOR_TRUSTED_PROXIES is set, it must name the proxy."
        )
    if protocol == "https" and not settings.SECURE_SSL_REDIRECT:
        return (
            "A proxy speaks HTTPS, but RAPTOR_HTTPS is off, so browsers may send cookies over plain HTTP, "
            "and logins may be refused. Set RAPTOR_HTTPS=on."
        )
    return ""
