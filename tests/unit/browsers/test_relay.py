"""The relay between Playwright and a browser."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable
from urllib.parse import urlsplit

import pytest

from sessions_app.browsers import relay
from sessions_app.browsers.address import Address
from sessions_app.browsers.devtools import DevTools, devtools
from sessions_app.browsers.exchange import open_web_socket
from sessions_app.browsers.guard import NoAnswer, resolve
from sessions_app.browsers.relay import Relay
from tests import hostile

ALLOWED = ("127.0.0.0/8",)


def address_of(url: str) -> Address:
    return resolve(url, allowed_hosts=ALLOWED)


def echo(connection: hostile.Connection) -> None:
    """Send back the frames of a client without their masks, which the client of the tests does not read."""
    connection.upgrade()
    while data := connection.sock.recv(65_536):
        connection.send(data)


def until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.005)


def is_listening(url: str) -> bool:
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", urlsplit(url).port or 0)) == 0


def has_ended() -> bool:
    return not [thread for thread in threading.enumerate() if thread.name == "raptor-relay"]


def test_it_serves_one_client_and_ends_with_it() -> None:
    with hostile.Server(echo).running() as browser:
        passing = Relay(address_of(f"ws://{browser.place}/devtools/browser/x"))
        client, _ = open_web_socket(address_of(passing.url), time.monotonic() + 5)
        assert not is_listening(passing.url)
        sent = bytes(range(256)) * 40_000
        threading.Thread(target=client.sendall, args=(sent,), daemon=True).start()
        received = b""
        client.settimeout(10)
        while len(received) < len(sent):
            received += client.recv(262_144)
        assert received == sent
        client.close()
        until(has_ended)
    assert [request.split(b" ", 2)[1] for request in browser.requests] == [b"/devtools/browser/x"]


def test_it_ends_with_its_browser() -> None:
    def say_something(connection: hostile.Connection) -> None:
        connection.upgrade()
        connection.send(b"\x81\x02{}")

    with hostile.Server(say_something).running() as browser:
        web_socket = open_web_socket(
            address_of(Relay(address_of(f"ws://{browser.place}/")).url), time.monotonic() + 5
        )
        client = DevTools(web_socket, address_of(f"ws://{browser.place}/"))
        assert client.receive(time.monotonic() + 5) == {}
        with pytest.raises(NoAnswer, match="ConnectionAbortedError"):
            client.receive(time.monotonic() + 5)
        web_socket.sock.close()
    until(has_ended)


def test_a_client_that_does_not_know_the_path_is_dropped() -> None:
    with hostile.Server(echo).running() as browser:
        passing = Relay(address_of(f"ws://{browser.place}/"))
        place = passing.url.rpartition("/")[0]
        silent = socket.create_connection(("127.0.0.1", urlsplit(passing.url).port or 0))
        for wrong in (place, f"{place}/guess", f"{passing.url}x", passing.url[:-1]):
            with pytest.raises(NoAnswer):
                open_web_socket(address_of(wrong), time.monotonic() + 5)
        open_web_socket(address_of(passing.url), time.monotonic() + 5).sock.close()
        silent.close()
        until(has_ended)
    assert len(browser.requests) == 1


@pytest.mark.parametrize("status", [200, 301, 302, 307, 308, 401, 403, 404, 500])
def test_only_a_web_socket_is_passed_on(status: int) -> None:
    with hostile.Server(echo, host="127.0.0.3").running() as other:
        answer = f"HTTP/1.1 {status} X\r\nLocation: ws://{other.place}/\r\nContent-Length: 0\r\n\r\n".encode()
        with hostile.Server(lambda connection: connection.send(answer)).running() as server:
            passing = Relay(address_of(f"ws://{server.place}/devtools/browser/secret"))
            with pytest.raises(NoAnswer):
                open_web_socket(address_of(passing.url), time.monotonic() + 5)
    until(has_ended)
    assert str(status) in passing.failure
    assert "secret" not in passing.failure
    assert other.requests == []


def test_it_ends_if_nobody_connects(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(relay, "LISTEN_SECONDS", 0.1)
    with hostile.Server(echo).running() as browser:
        passing = Relay(address_of(f"ws://{browser.place}/"))
        until(has_ended)
        assert not is_listening(passing.url)
        closed = Relay(address_of(f"ws://{browser.place}/"))
        closed.close()
        until(has_ended)


def test_a_stalled_browser_does_not_keep_it_alive() -> None:
    end = threading.Event()

    def stall(connection: hostile.Connection) -> None:
        connection.upgrade()
        end.wait(20)

    with hostile.Server(stall).running() as browser:
        passing = Relay(address_of(f"ws://{browser.place}/"))
        client, _ = open_web_socket(address_of(passing.url), time.monotonic() + 5)
        client.sendall(b"x" * 20_000_000)
        client.close()
        until(has_ended)
        end.set()


def test_a_browser_is_spoken_to_through_it() -> None:
    def answer(connection: hostile.Connection) -> None:
        connection.upgrade()
        connection.send(b'\x81\x14{"id":1,"result":{}}')
        connection.wait()

    with hostile.Server(answer).running() as browser:
        passing = Relay(address_of(f"ws://{browser.place}/"))
        with devtools(address_of(passing.url)) as client:
            assert client.call("Browser.getVersion") == {}
    until(has_ended)
