"""Connections of the web server that hold no thread while their clients send nothing or half a request."""

from __future__ import annotations

import socket
import time
from typing import Any

from gunicorn.http.errors import NoMoreData
from gunicorn.workers import gthread

HEADER_SECONDS = 10
"""Time in which the header of a request must arrive, and longest silence within its body."""

_PAUSE_SECONDS = 0.05
_LONGEST_HEADER = 65_536


class WaitingConnection(gthread.TConn):
    """Waits in the main loop until the header of its first request is there."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._deadline = time.monotonic() + HEADER_SECONDS
        self._has_stalled = False

    @property
    def data_ready(self) -> bool:
        """Let the header be checked again, whatever the main loop has noted."""
        return False

    @data_ready.setter
    def data_ready(self, is_ready: bool) -> None:
        pass

    def wait_for_data(self, timeout: float) -> bool:
        """Check for a whole header, without waiting for it.

        Raises: NoMoreData: it did not arrive in time.
        """
        try:
            header = self.sock.recv(_LONGEST_HEADER, socket.MSG_PEEK)
        except BlockingIOError:
            return False
        if not header or b"\r\n\r\n" in header or len(header) == _LONGEST_HEADER:
            return True
        if time.monotonic() > self._deadline:
            self._has_stalled = True
            raise NoMoreData
        # The main loop sees the half header at once, and would not rest.
        time.sleep(_PAUSE_SECONDS)
        return False

    def close(self, graceful: bool = False) -> None:
        """Close the connection; a stalled one at once, because the main loop waits for a graceful close."""
        super().close(graceful=graceful and not self._has_stalled)

    def init(self) -> None:
        """Prepare for reading, with a limit for each silence."""
        super().init()
        self.sock.settimeout(HEADER_SECONDS)
