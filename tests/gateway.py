"""A gateway in front of browsers: it wants a login, serves several under prefixes, or redirects."""

from __future__ import annotations

import socket
import threading
from contextlib import suppress
from dataclasses import dataclass, field

from tests.hostile import Connection


@dataclass
class Gateway:
    """Answers as a ``hostile.Server``: passes each request on to the browser of its path.

    Args:
        browsers: Port of a browser by prefix. The longest prefix of a path wins, and is removed.
        token: What the query must hold, if not blank.
        authorization: Value of the header that each request must have, if not blank.
        reported: Host that the browser reports; blank for its own.
        host: What the Host header must begin with, if not blank.
        only_sockets: Answer every other request with a status, as grids do.
        redirect: Where web sockets are redirected to, if not blank.
    """

    browsers: dict[str, int]
    token: str = ""
    authorization: str = ""
    reported: str = ""
    host: str = ""
    only_sockets: int = 0
    redirect: str = ""
    status: int = 302
    refused: list[bytes] = field(default_factory=list)

    def __call__(self, connection: Connection) -> None:
        head = connection.request.decode("latin-1")
        line, _, rest = head.partition("\r\n")
        path, _, query = line.split(" ")[1].partition("?")
        if self.token and f"token={self.token}" not in query.split("&"):
            return self._refuse(connection, 401)
        if self.authorization and f"Authorization: {self.authorization}\r\n" not in head:
            return self._refuse(connection, 401)
        if self.host and f"Host: {self.host}" not in head:
            return self._refuse(connection, 404)
        is_upgrade = "Upgrade: websocket" in head
        if self.only_sockets and not is_upgrade:
            return self._refuse(connection, self.only_sockets)
        if is_upgrade and self.redirect:
            location = f"Location: {self.redirect}{path}\r\nContent-Length: 0\r\n\r\n"
            return connection.send(f"HTTP/1.1 {self.status} Moved\r\n{location}".encode())
        prefix = max((prefix for prefix in self.browsers if f"{path}/".startswith(f"{prefix}/")), key=len)
        path = path[len(prefix) :]
        if is_upgrade and "/devtools/" not in path:
            path = self._only_path(prefix)
        return self._pass_on(connection, prefix, f"GET {path} HTTP/1.1\r\n{rest}", is_upgrade=is_upgrade)

    def _refuse(self, connection: Connection, status: int) -> None:
        self.refused.append(connection.request)
        connection.send(f"HTTP/1.1 {status} No\r\nContent-Length: 0\r\n\r\n".encode())

    def _pass_on(self, connection: Connection, prefix: str, head: str, *, is_upgrade: bool) -> None:
        with socket.create_connection(("127.0.0.1", self.browsers[prefix])) as browser:
            lines = [
                line
                for line in head.split("\r\n")
                if not line.lower().startswith(("host:", "authorization:"))
            ]
            lines.insert(1, f"Host: 127.0.0.1:{self.browsers[prefix]}")
            browser.sendall("\r\n".join(lines).encode("latin-1"))
            if is_upgrade:
                threading.Thread(target=_copy, args=(connection.sock, browser), daemon=True).start()
                connection.sock.settimeout(None)
                _copy(browser, connection.sock)
                return
            answer = b""
            while more := browser.recv(65_536):
                answer += more
                if _is_whole(answer):
                    break
            if self.reported:
                own = f"127.0.0.1:{self.browsers[prefix]}"
                answer = _replace_in_body(answer, own.encode(), self.reported.encode())
            connection.send(answer)

    def _only_path(self, prefix: str) -> str:
        """Return the path of the browser's web socket: a gateway with tokens hides it."""
        with socket.create_connection(("127.0.0.1", self.browsers[prefix])) as browser:
            browser.sendall(b"GET /json/version HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
            answer = b""
            while not _is_whole(answer):
                answer += browser.recv(65_536)
        _, path, rest = answer.partition(b"/devtools/browser/")
        return (path + rest.partition(b'"')[0]).decode()


class OneAtATime:
    """A gateway that allows one web socket at a time, and answers 429 to others and to ``GET /is-free``."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self._free = threading.Semaphore()

    def __call__(self, connection: Connection) -> None:
        is_question = connection.request.startswith(b"GET /is-free ")
        if b"Upgrade: websocket" not in connection.request and not is_question:
            return self._gateway(connection)
        if not self._free.acquire(blocking=False):
            return connection.send(b"HTTP/1.1 429 No\r\nContent-Length: 0\r\n\r\n")
        try:
            if is_question:
                return connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
            return self._gateway(connection)
        finally:
            self._free.release()


def _is_whole(answer: bytes) -> bool:
    head, end, body = answer.partition(b"\r\n\r\n")
    length = head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0].strip()
    return bool(end) and len(body) >= int(length or b"0")


def _replace_in_body(answer: bytes, old: bytes, new: bytes) -> bytes:
    head, _, body = answer.partition(b"\r\n\r\n")
    body = body.replace(old, new)
    line = head.partition(b"\r\n")[0]
    return line + b"\r\nContent-Length: %d\r\n\r\n" % len(body) + body


def _copy(source: socket.socket, target: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(65_536):
            target.sendall(data)
    for end in (source, target):
        with suppress(OSError):
            end.shutdown(socket.SHUT_RDWR)
