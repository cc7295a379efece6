"""Browsers behind https and wss: the connection goes to the checked address, the certificate to the name."""

from __future__ import annotations

import shutil
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from sessions_app.browsers import guard
from sessions_app.browsers.address import Address
from sessions_app.browsers.exchange import ask_route, open_web_socket
from sessions_app.browsers.guard import NoAnswer, first_answer, resolve
from sessions_app.browsers.relay import Relay
from tests import hostile

ALLOWED = ("gateway.example", "127.0.0.0/8")


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate of gateway.example, with its key."""
    if shutil.which("openssl") is None:
        pytest.skip("there is no openssl to make a certificate")
    folder = tmp_path_factory.mktemp("certificate")
    command = (
        "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -keyout key -out cert -subj /CN=gateway.example"
    )
    names = ["-addext", "subjectAltName=DNS:gateway.example"]
    subprocess.run([*command.split(), *names], cwd=folder, check=True, capture_output=True)
    both = folder / "both.pem"
    both.write_text((folder / "cert").read_text() + (folder / "key").read_text())
    return both


@pytest.fixture
def gateway(certificate: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[hostile.Server]:
    """A server with TLS that echoes web sockets, at an address that a name leads to."""
    trusting = ssl.create_default_context(cafile=str(certificate))
    monkeypatch.setattr(guard, "_tls_context", lambda: trusting)
    monkeypatch.setattr(
        socket, "getaddrinfo", lambda *args, **options: [(socket.AF_INET, 1, 6, "", ("127.0.0.2", args[1]))]
    )
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate)
    with hostile.Server(_answer, host="127.0.0.2", tls=context).running() as server:
        yield server


def _answer(connection: hostile.Connection) -> None:
    if b"Upgrade" not in connection.request:
        connection.send(hostile.OK + b'Content-Length: 10\r\n\r\n{"a": "b"}')
        return
    connection.upgrade()
    while data := connection.sock.recv(65_536):
        connection.send(data)


def address_of(server: hostile.Server, host: str = "gateway.example") -> Address:
    return resolve(f"wss://{host}:{server.port}/devtools/browser/x?token=T", allowed_hosts=ALLOWED)


def ask(address: Address) -> object:
    return first_answer(address, partial(ask_route, "/json/version"), time.monotonic() + 5)


def test_the_name_is_sent_and_the_address_connected_to(gateway: hostile.Server) -> None:
    assert ask(address_of(gateway)) == {"a": "b"}
    (request,) = gateway.requests
    assert request.startswith(b"GET /json/version?token=T HTTP/1.1\r\n")
    assert f"Host: gateway.example:{gateway.port}\r\n".encode() in request


def test_a_certificate_of_another_name_is_refused(gateway: hostile.Server) -> None:
    with pytest.raises(NoAnswer, match=r"the certificate of 127\.0\.0\.2:.* is not trusted"):
        ask(address_of(gateway, "127.0.0.2"))
    assert gateway.requests == []


def test_the_relay_passes_everything_on_in_both_directions(gateway: hostile.Server) -> None:
    passing = Relay(address_of(gateway))
    client, _ = open_web_socket(resolve(passing.url, allowed_hosts=ALLOWED), time.monotonic() + 5)
    sent = bytes(range(256)) * 20_000
    threading.Thread(target=client.sendall, args=(sent,), daemon=True).start()
    received = bytearray()
    client.settimeout(10)
    while len(received) < len(sent):
        more: Any = client.recv(262_144)
        assert more
        received += more
    assert received == sent
    client.close()
