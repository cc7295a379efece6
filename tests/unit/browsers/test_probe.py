"""Which endpoints are probed and what their answers mean, with real servers."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from sessions_app.browsers.exchange import MAX_ANSWER_BYTES
from sessions_app.browsers.guard import EndpointRefused, resolve
from sessions_app.browsers.probe import Liveness, probe
from tests.fake_browser import SAVED, Browser, served
from tests.hostile import HTTP, Server

ALLOWED = ("localhost", "127.0.0.0/8", "::1")


@pytest.fixture
def browser() -> Iterator[Browser]:
    with served() as server:
        yield server


def liveness(cdp_url: str) -> Liveness:
    return probe(cdp_url, allowed_hosts=ALLOWED, timeout_seconds=0.5).liveness


def test_the_browser_that_was_saved_is_alive(browser: Browser) -> None:
    found = probe(browser.endpoint, allowed_hosts=ALLOWED)
    assert found.liveness is Liveness.ALIVE
    assert found.address is not None
    assert found.address.socket_url == browser.endpoint
    assert browser.requests == ["/json/version"]


def test_an_http_endpoint_leads_to_the_current_browser(browser: Browser) -> None:
    found = probe(f"http://localhost:{browser.server_port}", allowed_hosts=ALLOWED)
    assert found.liveness is Liveness.ALIVE
    assert found.address is not None
    # The name is kept, because the name is what is allowed.
    assert found.address.socket_url == browser.endpoint.replace("127.0.0.1", "localhost")
    assert found.address.ips == ("127.0.0.1",)


def test_another_browser_has_the_port(browser: Browser) -> None:
    browser.browser_id = "99999999-8888"
    found = probe(browser.endpoint, allowed_hosts=ALLOWED)
    assert found.liveness is Liveness.REPLACED
    assert "99999999" not in found.reason


def test_nothing_listens() -> None:
    with served() as gone:
        endpoint = gone.endpoint
    found = probe(endpoint, allowed_hosts=ALLOWED)
    assert found.liveness is Liveness.UNREACHABLE
    assert found.reason.startswith("nothing listens at 127.0.0.1:")
    assert SAVED not in found.reason
    assert not found.may_be_running


@pytest.mark.parametrize("answer", ["closes at once", "resets the connection", "speaks another protocol"])
@pytest.mark.parametrize("scheme", ["ws", "wss"])
def test_after_a_failed_exchange_a_browser_may_be_running(answer: str, scheme: str) -> None:
    with Server(HTTP[answer]).running() as server:
        found = probe(f"{scheme}://{server.place}/devtools/browser/x", allowed_hosts=ALLOWED)
    assert found.liveness is Liveness.UNREACHABLE
    assert found.may_be_running
    assert "_ssl.c" not in found.reason


def test_a_browser_that_hides_its_address_is_unknown(browser: Browser) -> None:
    browser.status = 404
    assert liveness(browser.endpoint) is Liveness.UNKNOWN


@pytest.mark.parametrize("status", [401, 403, 407])
def test_a_login_is_reported_and_the_browser_counts_as_running(browser: Browser, status: int) -> None:
    browser.status = status
    found = probe(browser.endpoint, allowed_hosts=ALLOWED)
    assert found.liveness is Liveness.UNKNOWN
    assert found.reason == f"127.0.0.1:{browser.server_port} requires a login ({status})"
    assert found.may_be_running


@pytest.mark.parametrize("status", [301, 302, 307, 308, 429, 500, 502, 503])
def test_other_statuses_are_reported_and_redirects_are_not_followed(browser: Browser, status: int) -> None:
    browser.status = status
    found = probe(browser.endpoint, allowed_hosts=ALLOWED)
    assert found.liveness is Liveness.UNREACHABLE
    assert f"did not describe a browser: it answered {status} " in found.reason
    # A gateway may be overloaded, and the browser behind it alive.
    assert found.may_be_running
    assert browser.requests == ["/json/version"]


@pytest.mark.parametrize("body", [b"", b"hello", b"\xff", b"[" * 100_000, b" " * 5_000_000])
def test_an_unreadable_answer_is_not_a_browser(browser: Browser, body: bytes) -> None:
    browser.body = body
    found = probe(browser.endpoint, allowed_hosts=ALLOWED)
    assert found.liveness is Liveness.UNREACHABLE
    # Another program of this machine has the port, except if the answer was too long to be read.
    assert found.may_be_running == (len(body) > MAX_ANSWER_BYTES)


@pytest.mark.parametrize("body", [b"[]", b"3", b"{}", b'{"webSocketDebuggerUrl": 3}'])
def test_an_answer_without_an_address_leads_nowhere(browser: Browser, body: bytes) -> None:
    browser.body = body
    found = probe(browser.endpoint, allowed_hosts=ALLOWED)
    assert found.liveness is Liveness.UNKNOWN
    assert found.may_be_running


def test_a_slow_answer_times_out(browser: Browser) -> None:
    browser.body = b" " * 3_000_000
    browser.pause_seconds = 0.2
    began = time.monotonic()
    assert liveness(browser.endpoint) is Liveness.UNREACHABLE
    assert time.monotonic() - began < 5


@pytest.mark.parametrize(
    "host",
    ["0.0.0.0:9222", "169.254.169.254", "10.0.0.7:9222", "metadata.internal", "[::ffff:169.254.169.254]"],
)
def test_only_the_path_of_the_address_that_a_browser_reports_is_used(browser: Browser, host: str) -> None:
    browser.socket_host = host
    found = probe(f"http://127.0.0.1:{browser.server_port}", allowed_hosts=ALLOWED)
    assert found.address is not None
    assert found.address.socket_url == browser.endpoint
    assert found.address.ips == ("127.0.0.1",)


@pytest.mark.parametrize(
    "cdp_url",
    [
        "ws://10.0.0.7:9222/devtools/browser/x",
        "ws://169.254.169.254/latest/meta-data",
        "ws://2130706433:9222/devtools/browser/x",
        "ws://0x7f000001/",
        "ws://127.1:9222/",
        "ws://%31%32%37.0.0.1:9222/",
        "ws://[::ffff:127.0.0.1]:9222/",
        "ws://0.0.0.0:9222/",
        "ws://localhost.evil.example/",
        "ws://evil.example@10.0.0.7/",
        "file:///etc/passwd",
        "ftp://127.0.0.1/",
        "127.0.0.1:9222",
        "ws://",
        "",
        "ws://127.0.0.1:99999999/",
        "ws://[::1",
    ],
)
def test_a_host_that_is_not_allowed_is_not_contacted(cdp_url: str) -> None:
    with pytest.raises(EndpointRefused) as refusal:
        resolve(cdp_url, allowed_hosts=ALLOWED)
    assert "devtools" not in str(refusal.value)


def test_a_name_is_resolved_once_and_that_address_is_used() -> None:
    address = resolve("ws://LOCALHOST:9222/devtools/browser/x?y=1", allowed_hosts=ALLOWED)
    assert address.ips == ("127.0.0.1", "::1")
    assert address.socket_url == "ws://localhost:9222/devtools/browser/x?y=1"
    address = resolve("wss://[::1]/a", allowed_hosts=ALLOWED)
    assert address.ips == ("::1",)
    assert address.socket_url == "wss://[::1]:443/a"
