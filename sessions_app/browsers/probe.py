"""Asks an endpoint whether the browser of a session still answers there.

A stored address can point anywhere, so only allowed hosts are contacted: a name is resolved once, the
connection goes to the resolved address, redirects are not followed, and an address that the browser itself
reports is checked by the same rule.
"""

from __future__ import annotations

import http.client
import json
import socket
import time
from collections.abc import Iterable
from contextlib import closing
from dataclasses import dataclass, field
from enum import StrEnum
from ipaddress import ip_address
from typing import Any
from urllib.parse import urlsplit

from sessions_app.session.endpoint import Endpoint, is_allowed_host

TIMEOUT_SECONDS = 2.0
MAX_ANSWER_BYTES = 4 * 1024 * 1024
_DEFAULT_PORTS = {"http": 80, "ws": 80, "https": 443, "wss": 443}
_BROWSER_PATH = "/devtools/browser/"


class Liveness(StrEnum):
    """State of a session's browser."""

    ALIVE = "alive"
    REPLACED = "replaced"
    UNREACHABLE = "unreachable"
    REFUSED = "refused"
    UNKNOWN = "unknown"


class EndpointRefused(Exception):
    """The endpoint must not be contacted. The message gives the reason and holds no secret."""


class NoAnswer(Exception):
    """The endpoint gave no usable answer. The message says what happened."""


class NotFoundThere(NoAnswer):
    """Something answers, but does not know the requested path."""


@dataclass(frozen=True)
class Address:
    """A resolved and allowed endpoint. Connections go here and nowhere else."""

    scheme: str
    host: str
    port: int
    path: str = field(repr=False)

    @property
    def place(self) -> str:
        """Host and port; these may be shown."""
        return str(Endpoint(self.scheme, self.host, self.port))

    @property
    def is_secure(self) -> bool:
        return self.scheme in ("https", "wss")

    @property
    def browser_id(self) -> str:
        """Id that a browser creates at each start; blank if the endpoint has none. It is a secret."""
        _, found, browser_id = self.path.rpartition(_BROWSER_PATH)
        return browser_id if found else ""

    @property
    def socket_url(self) -> str:
        """Address of the web socket."""
        return f"{'wss' if self.is_secure else 'ws'}://{self.place}{self.path}"


@dataclass(frozen=True)
class Probe:
    """Answer of an endpoint, with the address of its browser if that is alive."""

    liveness: Liveness
    reason: str = ""
    address: Address | None = None


def probe(cdp_url: str, *, allowed_hosts: Iterable[str], timeout_seconds: float = TIMEOUT_SECONDS) -> Probe:
    """Ask an endpoint whether the browser that was saved still answers there.

    Args:
        allowed_hosts: Names, addresses and networks that may be contacted.
    """
    try:
        address = resolve(cdp_url, allowed_hosts=allowed_hosts)
        answer = ask(address, "/json/version", timeout_seconds=timeout_seconds)
        url = answer.get("webSocketDebuggerUrl") if isinstance(answer, dict) else None
        now = resolve(str(url), allowed_hosts=allowed_hosts)
    except EndpointRefused as reason:
        return Probe(Liveness.REFUSED, str(reason))
    except NotFoundThere as reason:
        # A browser with debugging enabled by chrome://inspect answers 404: it may be alive.
        return Probe(Liveness.UNKNOWN, str(reason), address)
    except NoAnswer as reason:
        return Probe(Liveness.UNREACHABLE, str(reason))
    if address.browser_id and address.browser_id != now.browser_id:
        return Probe(Liveness.REPLACED, f"another browser listens at {address.place} now", now)
    # Keep the saved address: behind a proxy the browser does not know its own.
    path = address.path if address.browser_id else now.path
    return Probe(Liveness.ALIVE, "", Address(address.scheme, address.host, address.port, path))


def resolve(cdp_url: str, *, allowed_hosts: Iterable[str]) -> Address:
    """Parse an endpoint, resolve its host once, and check the result.

    Raises: EndpointRefused: it is not the address of a browser, or not an allowed one.
    """
    endpoint = Endpoint.parse(cdp_url)
    if endpoint.scheme not in _DEFAULT_PORTS or not endpoint.host:
        raise EndpointRefused("its endpoint is not an http or ws address")
    port = endpoint.port or _DEFAULT_PORTS[endpoint.scheme]
    if not is_allowed_host(endpoint.host, allowed_hosts):
        raise EndpointRefused(f"its host {endpoint.host} is not an allowed host (RAPTOR_CDP_ALLOWED_HOSTS)")
    host = _address_of(endpoint.host, port)
    parts = urlsplit(cdp_url.strip())
    path = f"{parts.path}?{parts.query}" if parts.query else parts.path
    # The certificate of a secure endpoint names its host.
    is_secure = endpoint.scheme in ("https", "wss")
    return Address(endpoint.scheme, endpoint.host if is_secure else host, port, path)


def _address_of(host: str, port: int) -> str:
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        raise EndpointRefused(f"its host {host} is not known to this machine") from None
    # Browsers listen on IPv4 by default.
    addresses = sorted((str(entry[4][0]) for entry in found), key=lambda address: ":" in address)
    address = ip_address(addresses[0].partition("%")[0])
    # Cloud providers serve credentials of machines on link-local addresses.
    if address.is_link_local or address.is_multicast or address.is_unspecified:
        raise EndpointRefused(f"its host {host} resolves to {address}, where no browser listens")
    return str(address)


def ask(address: Address, question: str, *, timeout_seconds: float = TIMEOUT_SECONDS) -> Any:
    """Return the JSON that a browser serves at a path such as ``/json/version``.

    Raises: NoAnswer: nothing listens, or the answer is not usable.
    """
    until = time.monotonic() + timeout_seconds
    connect = http.client.HTTPSConnection if address.is_secure else http.client.HTTPConnection
    with closing(connect(address.host, address.port, timeout=timeout_seconds)) as http_connection:
        try:
            http_connection.request("GET", question, headers={"Accept": "application/json"})
            response = http_connection.getresponse()
            body = _read_in_time(response, until)
        except TimeoutError:
            raise NoAnswer(f"{address.place} did not answer within {timeout_seconds:g} s") from None
        except ConnectionRefusedError:
            raise NoAnswer(f"nothing listens at {address.place}") from None
        except (OSError, http.client.HTTPException) as error:
            raise NoAnswer(f"{address.place} gave no answer ({type(error).__name__})") from None
    if response.status == http.client.NOT_FOUND:
        raise NotFoundThere(f"{address.place} does not report which browser it is")
    try:
        if response.status != http.client.OK:
            raise ValueError
        return json.loads(body)
    except (ValueError, RecursionError):
        raise NoAnswer(f"what listens at {address.place} is not a browser") from None


def has_target(address: Address, target_id: object) -> bool:
    """Check whether a browser has a page. Page ids are unique, so this identifies the browser."""
    try:
        targets = ask(address, "/json/list")
    except NoAnswer:
        return False
    return any(isinstance(target, dict) and target.get("id") == target_id for target in targets)


def _read_in_time(response: http.client.HTTPResponse, until: float) -> bytes:
    """Read a whole answer within the deadline and the size limit."""
    body = b""
    while more := response.read1(65_536):
        body += more
        if len(body) > MAX_ANSWER_BYTES:
            raise http.client.HTTPException
        if time.monotonic() > until:
            raise TimeoutError
    return body
