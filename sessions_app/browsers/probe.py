"""Asks an endpoint whether the browser of a session still answers there."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass, replace
from enum import StrEnum
from ipaddress import ip_address

from sessions_app.browsers.address import Address
from sessions_app.browsers.exchange import ask_route
from sessions_app.browsers.guard import (
    TIMEOUT_SECONDS,
    AnotherServer,
    EndpointInvalid,
    EndpointRefused,
    LoginRequired,
    NoAnswer,
    NotABrowser,
    NotFoundThere,
    NothingListens,
    first_answer,
    resolve,
)


class Liveness(StrEnum):
    """State of a session's browser."""

    ALIVE = "alive"
    REPLACED = "replaced"
    UNREACHABLE = "unreachable"
    REFUSED = "refused"
    UNKNOWN = "unknown"


@dataclass(frozen=True)
class Probe:
    """Answer of an endpoint.

    Args:
        address: Where its browser can be connected to; None if there is no browser, or another one.
        may_be_running: True unless it is certain that the browser has ended.
    """

    liveness: Liveness
    reason: str = ""
    address: Address | None = None
    may_be_running: bool = False


class _Replaced(NoAnswer):
    weight = 4


class _NamesNoSocket(NoAnswer):
    pass


def probe(cdp_url: str, *, allowed_hosts: Iterable[str], timeout_seconds: float = TIMEOUT_SECONDS) -> Probe:
    """Ask an endpoint whether the browser that was saved still answers there.

    Args:
        allowed_hosts: Names, addresses and networks that may be contacted.
    """
    until = time.monotonic() + timeout_seconds
    try:
        address = resolve(cdp_url, allowed_hosts=allowed_hosts, timeout_seconds=timeout_seconds)
    except EndpointRefused as reason:
        is_address = not isinstance(reason, EndpointInvalid)
        return Probe(Liveness.REFUSED, str(reason), may_be_running=is_address)
    try:
        found = first_answer(address, _identify, until)
    except NoAnswer as failure:
        return _without_browser(failure, address)
    return Probe(Liveness.ALIVE, "", found, may_be_running=True)


def _without_browser(failure: NoAnswer, address: Address) -> Probe:
    """Return what an endpoint's failure to describe its browser means."""
    if isinstance(failure, _Replaced):
        return Probe(Liveness.REPLACED, str(failure))
    if isinstance(failure, _NamesNoSocket):
        return Probe(Liveness.REFUSED, str(failure), may_be_running=True)
    may_be_running = not isinstance(failure, NothingListens) and not (
        # A program of this machine has the port of the browser now. Elsewhere it may be a gateway.
        isinstance(failure, AnotherServer) and all(ip_address(ip).is_loopback for ip in address.ips)
    )
    # Only the address of a web socket may be connected to without a description: it leads to one browser.
    is_socket = address.scheme in ("ws", "wss")
    # A browser with debugging enabled by chrome://inspect answers 404, and some gateways serve nothing but
    # the web socket. So a browser may be alive.
    if isinstance(failure, (LoginRequired, NotFoundThere)) or (
        isinstance(failure, NotABrowser) and is_socket and not address.browser_id
    ):
        return Probe(Liveness.UNKNOWN, str(failure), address if is_socket else None, may_be_running=True)
    return Probe(Liveness.UNREACHABLE, str(failure), may_be_running=may_be_running)


def _identify(route: Address, until: float) -> Address:
    """Return the address of the browser that answers on a route."""
    answer = ask_route("/json/version", route, until)
    reported = answer.get("webSocketDebuggerUrl") if isinstance(answer, dict) else None
    if not isinstance(reported, str):
        raise _NamesNoSocket(f"what listens at {route.place} reports no web socket")
    try:
        found = route.at_browser(reported)
    except ValueError:
        raise _NamesNoSocket(f"what listens at {route.place} reports no address of a web socket") from None
    if not route.browser_id:
        return found
    if found.browser_id and found.browser_id != route.browser_id:
        raise _Replaced(f"another browser listens at {route.place} now")
    # Keep the saved path: a gateway may change the path that a browser reports.
    return replace(found, path=route.path)
