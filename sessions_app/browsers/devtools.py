"""Speaks to a browser over its own web socket, whatever state its tabs are in."""

from __future__ import annotations

import json
import os
import struct
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sessions_app.browsers.address import Address
from sessions_app.browsers.exchange import WebSocket, converting_failures, open_web_socket
from sessions_app.browsers.guard import TIMEOUT_SECONDS, NoAnswer, seconds_until

MAX_MESSAGE_BYTES = 16 * 1024 * 1024
_TEXT, _CLOSE, _PING, _PONG = 0x1, 0x8, 0x9, 0xA
_IS_LAST = 0x80


class DevTools:
    """A connection that sends commands to a browser and receives its messages.

    Args:
        address: Address of the browser, whose host and port are in the messages of failures.
    """

    def __init__(self, web_socket: WebSocket, address: Address) -> None:
        self._sock, data = web_socket
        self._received = bytearray(data)
        self._address = address
        self._number = 0

    def call(self, method: str, *, seconds: float = TIMEOUT_SECONDS, **parameters: Any) -> dict[str, Any]:
        """Send a command and return its result.

        Raises: NoAnswer: the browser does not answer in time, or reports an error.
        """
        until = time.monotonic() + seconds
        number = self.send(method, **parameters)
        while (message := self.receive(until)).get("id") != number:
            pass
        result = message.get("result")
        if not isinstance(result, dict):
            raise NoAnswer(f"the browser at {self._address.place} refused {method}")
        return result

    def send(self, method: str, *, session: str = "", **parameters: Any) -> int:
        """Send a command without waiting; return the number that its answer has.

        Args:
            session: Session of an attached target; blank for the browser itself.
        """
        self._number += 1
        message = {"id": self._number, "method": method, "params": parameters}
        if session:
            message["sessionId"] = session
        with converting_failures(self._address):
            self._write(_TEXT, json.dumps(message).encode(), time.monotonic() + TIMEOUT_SECONDS)
        return self._number

    def receive(self, until: float) -> dict[str, Any]:
        """Return the next message.

        Raises: NoAnswer: there is none until a monotonic instant, or it cannot be read.
        """
        with converting_failures(self._address):
            message = json.loads(self._read_message(until))
        if not isinstance(message, dict):
            raise NoAnswer(f"what listens at {self._address.place} is not a browser")
        return message

    def _write(self, kind: int, data: bytes, until: float) -> None:
        size = len(data)
        if size < 126:
            head = struct.pack(">BB", _IS_LAST | kind, 0x80 | size)
        elif size < 65_536:
            head = struct.pack(">BBH", _IS_LAST | kind, 0x80 | 126, size)
        else:
            head = struct.pack(">BBQ", _IS_LAST | kind, 0x80 | 127, size)
        # Clients must mask what they send. XOR of long integers is fast.
        mask = os.urandom(4)
        key = int.from_bytes((mask * (size // 4 + 1))[:size], "big")
        masked = (int.from_bytes(data, "big") ^ key).to_bytes(size, "big")
        self._sock.settimeout(seconds_until(until))
        self._sock.sendall(head + mask + masked)

    def _read_message(self, until: float) -> bytes:
        """Return a whole text message; answer the pings before it."""
        message = bytearray()
        while True:
            first, size = self._read(2, until)
            size &= 0x7F
            if size >= 126:
                size = int.from_bytes(self._read(2 if size == 126 else 8, until), "big")
            if size + len(message) > MAX_MESSAGE_BYTES:
                raise ValueError
            data = self._read(size, until)
            kind = first & 0x0F
            if kind == _CLOSE:
                raise ConnectionAbortedError
            if kind == _PING:
                self._write(_PONG, data, until)
            elif kind != _PONG:
                message += data
                if first & _IS_LAST:
                    return bytes(message)

    def _read(self, size: int, until: float) -> bytes:
        left = seconds_until(until)
        while len(self._received) < size:
            self._sock.settimeout(left)
            more = self._sock.recv(262_144)
            if not more:
                raise ConnectionAbortedError
            self._received += more
            left = seconds_until(until)
        data = bytes(self._received[:size])
        del self._received[:size]
        return data


@contextmanager
def devtools(address: Address, *, seconds: float = TIMEOUT_SECONDS) -> Iterator[DevTools]:
    """Connect to a browser.

    Raises: NoAnswer: it does not open a web socket in time, or it does not speak as a browser.
    """
    web_socket = open_web_socket(address, time.monotonic() + seconds)
    with web_socket.sock:
        try:
            yield DevTools(web_socket, address)
        except (AttributeError, KeyError, TypeError):
            # Its messages have another shape than those of a browser.
            raise NoAnswer(f"what listens at {address.place} is not a browser") from None
