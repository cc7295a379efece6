"""A server that describes itself like a browser."""

from __future__ import annotations

import http.server
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

SAVED = "11111111-2222"


class Browser(http.server.ThreadingHTTPServer):
    """A server that answers like a browser, or as a test demands."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.status = 200
        self.body: bytes | None = None
        self.socket_host = f"127.0.0.1:{self.server_port}"
        self.browser_id = SAVED
        self.requests: list[str] = []
        self.pause_seconds = 0.0

    @property
    def endpoint(self) -> str:
        return f"ws://127.0.0.1:{self.server_port}/devtools/browser/{SAVED}"

    @property
    def answer(self) -> bytes:
        url = f"ws://{self.socket_host}/devtools/browser/{self.browser_id}"
        return json.dumps({"webSocketDebuggerUrl": url}).encode() if self.body is None else self.body


class _Handler(http.server.BaseHTTPRequestHandler):
    server: Browser

    def do_GET(self) -> None:
        self.server.requests.append(self.path)
        self.send_response(self.server.status)
        self.send_header("Location", self.server.endpoint.replace("ws:", "http:"))
        self.end_headers()
        for start in range(0, len(self.server.answer), 65_536):
            try:
                self.wfile.write(self.server.answer[start : start + 65_536])
            except OSError:
                return
            time.sleep(self.server.pause_seconds)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        pass


@contextmanager
def served() -> Iterator[Browser]:
    with Browser() as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield server
        server.shutdown()
