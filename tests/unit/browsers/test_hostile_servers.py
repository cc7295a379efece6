"""Servers that answer slowly, endlessly or wrongly cost no more than the time limit."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import replace

import pytest

from sessions_app.browsers.address import Address
from sessions_app.browsers.closing import close_browser
from sessions_app.browsers.devtools import devtools
from sessions_app.browsers.exchange import send_message
from sessions_app.browsers.guard import NoAnswer, resolve
from sessions_app.browsers.identity import identify
from sessions_app.browsers.probe import Liveness, probe
from sessions_app.browsers.tabs import list_tabs
from sessions_app.exceptions import SessionException
from tests import hostile

ALLOWED = ("127.0.0.0/8", "::1", "localhost")
TIMEOUT_SECONDS = 0.2
AT_MOST_SECONDS = 3 * TIMEOUT_SECONDS
TRIES = 5


def assert_over_in_time(work: Callable[[], object]) -> None:
    """Check that some work takes less than the time limit, in one of several tries on a busy machine."""
    seconds: list[float] = []
    while not seconds or min(seconds) >= AT_MOST_SECONDS:
        assert len(seconds) < TRIES, f"it took {seconds} s"
        began = time.monotonic()
        work()
        seconds.append(time.monotonic() - began)


@pytest.mark.parametrize("scheme", ["ws", "wss"])
@pytest.mark.parametrize("answer", hostile.HTTP)
def test_a_probe_is_over_in_time(answer: str, scheme: str) -> None:
    with hostile.Server(hostile.HTTP[answer]).running() as server:
        url = f"{scheme}://{server.place}/devtools/browser/x"

        def work() -> None:
            found = probe(url, allowed_hosts=ALLOWED, timeout_seconds=TIMEOUT_SECONDS)
            assert found.liveness in (Liveness.UNREACHABLE, Liveness.UNKNOWN)
            assert "devtools" not in found.reason

        assert_over_in_time(work)


@pytest.mark.parametrize("answer", hostile.WEB_SOCKET)
def test_a_command_is_over_in_time(answer: str) -> None:
    with hostile.Server(hostile.WEB_SOCKET[answer]).running() as server:
        address = resolve(f"ws://{server.place}/devtools/browser/x", allowed_hosts=ALLOWED)

        def work() -> None:
            with pytest.raises(NoAnswer), devtools(address, seconds=TIMEOUT_SECONDS) as browser:
                browser.call("Browser.getVersion", seconds=TIMEOUT_SECONDS)

        # The connection and the command have a limit each.
        assert_over_in_time(work)


def outcome_of_close(url: str) -> str:
    try:
        close_browser(url, allowed_hosts=ALLOWED, name="login", target_id="T")
    except SessionException as error:
        return error.message
    return "closed"


def outcome_of_restore(url: str) -> str:
    """Identify a browser and list its tabs, as a restore does."""
    try:
        address = identify(url, allowed_hosts=ALLOWED, name="login", target_id="T")
    except SessionException as error:
        return error.message
    try:
        list_tabs(address)
    except NoAnswer as failure:
        return str(failure)
    return "restored"


@pytest.mark.parametrize("outcome", [outcome_of_close, outcome_of_restore])
def test_close_and_restore_report_each_server_clearly(outcome: Callable[[str], str]) -> None:
    with ExitStack() as stack:
        answers = [*hostile.HTTP.items(), *hostile.WEB_SOCKET.items()]
        servers = [stack.enter_context(hostile.Server(answer).running()) for _, answer in answers]
        urls = [f"ws://{server.place}{path}" for server in servers for path in ("", "/devtools/browser/x")]
        pool = stack.enter_context(ThreadPoolExecutor(max_workers=len(urls)))
        outcomes = list(pool.map(outcome, urls))
    assert not {"closed", "restored"} & set(outcomes)
    assert not [text for text in outcomes if "devtools" in text]


@pytest.fixture
def full_listener() -> Iterator[str]:
    """A listener that accepts nothing, and whose queue is full."""
    with socket.create_server(("127.0.0.1", 0), backlog=0) as listener:
        waiting = []
        for _ in range(4):
            client = socket.socket()
            client.setblocking(False)
            client.connect_ex(listener.getsockname())
            waiting.append(client)
        yield f"ws://127.0.0.1:{listener.getsockname()[1]}/"
        for client in waiting:
            client.close()


def test_a_connection_that_is_never_accepted_is_over_in_time(full_listener: str) -> None:
    def work() -> None:
        found = probe(full_listener, allowed_hosts=ALLOWED, timeout_seconds=TIMEOUT_SECONDS)
        assert found.reason.endswith("did not accept a connection in time")
        assert found.may_be_running

    assert_over_in_time(work)


def test_a_message_reaches_the_second_address_if_the_first_never_accepts(full_listener: str) -> None:
    address = Address.parse(full_listener)
    server = hostile.Server(
        lambda connection: connection.send(b"HTTP/1.1 204 No Content\r\n\r\n"),
        host="127.0.0.2",
        port=address.port,
    )
    with server.running():
        both = replace(address, ips=("127.0.0.1", "127.0.0.2"))
        until = time.monotonic() + 5 * TIMEOUT_SECONDS
        assert send_message(both, "POST", "/", {}, b"{}", until) == 204


def test_a_name_that_is_never_resolved_is_over_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    end = threading.Event()
    monkeypatch.setattr(socket, "getaddrinfo", lambda *args, **kwargs: end.wait(20) and [])

    def work() -> None:
        found = probe("ws://chrome:9222/", allowed_hosts=("chrome",), timeout_seconds=TIMEOUT_SECONDS)
        assert found.reason == "its host chrome was not resolved within 0.2 s"
        assert found.may_be_running

    assert_over_in_time(work)
    end.set()


def test_a_silent_address_leaves_time_for_the_next_one() -> None:
    with hostile.Server(hostile.HTTP["is silent"]).running() as silent:
        browser = hostile.Server(
            lambda connection: connection.send(
                hostile.OK + b'\r\n{"webSocketDebuggerUrl": "ws://x/devtools/browser/1"}'
            ),
            host="::1",
            port=silent.port,
        )
        with browser.running():
            url = f"ws://localhost:{silent.port}/devtools/browser/1"
            found = probe(url, allowed_hosts=ALLOWED, timeout_seconds=5 * TIMEOUT_SECONDS)
    assert found.liveness is Liveness.ALIVE
    assert found.address is not None
    assert found.address.ips == ("::1",)
