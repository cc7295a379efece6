"""Which endpoints are probed and what their answers mean, with real servers."""

from __future__ import annotations

import http.server
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from sessions_app.browsers.probe import EndpointRefused, Liveness, probe, resolve

ALLOWED = ("localhost", "127.0.0.0/8", "::1")
SAVED = "11111111-2222"


class Browser(http.server.ThreadingHTTPServer):
    """A server that answers as a browser does, or as the test demands."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.status = 200
        self.body: bytes | None = None
        self.socket_host = f"127.0.0.1:{self.server_port}"
        self.browser_id = SAVED
        self.asked: list[str] = []
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
        self.server.asked.append(self.path)
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
    assert browser.asked == ["/json/version"]


def test_an_http_endpoint_leads_to_the_current_browser(browser: Browser) -> None:
    found = probe(f"http://localhost:{browser.server_port}", allowed_hosts=ALLOWED)
    assert found.liveness is Liveness.ALIVE
    assert found.address is not None
    assert found.address.socket_url == browser.endpoint


def test_another_browser_has_the_port(browser: Browser) -> None:
    browser.browser_id = "99999999-8888"
    found = probe(browser.endpoint, allowed_hosts=ALLOWED)
    assert found.liveness is Liveness.REPLACED
    assert "99999999" not in found.because


def test_nothing_listens() -> None:
    with served() as gone:
        endpoint = gone.endpoint
    found = probe(endpoint, allowed_hosts=ALLOWED)
    assert found.liveness is Liveness.UNREACHABLE
    assert found.because.startswith("nothing listens at 127.0.0.1:")
    assert SAVED not in found.because


def test_a_browser_that_hides_its_address_is_unknown(browser: Browser) -> None:
    browser.status = 404
    assert liveness(browser.endpoint) is Liveness.UNKNOWN


@pytest.mark.parametrize("status", [301, 302, 401, 500])
def test_other_answers_are_not_a_browser_and_redirects_are_not_followed(
    browser: Browser, status: int
) -> None:
    browser.status = status
    assert liveness(browser.endpoint) is Liveness.UNREACHABLE
    assert len(browser.asked) == 1


@pytest.mark.parametrize("body", [b"", b"hello", b"\xff", b"[" * 100_000, b" " * 5_000_000])
def test_an_unreadable_answer_is_not_a_browser(browser: Browser, body: bytes) -> None:
    browser.body = body
    assert liveness(browser.endpoint) is Liveness.UNREACHABLE


@pytest.mark.parametrize("body", [b"[]", b"3", b"{}", b'{"webSocketDebuggerUrl": 3}'])
def test_an_answer_without_an_address_leads_nowhere(browser: Browser, body: bytes) -> None:
    browser.body = body
    assert liveness(browser.endpoint) is Liveness.REFUSED


def test_a_slow_answer_is_given_up(browser: Browser) -> None:
    browser.body = b" " * 3_000_000
    browser.pause_seconds = 0.2
    began = time.monotonic()
    assert liveness(browser.endpoint) is Liveness.UNREACHABLE
    assert time.monotonic() - began < 5


@pytest.mark.parametrize(
    "host", ["169.254.169.254", "10.0.0.7:9222", "metadata.internal", "[::ffff:169.254.169.254]"]
)
def test_an_address_that_the_browser_names_is_checked_too(browser: Browser, host: str) -> None:
    browser.socket_host = host
    assert liveness(f"http://127.0.0.1:{browser.server_port}") is Liveness.REFUSED


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


@pytest.mark.parametrize("address", ["169.254.169.254", "224.0.0.1", "0.0.0.0"])
def test_some_addresses_are_never_contacted_even_if_allowed(address: str) -> None:
    with pytest.raises(EndpointRefused, match="leads to"):
        resolve(f"http://{address}/", allowed_hosts=("0.0.0.0/0",))


def test_a_name_is_resolved_once_and_that_address_is_used() -> None:
    address = resolve("ws://LOCALHOST:9222/devtools/browser/x?y=1", allowed_hosts=ALLOWED)
    assert address.socket_url == "ws://127.0.0.1:9222/devtools/browser/x?y=1"
    assert resolve("ws://[::1]:9222/a", allowed_hosts=ALLOWED).socket_url == "ws://[::1]:9222/a"


def test_the_name_of_a_secure_endpoint_is_kept_for_its_certificate() -> None:
    address = resolve("wss://localhost/devtools/browser/x", allowed_hosts=ALLOWED)
    assert address.socket_url == "wss://localhost:443/devtools/browser/x"
