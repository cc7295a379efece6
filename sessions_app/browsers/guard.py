"""Decides where browsers may be, and connects: the only way out to the network.

A stored address can point anywhere. So only allowed hosts are contacted, a name is resolved once, and
connections go to the addresses that were checked and nowhere else, also for https and wss.
"""

from __future__ import annotations

import queue
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address, ip_network
from typing import TypeVar

from sessions_app.browsers.address import Address, InvalidAddress
from sessions_app.session.endpoint import is_allowed_host

TIMEOUT_SECONDS = 2.0
LOOPBACK = ("127.0.0.1", "::1")
"""Where browsers of this machine listen. Allowed for a browser that was found or started here."""

# Cloud providers serve the credentials of machines here and on link-local addresses.
_METADATA = tuple(
    map(
        ip_network,
        ("100.100.100.200", "168.63.129.16", "192.0.0.192", "fd00:ec2::/32", "fd20:ce::254", "fd00:42::42"),
    )
)
# The last 32 bits of these are an IPv4 address: compatible, mapped, translated, and NAT64.
_EMBEDDING = tuple(
    map(IPv6Network, ("::/96", "::ffff:0:0/96", "::ffff:0:0:0/96", "64:ff9b::/96", "64:ff9b:1::/48"))
)

_LOCAL_NAT64 = IPv6Network("64:ff9b:1::/48")
_NAT64_PLACES = ((6, 7, 9, 10), (7, 9, 10, 11), (9, 10, 11, 12))
_ISATAP = 0x5EFE

_T = TypeVar("_T")
Ip = IPv4Address | IPv6Address


class EndpointRefused(Exception):
    """The endpoint must not be contacted. The message gives the reason and holds no secret."""


class EndpointInvalid(EndpointRefused):
    """The endpoint is not the address of a browser."""


class NoAnswer(Exception):
    """Raised when an endpoint gave no usable answer. The message contains the reason and no secret.

    Args:
        is_silent: The time limit was reached.
    """

    weight = 1
    """Of several failures, the one with the highest weight is reported."""

    def __init__(self, message: str, *, is_silent: bool = False) -> None:
        super().__init__(message)
        self.is_silent = is_silent


class NothingListens(NoAnswer):
    """The connection was refused."""

    weight = 0


class NotABrowser(NoAnswer):
    """Something answers, but not as a browser does."""


class AnotherServer(NotABrowser):
    """A server answers the question for a browser successfully, with something else."""


class NotFoundThere(NotABrowser):
    """Something answers, but does not know the requested path."""

    weight = 2


class LoginRequired(NoAnswer):
    """Raised if the server requires a login: a token, or a user and a password, in the endpoint."""

    weight = 3


def resolve(
    cdp_url: str,
    *,
    allowed_hosts: Iterable[str],
    timeout_seconds: float = TIMEOUT_SECONDS,
    setting: str = "RAPTOR_CDP_ALLOWED_HOSTS",
) -> Address:
    """Parse an endpoint, resolve its host once, and check the result.

    Args:
        setting: Name of the setting with the allowed hosts, for the message.
    Raises: EndpointRefused: the endpoint is invalid (``EndpointInvalid``), or its host is not allowed.
    """
    try:
        address = Address.parse(cdp_url)
    except InvalidAddress as reason:
        raise EndpointInvalid(str(reason)) from None
    if not is_allowed_host(address.host, allowed_hosts):
        raise EndpointRefused(f"its host {address.host} is not an allowed host ({setting})")
    found = _addresses_of(address.host, address.port, timeout_seconds)
    ips = tuple(str(ip) for ip in found if not is_forbidden(ip))
    if not ips:
        raise EndpointRefused(f"its host {address.host} resolves to {found[0]}, where no browser listens")
    return replace(address, ips=ips)


def _addresses_of(host: str, port: int, seconds: float) -> list[Ip]:
    """Return the addresses of a host, IPv4 first: browsers listen on it by default."""
    if host == "localhost":
        # Chromium listens on IPv6 alone where the port is taken on IPv4. The hosts file may lack it.
        return [ip_address(ip) for ip in LOOPBACK]
    try:
        return [ip_address(host)]
    except ValueError:
        found = _look_up(host, port, seconds)
    return sorted({ip_address(ip.partition("%")[0]) for ip in found}, key=lambda ip: (ip.version, int(ip)))


def _look_up(host: str, port: int, seconds: float) -> list[str]:
    """Resolve a name in a separate thread, because a name server may never answer."""
    answers: queue.SimpleQueue[list[str]] = queue.SimpleQueue()

    def ask() -> None:
        try:
            entries = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except (OSError, ValueError):
            entries = []
        answers.put([str(entry[4][0]) for entry in entries])

    threading.Thread(target=ask, name="raptor-resolve", daemon=True).start()
    try:
        found = answers.get(timeout=seconds)
    except queue.Empty:
        raise EndpointRefused(f"its host {host} was not resolved within {seconds:g} s") from None
    if not found:
        raise EndpointRefused(f"its host {host} is not known to this machine")
    return found


def is_forbidden(ip: Ip) -> bool:
    """Check whether an address, in any of its spellings, must never be contacted.

    Source: RFC 4291 (mapped, compatible), RFC 6052 and 8215 (NAT64), RFC 3056 (6to4), RFC 4380 (Teredo),
        RFC 5214 (ISATAP).
    """
    if isinstance(ip, IPv6Address):
        # Networks and comparisons do not match an address that has a zone.
        ip = IPv6Address(int(ip))
    return any(
        part.is_link_local
        or part.is_multicast
        or part.is_unspecified
        or any(part in network for network in _METADATA)
        for part in (ip, *_embedded_in(ip))
    )


def _embedded_in(ip: Ip) -> Iterator[IPv4Address]:
    if isinstance(ip, IPv4Address) or ip.is_loopback:
        return
    if any(ip in network for network in _EMBEDDING):
        yield IPv4Address(int(ip) & 0xFFFF_FFFF)
    if ip in _LOCAL_NAT64:
        # Prefixes of several lengths are possible here, and each has its places for the address. Zeros at a
        # place belong to another length.
        found = (IPv4Address(bytes(ip.packed[place] for place in places)) for places in _NAT64_PLACES)
        yield from (part for part in found if not part.is_unspecified)
    if (int(ip) >> 32) & 0xFDFF_FFFF == _ISATAP:
        yield IPv4Address(int(ip) & 0xFFFF_FFFF)
    if ip.sixtofour:
        yield ip.sixtofour
    yield from ip.teredo or ()


def shares(ips: Sequence[str], until: float) -> Iterator[tuple[str, float]]:
    """Yield addresses with a monotonic deadline for each. They share the remaining time."""
    for index, ip in enumerate(ips):
        now = time.monotonic()
        yield ip, now + (until - now) / (len(ips) - index)


def first_answer(address: Address, ask: Callable[[Address, float], _T], until: float) -> _T:
    """Ask at each checked address until one gives a usable answer.

    Args:
        ask: Called with a route and the monotonic instant at which it has to be over.
    Raises: NoAnswer: no address gives one; it is the failure that says the most.
    """
    failures: list[NoAnswer] = []
    for ip, share in shares(address.ips, until):
        for route in address.routes(ip):
            try:
                return ask(route, share)
            except NoAnswer as failure:
                failures.append(failure)
                if failure.is_silent or isinstance(failure, (NothingListens, LoginRequired)):
                    break
    raise max(failures, key=lambda failure: failure.weight)


def connect(route: Address, until: float) -> socket.socket:
    """Connect to the address of a route, with TLS if its scheme is secure.

    Raises:
        NoAnswer: it does not accept the connection, or its certificate is not trusted.
        TimeoutError: it has not done so in time.
    """
    (ip,) = route.ips
    sock = socket.socket(socket.AF_INET6 if ":" in ip else socket.AF_INET, socket.SOCK_STREAM)
    try:
        sock.settimeout(seconds_until(until))
        sock.connect((ip, route.port))
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if route.is_secure:
            sock.settimeout(seconds_until(until))
            sock = _tls_context().wrap_socket(sock, server_hostname=route.host)
    except BaseException as error:
        sock.close()
        raise _connect_failure(error, route) from None
    return sock


def _connect_failure(error: BaseException, route: Address) -> BaseException:
    if isinstance(error, TimeoutError):
        return NoAnswer(f"{route.place} did not accept a connection in time", is_silent=True)
    if isinstance(error, ConnectionRefusedError):
        return NothingListens(f"nothing listens at {route.place}")
    if isinstance(error, ssl.SSLCertVerificationError):
        return NoAnswer(f"the certificate of {route.place} is not trusted: {error.verify_message}")
    if isinstance(error, ssl.SSLError):
        # Its text names a line of Python's source.
        reason = (error.reason or type(error).__name__).replace("_", " ").lower()
        return NoAnswer(f"{route.place} does not offer a secure connection ({reason})")
    if isinstance(error, OSError):
        return NoAnswer(f"{route.place} cannot be reached ({error.strerror or type(error).__name__})")
    return error


@lru_cache
def _tls_context() -> ssl.SSLContext:
    return ssl.create_default_context()


def seconds_until(until: float) -> float:
    """Return the seconds that are left until a monotonic instant.

    Raises: TimeoutError: none is left.
    """
    left = until - time.monotonic()
    if left <= 0:
        raise TimeoutError
    return left
