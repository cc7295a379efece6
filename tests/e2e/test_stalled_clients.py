"""Clients that send nothing, half a header or a byte at a time, or do not close, do not stop the panel."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import pytest

from tests.e2e.panel import Panel

REQUEST = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"
LAST_REQUEST = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
HALF_HEADER = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n"
LONG_HALF = HALF_HEADER + b"".join(b"X-%d: %s\r\n" % (number, b"x" * 8000) for number in range(9))
CLIENTS = 24
DRIP_SECONDS = 1.0

Clients = list[socket.socket]


@pytest.fixture(scope="module")
def panel(tmp_path_factory: pytest.TempPathFactory, prepared: Path) -> Iterator[Panel]:
    panel = Panel.copy_of(prepared, tmp_path_factory.mktemp("panel"))
    try:
        panel.start_and_wait()
        yield panel
    finally:
        panel.stop()


def _open(panel: Panel, count: int, sent: bytes = b"") -> Iterator[socket.socket]:
    for _ in range(count):
        client = socket.create_connection(("127.0.0.1", panel.port), timeout=15)
        client.sendall(sent)
        yield client


def _receive_answers(clients: Clients, count: int = 1) -> None:
    for client in clients:
        answer = b""
        while answer.count(b"ok\n") < count:
            more = client.recv(4096)
            assert more, answer
            answer += more


@contextmanager
def _dripping(clients: Clients) -> Iterator[None]:
    """Let the clients send one byte after the other."""
    is_over = threading.Event()

    def drip() -> None:
        while not is_over.wait(DRIP_SECONDS):
            for client in clients:
                with suppress(OSError):
                    client.sendall(b"X")

    thread = threading.Thread(target=drip, daemon=True)
    thread.start()
    try:
        yield
    finally:
        is_over.set()
        thread.join()


def _slowest_answer(panel: Panel, times: int = 6) -> float:
    """Return the seconds of the slowest of some answers."""
    slowest = 0.0
    for _ in range(times):
        started_at = time.monotonic()
        assert panel.answers()
        slowest = max(slowest, time.monotonic() - started_at)
    return slowest


def _assert_quick(panel: Panel, usual_seconds: float, more_seconds: float) -> None:
    """Check that answers take not much longer than they did just before, on a machine that may be busy."""
    assert _slowest_answer(panel) < 3 * usual_seconds + more_seconds


def _kept_alive(panel: Panel) -> Clients:
    """Open the connections in parallel, so that both workers have some."""
    clients = list(_open(panel, CLIENTS, REQUEST))
    _receive_answers(clients)
    for client in clients:
        client.sendall(HALF_HEADER)
    return clients


def _fresh(panel: Panel) -> Clients:
    return list(_open(panel, CLIENTS, HALF_HEADER))


def _sent_together(panel: Panel) -> Clients:
    """The half header follows its request in the same packet."""
    clients = list(_open(panel, CLIENTS, REQUEST + REQUEST + HALF_HEADER))
    _receive_answers(clients, 2)
    return clients


def _blank_lines(panel: Panel) -> Clients:
    return list(_open(panel, CLIENTS, b"\r\n\r\n" + HALF_HEADER))


def _long(panel: Panel) -> Clients:
    clients = list(_open(panel, CLIENTS))
    for client in clients:
        with suppress(OSError):
            client.sendall(LONG_HALF)
    return clients


def test_clients_that_drip_a_header_hold_no_thread(panel: Panel) -> None:
    ways: list[Callable[[Panel], Clients]] = [_kept_alive, _fresh, _sent_together, _blank_lines, _long]
    for way in ways:
        usual = _slowest_answer(panel)
        with ExitStack() as stack:
            clients = [stack.enter_context(client) for client in way(panel)]
            with _dripping(clients):
                _assert_quick(panel, usual, 1)
                time.sleep(2 * DRIP_SECONDS)
                _assert_quick(panel, usual, 1)
    assert "Traceback" not in panel.output


def test_clients_that_stall_are_closed(panel: Panel) -> None:
    with ExitStack() as stack:
        clients: Clients = []
        # A header that arrives in two parts is answered.
        for client in _open(panel, 1, HALF_HEADER):
            stack.enter_context(client).sendall(b"\r\n")
            _receive_answers([client])
        for sent in (HALF_HEADER, b"G", b""):
            clients += [stack.enter_context(client) for client in _open(panel, 20, sent)]
        clients += [stack.enter_context(client) for client in _kept_alive(panel)]
        for client in clients:
            with suppress(ConnectionResetError):
                assert client.recv(9) == b""
    assert "Traceback" not in panel.output


def test_many_half_headers_do_not_slow_the_panel(panel: Panel) -> None:
    usual = _slowest_answer(panel)
    with ExitStack() as stack:
        clients = [stack.enter_context(client) for client in _open(panel, 300, HALF_HEADER)]
        _assert_quick(panel, usual, 0.5)
        # Clients that stop sending amid a header are closed at once.
        for client in clients:
            with suppress(OSError):
                client.shutdown(socket.SHUT_WR)
        _assert_quick(panel, usual, 0.5)


def test_clients_that_do_not_close_do_not_slow_the_panel(panel: Panel) -> None:
    usual = _slowest_answer(panel)
    with ExitStack() as stack:
        clients = [stack.enter_context(client) for client in _open(panel, 16, LAST_REQUEST)]
        _assert_quick(panel, usual, 1)
        _receive_answers(clients)


@pytest.mark.parametrize("pause_seconds", [0.0, 0.5])
def test_a_connection_is_used_again(panel: Panel, pause_seconds: float) -> None:
    for client in _open(panel, 1):
        with client:
            for _ in range(3):
                client.sendall(REQUEST[:20])
                time.sleep(pause_seconds)
                client.sendall(REQUEST[20:])
                _receive_answers([client])
            client.sendall(REQUEST + REQUEST)
            _receive_answers([client], 2)
