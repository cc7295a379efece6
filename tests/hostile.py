"""Servers that answer as no browser does: slowly, endlessly, wrongly, or with a redirect."""

from __future__ import annotations

import hashlib
import re
import socket
import ssl
import struct
import threading
import time
from base64 import b64encode
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

PAUSE_SECONDS = 0.05
LIFETIME_SECONDS = 20.0
OK = b"HTTP/1.1 200 OK\r\n"
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"
CONTINUE = b"HTTP/1.1 100 Continue\r\n"

Answer = Callable[["Connection"], None]


@dataclass
class Connection:
    """A connection of a client whose request has been read."""

    sock: socket.socket
    request: bytes

    def send(self, data: bytes) -> None:
        self.sock.sendall(data)

    def trickle(self, data: bytes) -> None:
        """Send a byte at a time, again and again."""
        until = time.monotonic() + LIFETIME_SECONDS
        while time.monotonic() < until:
            for byte in data:
                self.send(bytes([byte]))
                time.sleep(PAUSE_SECONDS)

    def flood(self, data: bytes) -> None:
        """Send the same bytes as fast as possible, again and again."""
        until = time.monotonic() + LIFETIME_SECONDS
        while time.monotonic() < until:
            self.send(data)

    def wait(self) -> None:
        """Send nothing until the client leaves."""
        self.sock.settimeout(LIFETIME_SECONDS)
        while self.sock.recv(65_536):
            pass

    def upgrade(self, *, accept: str = "") -> None:
        """Open a web socket."""
        key = re.search(rb"(?i)sec-websocket-key: *(\S+)", self.request)
        text = (key[1] if key else b"") + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
        proof = accept or b64encode(hashlib.sha1(text).digest()).decode()
        self.send(
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            + f"Sec-WebSocket-Accept: {proof}\r\n\r\n".encode()
        )


@dataclass
class Server:
    """A server on loopback that gives one answer to each connection."""

    answer: Answer
    host: str = "127.0.0.1"
    port: int = 0
    tls: ssl.SSLContext | None = None
    requests: list[bytes] = field(default_factory=list)

    @property
    def place(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @contextmanager
    def running(self) -> Iterator[Server]:
        family = socket.AF_INET6 if ":" in self.host else socket.AF_INET
        with socket.create_server((self.host, self.port), family=family) as listener:
            self.port = listener.getsockname()[1]
            threading.Thread(target=self._accept, args=(listener,), daemon=True).start()
            yield self
            with suppress(OSError):
                listener.shutdown(socket.SHUT_RDWR)

    def _accept(self, listener: socket.socket) -> None:
        with suppress(OSError):
            while True:
                sock, _ = listener.accept()
                threading.Thread(target=self._serve, args=(sock,), daemon=True).start()

    def _serve(self, plain: socket.socket) -> None:
        with suppress(OSError), plain:
            plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            plain.settimeout(LIFETIME_SECONDS)
            sock = plain if self.tls is None else self.tls.wrap_socket(plain, server_side=True)
            with sock:
                request = b""
                while b"\r\n\r\n" not in request and (more := sock.recv(65_536)):
                    request += more
                    if request[0] == 0x16:  # the greeting of TLS
                        break
                self.requests.append(request)
                self.answer(Connection(sock, request))


def _reset(connection: Connection) -> None:
    connection.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def _after(start: bytes, then: str, data: bytes) -> Answer:
    def answer(connection: Connection) -> None:
        connection.send(start)
        getattr(connection, then)(data)

    return answer


def _then_wait(start: bytes) -> Answer:
    def answer(connection: Connection) -> None:
        connection.send(start)
        connection.wait()

    return answer


def _only(data: bytes) -> Answer:
    return lambda connection: connection.send(data)


def _reports(address: str) -> Answer:
    return _only(OK + b'\r\n{"webSocketDebuggerUrl": "%s"}' % address.encode())


HTTP: dict[str, Answer] = {
    "is silent": Connection.wait,
    "closes at once": lambda connection: None,
    "resets the connection": _reset,
    "trickles the status line": _after(b"HTTP/1.1 ", "trickle", b"2"),
    "trickles a header": _after(OK + b"X: ", "trickle", b"x"),
    "trickles headers": _after(OK, "trickle", b"X: y\r\n"),
    "floods headers": _after(OK, "flood", b"X: y\r\n"),
    "floods one header": _after(OK + b"X: ", "flood", b"x" * 1_000),
    "floods the status line": _after(b"HTTP/1.1 200 ", "flood", b"x" * 1_000),
    "floods 100 Continue": _after(b"", "flood", CONTINUE + b"\r\n"),
    "trickles 100 Continue": _after(b"", "trickle", CONTINUE + b"\r\n"),
    "floods 100 Continue with headers": _after(b"", "flood", CONTINUE + b"X: y\r\n\r\n"),
    "trickles the headers of 100 Continue": _after(CONTINUE, "trickle", b"X: y\r\n"),
    "floods 103 Early Hints": _after(b"", "flood", b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n"),
    "trickles 102 Processing": _after(b"", "trickle", b"HTTP/1.1 102 Processing\r\nX: y\r\n\r\n"),
    "trickles a body": _after(OK + b"Content-Length: 100000\r\n\r\n", "trickle", b" "),
    "trickles a body without a length": _after(OK + b"\r\n", "trickle", b" "),
    "floods a body without a length": _after(OK + b"\r\n", "flood", b" " * 10_000),
    "holds back a body": _then_wait(OK + b"Content-Length: 10\r\n\r\n{"),
    "announces a terabyte": _then_wait(OK + b"Content-Length: 1099511627776\r\n\r\n{"),
    "announces a negative length": _then_wait(OK + b"Content-Length: -1\r\n\r\n{"),
    "trickles the size of a chunk": _after(CHUNKED, "trickle", b"0"),
    "floods the size of a chunk": _after(CHUNKED, "flood", b"0" * 1_000),
    "trickles a chunk": _after(CHUNKED + b"fffff\r\n", "trickle", b" "),
    "trickles small chunks": _after(CHUNKED, "trickle", b"1\r\n \r\n"),
    "announces a terabyte in a chunk": _then_wait(CHUNKED + b"ffffffffff\r\n{"),
    "trickles an extension of a chunk": _after(CHUNKED + b"1;", "trickle", b"x"),
    "trickles a trailer": _after(CHUNKED + b"0\r\n", "trickle", b"X"),
    "floods trailers": _after(CHUNKED + b"0\r\n", "flood", b"X: y\r\n"),
    "sends no chunk": _then_wait(CHUNKED + b"not a size\r\n"),
    "speaks HTTP/0.9": _only(b"<html>hello</html>"),
    "speaks another protocol": _then_wait(b"\x16\x03\x01\x00\x05\x01\x00\x00\x01\x00"),
    "answers with an impossible status": _only(b"HTTP/1.1 99999999999999999999 OK\r\n\r\n"),
    "opens a web socket": Connection.upgrade,
    "answers in another format": _only(OK + b"\r\n{'a': 1}"),
    "nests deeply": _only(OK + b"\r\n" + b"[" * 100_000),
    "reports an unreadable address": _reports("ws://["),
    "reports a path without a slash": _reports("x:devtools/browser/x"),
    "reports a character that cannot be sent": _reports("ws://h/\\ud800"),
}


def _upgraded(start: bytes = b"", then: str = "wait", data: bytes = b"") -> Answer:
    def answer(connection: Connection) -> None:
        connection.upgrade()
        connection.send(start)
        getattr(connection, then)(*[data] if data else [])

    return answer


def _unproven(connection: Connection) -> None:
    connection.upgrade(accept="x")
    connection.wait()


WEB_SOCKET: dict[str, Answer] = {
    **{name: HTTP[name] for name in ("is silent", "trickles a header", "floods 100 Continue")},
    "is silent after the handshake": _upgraded(),
    "proves nothing": _unproven,
    "floods events": _upgraded(then="flood", data=b"\x81\x02{}"),
    "floods pings": _upgraded(then="flood", data=b"\x89\x00"),
    "floods pongs": _upgraded(then="flood", data=b"\x8a\x00"),
    "floods empty fragments": _upgraded(then="flood", data=b"\x01\x00"),
    "trickles pings": _upgraded(then="trickle", data=b"\x89\x00"),
    "trickles a frame": _upgraded(b"\x81\x7d", "trickle", b"x"),
    "announces an exabyte": _upgraded(b"\x81\x7f\x7f" + b"\xff" * 7),
    "nests deeply": _upgraded(b"\x81\x7f" + struct.pack(">Q", 100_000) + b"[" * 100_000),
    "sends no JSON": _upgraded(b"\x81\x01x"),
    "closes the web socket": _upgraded(b"\x88\x00"),
}
