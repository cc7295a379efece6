"""Addresses that are never contacted, in any spelling, and the only ones that are."""

from __future__ import annotations

import socket
import sys
import threading
from collections.abc import Iterator
from ipaddress import ip_address
from typing import Any

import pytest

from sessions_app.browsers.guard import EndpointRefused, is_forbidden, resolve
from sessions_app.browsers.probe import probe
from tests import hostile

EVERYTHING = ("0.0.0.0/0", "::/0")
METADATA = ("169.254.169.254", "169.254.170.2", "100.100.100.200", "168.63.129.16", "192.0.0.192")


def spellings(ip: str) -> list[str]:
    number = int(ip_address(ip))
    high, low = number >> 16, number & 0xFFFF
    inverted = number ^ 0xFFFF_FFFF
    return [
        ip,
        f"::ffff:{ip}",
        f"::ffff:{high:x}:{low:x}",
        f"::{ip}",
        f"::ffff:0:{ip}",
        f"64:ff9b::{ip}",
        f"64:ff9b:1::{ip}",
        f"64:ff9b:1:2:3::{high:x}:{low:x}",
        f"64:ff9b:1:{high:x}:{low >> 8:x}:{low & 0xFF:x}00::",
        f"64:ff9b:1:{high >> 8:x}:{high & 0xFF:x}:{low:x}::",
        f"64:ff9b:1:0:{high >> 8:x}:{high & 0xFF:02x}{low >> 8:02x}:{low & 0xFF:02x}00::",
        f"fd00::5efe:{ip}",
        f"2001:db8::200:5efe:{ip}",
        f"2002:{high:x}:{low:x}::1",
        f"2001:0:{high:x}:{low:x}::1",
        f"2001:0:1:2::{inverted >> 16:x}:{inverted & 0xFFFF:x}",
    ]


@pytest.mark.parametrize("spelling", [spelling for ip in METADATA for spelling in spellings(ip)])
def test_a_metadata_address_is_refused_in_any_spelling(spelling: str) -> None:
    host = f"[{spelling}]" if ":" in spelling else spelling
    with pytest.raises(EndpointRefused, match="where no browser listens"):
        resolve(f"http://{host}:9222/", allowed_hosts=EVERYTHING)


@pytest.mark.parametrize(
    "ip",
    [
        "fd00:ec2::254",
        "fd00:ec2::23",
        "fd00:ec2::254%lo",
        "fd00:42::42",
        "::ffff:169.254.169.254%1",
        "fd20:ce::254",
        "fe80::1",
        "ff02::1",
        "::",
        "0.0.0.0",
        "224.0.0.1",
        "::ffff:0.0.0.0",
    ],
)
def test_other_addresses_without_browsers_are_refused(ip: str) -> None:
    assert is_forbidden(ip_address(ip))


@pytest.mark.parametrize(
    "ip",
    [
        "127.0.0.1",
        "::1",
        "10.0.0.7",
        "192.168.1.1",
        "100.64.0.1",
        "8.8.8.8",
        "fd00::1",
        "2001:db8::1",
        "64:ff9b::a00:7",
        "64:ff9b:1::a00:7",
    ],
)
def test_addresses_of_browsers_may_be_allowed(ip: str) -> None:
    assert not is_forbidden(ip_address(ip))


@pytest.mark.parametrize(
    "ip", ["169.254.169.254", "::ffff:169.254.169.254", "fd00:ec2::254", "100.100.100.200"]
)
def test_an_allowed_name_does_not_lead_to_a_metadata_address(
    ip: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    resolving(monkeypatch, ip)
    with pytest.raises(EndpointRefused, match="its host chrome resolves to"):
        resolve("http://chrome:9222/", allowed_hosts=("chrome",))


def test_only_the_permitted_addresses_of_a_name_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    resolving(monkeypatch, "fe80::1%eth0", "127.0.0.2", "169.254.169.254")
    assert resolve("http://chrome:9222/", allowed_hosts=("chrome",)).ips == ("127.0.0.2",)


@pytest.mark.parametrize("ip", ["fd00:ec2::254%lo", "::1%lo", "fd00::1%25lo", "fe80::1%eth0"])
def test_an_address_with_a_zone_is_refused(ip: str) -> None:
    with pytest.raises(EndpointRefused, match="has a zone"):
        resolve(f"http://[{ip}]:80/", allowed_hosts=("fd00::/8", *EVERYTHING, ip))


@pytest.mark.parametrize(
    "url", ["ws://127.0.0.1:0/", "http://localhost:0", "wss://[::1]:0/devtools/browser/x"]
)
def test_port_0_is_refused(url: str) -> None:
    with pytest.raises(EndpointRefused, match="port 0"):
        resolve(url, allowed_hosts=("127.0.0.1", "localhost", "::1"))


def resolving(monkeypatch: pytest.MonkeyPatch, *ips: str) -> list[str]:
    """Make each name resolve to some addresses, and to others at the second time."""
    asked: list[str] = []

    def look_up(host: str, port: int, **options: Any) -> list[tuple[Any, ...]]:
        asked.append(host)
        found = ips if len(asked) == 1 else ("127.9.9.9",)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (ip, port)) for ip in found]

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    return asked


class Connections:
    """The addresses that Python connects to. An audit hook sees each of them, and cannot be removed."""

    def __init__(self) -> None:
        self.seen: list[tuple[Any, ...]] = []
        self.is_on = False
        sys.addaudithook(self._note)

    def _note(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event == "socket.connect" and self.is_on:
            self.seen.append(arguments[1][:2])


_connections = Connections()


@pytest.fixture
def connections() -> Iterator[Connections]:
    _connections.seen.clear()
    _connections.is_on = True
    yield _connections
    _connections.is_on = False


@pytest.mark.parametrize("scheme", ["http", "ws", "https", "wss"])
def test_a_name_is_resolved_once_and_only_that_address_is_connected_to(
    scheme: str, monkeypatch: pytest.MonkeyPatch, connections: Connections
) -> None:
    with hostile.Server(hostile.HTTP["closes at once"], host="127.0.0.2").running() as server:
        asked = resolving(monkeypatch, "127.0.0.2")
        probe(f"{scheme}://chrome:{server.port}/devtools/browser/x", allowed_hosts=("chrome",))
        probes = len(server.requests)
    assert asked == ["chrome"]
    assert probes > 0
    assert set(connections.seen) == {("127.0.0.2", server.port)}


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_not_followed(status: int, connections: Connections) -> None:
    with hostile.Server(lambda connection: None, host="127.0.0.3").running() as other:
        answer = f"HTTP/1.1 {status} Moved\r\nLocation: http://{other.place}/json/version\r\n\r\n".encode()
        with hostile.Server(lambda connection: connection.send(answer)).running() as server:
            found = probe(f"http://{server.place}", allowed_hosts=("127.0.0.1",))
    assert f"answered {status}" in found.reason
    assert other.requests == []
    assert set(connections.seen) == {("127.0.0.1", server.port)}


def test_what_is_refused_gets_no_packet(connections: Connections) -> None:
    for url in (
        "ws://169.254.169.254/",
        "ws://10.0.0.7:9222/",
        "ws://127.0.0.1:0/",
        "file:///etc/passwd",
        "ws://x/",
    ):
        assert probe(url, allowed_hosts=("127.0.0.1", "169.254.169.254")).reason
    assert connections.seen == []
    assert not [thread for thread in threading.enumerate() if thread.name == "raptor-resolve"]
