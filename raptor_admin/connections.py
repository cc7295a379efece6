"""Connections of the web server that hold no thread while their clients send nothing or half a header."""

from __future__ import annotations

import socket
import time
from contextlib import suppress
from typing import Any

from gunicorn.http.errors import NoMoreData
from gunicorn.workers import gthread

HEADER_SECONDS = 10
"""Time in which the header of a request must arrive, and longest silence within its body."""

HEADER_BYTES = 65_536
"""Longest header of a request; the connection of a longer one is closed."""


class WaitingConnection(gthread.TConn):
    """Waits in the main loop until the header of each of its requests is there."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._deadline = 0.0
        self._arrived_bytes = 0

    @property
    def initialized(self) -> bool:
        """Let the server wait for the header of every request, not only of the first."""
        return False

    @initialized.setter
    def initialized(self, is_initialized: bool) -> None:
        pass

    @property
    def data_ready(self) -> bool:
        """Let the header be checked again, whatever the main loop has noted."""
        return False

    @data_ready.setter
    def data_ready(self, is_ready: bool) -> None:
        pass

    def wait_for_data(self, timeout: float) -> bool:
        """Check for a whole header, without waiting for it.

        Raises: NoMoreData: it is too long, or it cannot arrive in time.
        """
        self.sock.setblocking(False)
        try:
            arrived = self.sock.recv(HEADER_BYTES, socket.MSG_PEEK)
        except BlockingIOError:
            arrived = b""
        else:
            if not arrived:
                # The client has closed the connection, which reading finds out at once.
                return True
        # A client may send its next request, or half of it, together with the previous one.
        header = (self.parser.unreader.buf.getvalue() if self.parser else b"") + arrived
        if b"\r\n\r\n" in header.lstrip(b"\r\n"):
            return True
        if len(header) >= HEADER_BYTES or self._is_over(arrived):
            raise NoMoreData
        # The main loop sees the socket again when more has arrived than is there now.
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, len(arrived) + 1)
        return False

    def _is_over(self, arrived: bytes) -> bool:
        now = time.monotonic()
        self._deadline = self._deadline or now + HEADER_SECONDS
        # Without more bytes, the main loop sees a socket only if its client has stopped sending.
        has_ended = 0 < len(arrived) == self._arrived_bytes
        self._arrived_bytes = len(arrived)
        return has_ended or now > self._deadline

    def init(self) -> None:
        """Prepare for reading a request, with a limit for each silence."""
        super().init()
        self._deadline = 0.0
        self._arrived_bytes = 0
        self.sock.settimeout(HEADER_SECONDS)
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, 1)

    def close(self, graceful: bool = False) -> None:
        """Close the connection without waiting for the client, because this runs in the main loop."""
        if graceful:
            with suppress(OSError):
                self.sock.setblocking(False)
                self.sock.shutdown(socket.SHUT_WR)
                # Unread bytes would make the system drop the end of the answer.
                self.sock.recv(HEADER_BYTES)
        super().close()
