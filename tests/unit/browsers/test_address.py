"""The parts of endpoints as people write them."""

from __future__ import annotations

import pytest

from sessions_app.browsers.address import Address, InvalidAddress


@pytest.mark.parametrize(
    ("url", "question"),
    [
        ("http://h:1", "/json/version"),
        ("http://h:1/", "/json/version"),
        ("http://h:1/b2/", "/b2/json/version"),
        ("http://h:1/json/version", "/json/version"),
        ("http://h:1/b2/json/version/", "/b2/json/version"),
        ("http://h:1/json/list?token=T", "/json/version?token=T"),
        ("ws://h:1?token=T", "/json/version?token=T"),
        ("ws://h:1/devtools/browser/ID?token=T&x=1#y", "/json/version?token=T&x=1"),
        ("ws://h:1/b2/devtools/page/ID", "/b2/json/version"),
        ("ws://h:1/session/4711/se/cdp", "/session/4711/se/cdp/json/version"),
        ("http://h:1/a b/ü", "/a%20b/%C3%BC/json/version"),
        ("http://h:1/a%20b?q=a b\r\nX: y", "/a%20b/json/version?q=a%20bX:%20y"),
    ],
)
def test_the_prefix_and_the_query_are_part_of_each_request(url: str, question: str) -> None:
    assert Address.parse(url).question("/json/version") == question


@pytest.mark.parametrize(
    ("url", "reported", "socket_url"),
    [
        ("http://h", "ws://10.0.0.1:9222/devtools/browser/ID", "ws://h:80/devtools/browser/ID"),
        ("https://h", "ws://0.0.0.0/devtools/browser/ID", "wss://h:443/devtools/browser/ID"),
        ("http://h/b2", "ws://h/devtools/browser/ID", "ws://h:80/b2/devtools/browser/ID"),
        ("http://h/b2", "ws://h/b2/devtools/browser/ID", "ws://h:80/b2/devtools/browser/ID"),
        ("http://h/b2", "ws://h/b22/devtools/browser/ID", "ws://h:80/b2/b22/devtools/browser/ID"),
        ("http://h?token=T", "ws://h/devtools/browser/ID?y=1", "ws://h:80/devtools/browser/ID?token=T"),
        ("http://a:b%40@h", "ws://h/devtools/browser/ID", "ws://a:b%40@h:80/devtools/browser/ID"),
        ("ws://[::1]:9/devtools/page/P", "ws://x/devtools/browser/ID", "ws://[::1]:9/devtools/browser/ID"),
        ("ws://h?token=T", "ws://0.0.0.0:3000", "ws://h:80?token=T"),
    ],
)
def test_only_the_path_of_a_reported_address_is_used(url: str, reported: str, socket_url: str) -> None:
    assert Address.parse(url).at_browser(reported).socket_url == socket_url


@pytest.mark.parametrize("reported", ["ws://[", "x:devtools/browser/ID", "devtools", "ws://h/\ud800"])
def test_what_is_not_an_address_with_a_path_is_not_used(reported: str) -> None:
    with pytest.raises(ValueError, match=r"Invalid|no absolute path|surrogates"):
        Address.parse("http://h").at_browser(reported)


def test_ids_and_logins_are_read_and_not_printed() -> None:
    address = Address.parse("ws://ann:p%40ss%3A@H:9222/b/devtools/browser/ID/?token=T0ken")
    assert (address.browser_id, address.page_id, address.prefix) == ("ID", "", "/b")
    assert address.authorization == "Basic YW5uOnBAc3M6"
    assert Address.parse("ws://h/devtools/page/P").page_id == "P"
    assert Address.parse("ws://h/devtools/browser/").browser_id == ""
    assert address.place == "h:9222"
    assert not [secret for secret in ("ann", "p%40", "ID", "T0ken") if secret in repr(address)]


def test_a_name_is_sent_only_where_the_address_was_refused() -> None:
    for url, hosts in {
        "http://chrome:9222": ["127.0.0.2:9222", "chrome:9222"],
        "http://chrome": ["127.0.0.2", "chrome"],
        "https://chrome": ["chrome"],
        "wss://chrome:444": ["chrome:444"],
        "http://127.0.0.2:9222": ["127.0.0.2:9222"],
    }.items():
        assert [route.sent_host for route in Address.parse(url).routes("127.0.0.2")] == hosts


NOT_ADDRESSES = ["", "h:9222", "file:///x", "ws://", "ws://h:0", "ws://h:99999", "ws://[::1", "ws://h:x"]
UNSENDABLE = ["ws://h/\ud800", "ws://h/?\ud800", "ws://\ud800@h/", "ws://h\ud800/", "ws://[::1%lo]/"]


@pytest.mark.parametrize("url", [*NOT_ADDRESSES, *UNSENDABLE])
def test_what_is_not_the_address_of_a_browser_is_refused(url: str) -> None:
    with pytest.raises(InvalidAddress):
        Address.parse(url)
