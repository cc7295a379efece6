"""Connects Playwright to a browser through a socket on loopback.

Playwright itself resolves names, follows redirects and uses proxies of the environment. So it connects to
this relay, which connects to the address that was checked.
"""

from __future__ import annotations

import math
import re
import secrets
import selectors
import socket
import ssl
import threading
import time
from contextlib import ExitStack, suppress
from dataclasses import dataclass

from sessions_app.browsers.address import Address
from sessions_app.browsers.exchange import WebSocket, accept_key, open_web_socket
from sessions_app.browsers.guard import NoAnswer, seconds_until

LISTEN_SECONDS = 30.0
DIAL_SECONDS = 4.0
FLUSH_SECONDS = 1.0
MAX_HEAD_BYTES = 16_384
CHUNK_BYTES = 262_144
BUFFERED_BYTES = 1_048_576
_WOULD_BLOCK = (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError)
_END_OF_HEAD = b"\r\n\r\n"


class Relay:
    """Connects to a browser, listens for one client, and ends with either of them.

    Only one client that requests the random path of ``url`` is served; then the relay stops listening.

    Attributes:
        failure: Why the browser was not connected to; blank if it was. Nothing listens then.
        dialed: Set when the connection to the browser has been opened or has failed.
    """

    def __init__(self, address: Address) -> None:
        self.failure = ""
        self.dialed = threading.Event()
        self._address = address
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._open: list[socket.socket] = [self._listener]
        path = f"/{secrets.token_urlsafe(24)}"
        self._request = f"GET {path} HTTP/1.1\r\n".encode()
        self.url = f"ws://127.0.0.1:{self._listener.getsockname()[1]}{path}"
        threading.Thread(target=self._run, name="raptor-relay", daemon=True).start()

    def close(self) -> None:
        """End the relay and its connections."""
        for sock in self._open:
            with suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)

    def _run(self) -> None:
        with suppress(OSError), ExitStack() as stack:
            stack.enter_context(self._listener)
            try:
                # Before the client comes: it takes some time to connect, too.
                browser = open_web_socket(self._address, time.monotonic() + DIAL_SECONDS)
            except NoAnswer as failure:
                self.failure = str(failure)
                return
            finally:
                self.dialed.set()
            self._open.append(stack.enter_context(browser.sock))
            client, head = self._accept(time.monotonic() + LISTEN_SECONDS)
            self._open.append(stack.enter_context(client))
            _copy(client, browser, _answer(head))

    def _accept(self, until: float) -> tuple[socket.socket, bytes]:
        """Return the connection of the client and the head of its request; close all others."""
        with self._listener, selectors.DefaultSelector() as selector, ExitStack() as others:
            selector.register(self._listener, selectors.EVENT_READ)
            while True:
                for key, _ in selector.select(seconds_until(until)):
                    if key.fileobj is self._listener:
                        sock = others.enter_context(self._listener.accept()[0])
                        sock.setblocking(False)
                        selector.register(sock, selectors.EVENT_READ, (sock, bytearray()))
                        continue
                    sock, head = key.data
                    if not self._may_continue(sock, head):
                        selector.unregister(sock)
                        sock.close()
                    elif head.endswith(_END_OF_HEAD):
                        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                        return sock.dup(), bytes(head)

    def _may_continue(self, sock: socket.socket, head: bytearray) -> bool:
        """Receive more of a request; return False if it is not the request of the client."""
        with suppress(OSError):
            if more := sock.recv(MAX_HEAD_BYTES):
                head += more
                is_expected = secrets.compare_digest(head[: len(self._request)], self._request[: len(head)])
                return is_expected and len(head) <= MAX_HEAD_BYTES
        return False


def _answer(head: bytes) -> bytes:
    """Return the answer to a client's handshake: without extensions, which were not agreed on before."""
    key = re.search(rb"(?i)\r\nsec-websocket-key:\s*(\S+)", head)
    accept = accept_key(key[1].decode("latin-1") if key else "")
    lines = ("HTTP/1.1 101 Switching Protocols", "Upgrade: websocket", "Connection: Upgrade")
    return "\r\n".join((*lines, f"Sec-WebSocket-Accept: {accept}", "", "")).encode()


@dataclass
class _Way:
    """One direction: bytes that the source has sent and the target has not taken yet.

    Args:
        limit: While it holds more bytes, the source is not read.
    """

    source: socket.socket
    target: socket.socket
    buffer: bytearray
    limit: float

    @property
    def is_full(self) -> bool:
        return len(self.buffer) >= self.limit

    def move(self) -> bool:
        """Move bytes as far as possible; return False if the source has closed."""
        while True:
            received = sent = 0
            if not self.is_full:
                with suppress(*_WOULD_BLOCK):
                    data = self.source.recv(CHUNK_BYTES)
                    if not data:
                        return False
                    self.buffer += data
                    received = len(data)
            if self.buffer:
                with suppress(*_WOULD_BLOCK):
                    sent = self.target.send(self.buffer)
                    del self.buffer[:sent]
            if not received and not sent:
                return True

    def flush(self) -> None:
        """Send what is left, to a target that may have stalled."""
        self.target.settimeout(FLUSH_SECONDS)
        self.target.sendall(self.buffer)


def _copy(client: socket.socket, browser: WebSocket, answer: bytes) -> None:
    """Copy bytes both ways until either end closes."""
    to_client = _Way(browser.sock, client, bytearray(answer + browser.received), BUFFERED_BYTES)
    # The client is always read: otherwise its end would be noticed only when a stalled browser continues.
    to_browser = _Way(client, browser.sock, bytearray(), math.inf)
    masks: dict[socket.socket, int] = {}
    with selectors.DefaultSelector() as selector:
        for sock in (client, browser.sock):
            sock.setblocking(False)
            masks[sock] = selectors.EVENT_READ
            selector.register(sock, selectors.EVENT_READ)
        while True:
            for way in (to_client, to_browser):
                if not way.move():
                    way.flush()
                    return
            for outgoing, incoming in ((to_client, to_browser), (to_browser, to_client)):
                mask = 0 if outgoing.is_full else selectors.EVENT_READ
                if incoming.buffer:
                    mask |= selectors.EVENT_WRITE
                # Few messages fill a buffer, and each change is a call of the system.
                if mask != masks[outgoing.source]:
                    masks[outgoing.source] = mask
                    selector.modify(outgoing.source, mask)
            selector.select()
