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
    """State of a session's browser. ``NOT_ALLOWED``: its host is not allowed, so it was not contacted."""

    ALIVE = "alive"
    REPLACED = "replaced"
    UNREACHABLE = "unreachable"
    NOT_ALLOWED = "not_allowed"
    UNKNOWN = "unknown"


class Unclear(StrEnum):
    """Why an endpoint gave no clear answer (``UNKNOWN``)."""

    LOGIN_REQUIRED = "login_required"
    INVALID_ENDPOINT = "invalid_endpoint"
    NO_WEB_SOCKET = "no_web_socket"
    NOT_DESCRIBED = "not_described"


@dataclass(frozen=True)
class Probe:
    """The result of a probe.

    Args:
        code: Why the state is unknown.
        address: Where to connect to the browser; None unless the saved browser answered.
        may_be_running: False only if the browser has certainly ended.
        is_silent: Whether a server accepts connections but did not answer in time.
    """

    liveness: Liveness
    reason: str = ""
    code: Unclear | None = None
    address: Address | None = None
    may_be_running: bool = False
    is_silent: bool = False


class _Replaced(NoAnswer):
    weight = 4


class _NamesNoSocket(NoAnswer):
    pass


def probe(cdp_url: str, *, allowed_hosts: Iterable[str], timeout_seconds: float = TIMEOUT_SECONDS) -> Probe:
    """Probe whether the browser that was saved still answers at its endpoint.

    Args:
        allowed_hosts: Names, addresses and networks that may be contacted.
    """
    until = time.monotonic() + timeout_seconds
    try:
        address = resolve(cdp_url, allowed_hosts=allowed_hosts, timeout_seconds=timeout_seconds)
    except EndpointRefused as reason:
        if isinstance(reason, EndpointInvalid):
            return Probe(Liveness.UNKNOWN, str(reason), Unclear.INVALID_ENDPOINT)
        return Probe(Liveness.NOT_ALLOWED, str(reason), may_be_running=True)
    try:
        found = first_answer(address, _identify, until)
    except NoAnswer as failure:
        return _without_browser(failure, address)
    return Probe(Liveness.ALIVE, address=found, may_be_running=True)


def _without_browser(failure: NoAnswer, address: Address) -> Probe:
    """Return what an endpoint's failure to describe its browser means."""
    if isinstance(failure, _Replaced):
        return Probe(Liveness.REPLACED, str(failure))
    if isinstance(failure, _NamesNoSocket):
        return Probe(Liveness.UNKNOWN, str(failure), Unclear.NO_WEB_SOCKET, may_be_running=True)
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
        is_login = isinstance(failure, LoginRequired)
        code = Unclear.LOGIN_REQUIRED if is_login else Unclear.NOT_DESCRIBED
        return Probe(
            Liveness.UNKNOWN, str(failure), code, address if is_socket else None, may_be_running=True
        )
    return Probe(
        Liveness.UNREACHABLE, str(failure), may_be_running=may_be_running, is_silent=failure.is_silent
    )


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
