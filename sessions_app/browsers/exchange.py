"""Sends HTTP requests to browsers and opens web sockets to them, over connections of ``guard``.

One deadline holds for a whole exchange, however slowly its bytes arrive: status line, headers, the sizes of
chunks, trailers and any number of ``100 Continue``. Redirects are not followed.
"""

from __future__ import annotations

import hashlib
import http.client
import io
import json
import os
import socket
from base64 import b64encode
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any, NamedTuple

from sessions_app.browsers.address import Address
from sessions_app.browsers.guard import (
    AnotherServer,
    LoginRequired,
    NoAnswer,
    NotABrowser,
    NotFoundThere,
    connect,
    first_answer,
    seconds_until,
    shares,
)

MAX_ANSWER_BYTES = 256 * 1024
"""A browser describes itself in 500 bytes. The limit protects probes from servers that never stop sending."""
_LOGIN_STATUSES = (
    http.client.UNAUTHORIZED,
    http.client.FORBIDDEN,
    http.client.PROXY_AUTHENTICATION_REQUIRED,
)
_ACCEPT = {"Accept": "application/json"}
_UPGRADE = {"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13"}
_WEB_SOCKET_ID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


def ask_route(question: str, route: Address, until: float) -> Any:
    """Return the JSON that a browser serves at a path such as ``/json/version``.

    The path follows the prefix of the endpoint.

    Raises: NoAnswer: nothing listens, or the answer is not usable.
    """
    with converting_failures(route), connect(route, until) as sock:
        response = _request(_Reader(sock, until), route, route.question(question), _ACCEPT)
        _check_login(response, route)
        if response.status == http.client.NOT_FOUND:
            raise NotFoundThere(f"{route.place} does not report which browser it is")
        if response.status != http.client.OK:
            raise NotABrowser(
                f"{route.place} did not describe a browser: it answered {describe_status(response.status)}"
            )
        body = b"".join(iter(partial(response.read1, 65_536), b""))
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        raise AnotherServer(f"what listens at {route.place} is not a browser") from None


def send_message(
    address: Address, method: str, path: str, headers: Mapping[str, str], body: bytes, until: float
) -> int:
    """Send a request to a server that is not a browser, and return the status of the response.

    The request is sent once, to the first of the checked addresses that accepts a connection.

    Raises: NoAnswer: no address accepts a connection, or the answer is not usable.
    """
    failure = NoAnswer(f"{address.place} has no address")
    for ip, share in shares(address.ips, until):
        # Only the last route names the host, which servers other than browsers require.
        route = address.routes(ip)[-1]
        try:
            with converting_failures(route):
                sock = connect(route, share)
        except NoAnswer as reason:
            failure = reason
            continue
        with converting_failures(route), sock:
            sent = {"Content-Length": str(len(body)), "Connection": "close", **headers}
            reader = _Reader(sock, until)
            return _request(reader, route, path, sent, method=method, body=body).status
    raise failure


class WebSocket(NamedTuple):
    """An open web socket to a browser, and the bytes that came with its answer."""

    sock: socket.socket
    received: bytes


def open_web_socket(address: Address, until: float) -> WebSocket:
    """Open a web socket; its handshake succeeds with the status 101 only.

    Raises: NoAnswer: there is none.
    """
    return first_answer(address, _open_web_socket, until)


def _open_web_socket(route: Address, until: float) -> WebSocket:
    key = b64encode(os.urandom(16)).decode()
    with converting_failures(route), ExitStack() as on_failure:
        sock = on_failure.enter_context(connect(route, until))
        reader = _Reader(sock, until)
        upgrade = {**_UPGRADE, "Sec-WebSocket-Key": key}
        response = _request(reader, route, route.request_path(route.path), upgrade)
        _check_login(response, route)
        if response.status != http.client.SWITCHING_PROTOCOLS:
            raise NoAnswer(
                f"{route.place} did not open a web socket: it answered {describe_status(response.status)}"
            )
        if response.getheader("Sec-WebSocket-Accept") != accept_key(key):
            raise NoAnswer(f"what listens at {route.place} is not a browser")
        on_failure.pop_all()
    return WebSocket(sock, bytes(reader.raw.received).partition(b"\r\n\r\n")[2])


def accept_key(key: str) -> str:
    """Return the proof that a server has understood the key of a handshake (RFC 6455)."""
    return b64encode(hashlib.sha1(f"{key}{_WEB_SOCKET_ID}".encode(), usedforsecurity=False).digest()).decode()


@contextmanager
def converting_failures(route: Address) -> Iterator[None]:
    """Raise ``NoAnswer`` for what goes wrong on a connection."""
    try:
        yield
    except TimeoutError:
        raise NoAnswer(f"{route.place} did not answer in time", is_silent=True) from None
    except (OSError, http.client.HTTPException, ValueError, RecursionError) as error:
        raise NoAnswer(f"{route.place} gave no answer ({type(error).__name__})") from None


def _request(
    reader: _Reader,
    route: Address,
    path: str,
    headers: Mapping[str, str],
    *,
    method: str = "GET",
    body: bytes = b"",
) -> http.client.HTTPResponse:
    lines = {"Host": route.sent_host, **headers}
    if route.authorization:
        lines["Authorization"] = route.authorization
    head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
    reader.raw.send(f"{method} {path} HTTP/1.1\r\n{head}\r\n".encode("latin-1") + body)
    response = http.client.HTTPResponse(reader, method=method)  # type: ignore[arg-type]
    response.begin()
    return response


def describe_status(status: int) -> str:
    """Return a status with its standard reason: the one that was sent may be any text."""
    return f"{status} {http.client.responses.get(status, '')}".rstrip()


def _check_login(response: http.client.HTTPResponse, route: Address) -> None:
    if response.status in _LOGIN_STATUSES:
        raise LoginRequired(f"{route.place} requires a login ({response.status})")


class _Reader(io.BufferedReader):
    """A buffered connection whose reads all end at one instant. ``http.client`` takes it as a socket."""

    raw: Wire

    def __init__(self, sock: socket.socket, until: float) -> None:
        super().__init__(Wire(sock, until))

    def makefile(self, mode: str) -> _Reader:
        return self


class Wire(io.RawIOBase):
    """The bytes of an exchange, until an instant and up to a limit. It keeps what it has received."""

    def __init__(self, sock: socket.socket, until: float) -> None:
        self.until = until
        self.received = bytearray()
        self._sock = sock

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        self._sock.settimeout(seconds_until(self.until))
        count = self._sock.recv_into(buffer)
        self.received += memoryview(buffer)[:count]
        if len(self.received) > MAX_ANSWER_BYTES:
            raise http.client.HTTPException
        return count

    def send(self, data: bytes) -> None:
        self._sock.settimeout(seconds_until(self.until))
        self._sock.sendall(data)
