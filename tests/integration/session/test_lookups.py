"""A search never reads the parts of an endpoint that no screen shows."""

from __future__ import annotations

from typing import Any

import pytest

from sessions_app.models import BrowserSession, SessionSearch
from sessions_app.session.endpoint import Endpoint
from sessions_app.session.lookups import ShownHost, begins_with, mentions
from sessions_app.session.search_text import METADATA_LENGTH
from tests.factories import ENDPOINT, SECRET, build_session, make_session

pytestmark = pytest.mark.django_db


def found(text: str) -> set[str]:
    return set(BrowserSession.objects.filter(mentions(text)).values_list("name", flat=True))


@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("ws://127.0.0.1:9222/devtools/browser/x", "127.0.0.1:9222"),
        ("https://browsers.example:443", "browsers.example:443"),
        ("http://build-7/", "build-7"),
        ("wss://user:secret@host:1/x", "host:1"),
        ("ws://host:secret/x", None),
        ("ws://host:12345678/x", None),
        ("ws://host?token=secret", "host"),
        ("ws://host#secret", "host"),
        ("ws://host%2Fsecret/x", None),
        ("ws:secret", ""),
        ("ws:/secret/x", ""),
        ("secret://host/x", None),
        ("x/ws://host/y", None),
        ("//secret/x", None),
        ("secret", None),
        ("", None),
    ],
)
def test_a_host_is_searched_only_as_it_is_shown(url: str, host: str | None) -> None:
    session = build_session("one")
    session.cdp_url = url
    session.save()
    assert BrowserSession.objects.values_list(ShownHost("shown_endpoint"), flat=True).get() == host
    if host is not None:
        assert str(Endpoint.parse(url)) == host


def test_name_host_and_session_id_are_searched_in_any_case() -> None:
    make_session("Login-one", session_id="ABC", cdp_url="ws://Build-7:9222/devtools/browser/x")
    make_session("other", session_id="def")
    assert found("login") == found("LOGIN") == found("abc") == found("build-7:92") == {"Login-one"}
    assert found("127.0.0.1:9222") == {"other"}
    assert found(SECRET) == found("devtools") == found("ws:") == set()


def test_metadata_values_are_searched_at_any_depth_and_keys_are_not() -> None:
    make_session("one", metadata={"suite": "Smoke", "build": {"number": 4711, "tags": ["nightly", "Zürich"]}})
    make_session("other", metadata={"suite": "other"})
    assert found("smoke") == found("711") == found("nightly") == found("zürich"[1:]) == {"one"}
    assert found("suite") == found("number") == set()


@pytest.mark.parametrize(
    "metadata",
    [
        {"again": ENDPOINT},
        {"cdp_url": f"http://127.0.0.1:9222/{SECRET}"},
        {"deep": [{"CDP_URL": f"http://127.0.0.1:9222/{SECRET}"}]},
        {"note": f"the id is {SECRET}, keep it"},
        {"page_url": f"https://shop.example/?token={SECRET}"},
        {"log": f"ws://127.0.0.1:9222/devtools/browser/\n{SECRET}"},
        {"log": f"ws://user:\t{SECRET}@host/"},
        {"log": f"/devtools/\r{SECRET}"},
        {"title": "x" * (METADATA_LENGTH - 40), "url": ENDPOINT},
        {"title": "x" * (2 * METADATA_LENGTH - 40), "url": ENDPOINT},
        {"many": [ENDPOINT] * 40, "note": f"the id is {SECRET}"},
    ],
)
def test_no_search_finds_an_endpoint_in_the_metadata(metadata: dict[str, Any]) -> None:
    make_session("one", metadata=metadata, cdp_url="" if "log" in metadata else ENDPOINT)
    assert found(SECRET) == found(SECRET[:12]) == found(SECRET[-12:]) == set()


@pytest.mark.parametrize("metadata", [None, "smoke", ["smoke"], {"a": "x" * METADATA_LENGTH, "b": "smoke"}])
def test_other_keys_and_the_end_of_long_metadata_are_not_searched(metadata: object) -> None:
    make_session("one", metadata=metadata)
    assert found("smoke") == set()
    assert len(SessionSearch.objects.get().text.splitlines()[-1]) <= METADATA_LENGTH


def test_metadata_is_searched_up_to_the_length_of_its_column() -> None:
    make_session("one", metadata={"a": "smo\0ke", "b": "\ud800 tail"})
    assert found("tail") == {"one"}


@pytest.mark.parametrize("text", ["%", "_", "\\", "a+" * 100])
def test_pattern_characters_are_literal(text: str) -> None:
    make_session("plain")
    assert found(text) == set()
    assert not BrowserSession.objects.filter(begins_with(text)).exists()
    make_session(f"{text[:200]}x")
    assert found(text) == {f"{text[:200]}x"}
    assert BrowserSession.objects.filter(begins_with(text)).count() == 1


@pytest.mark.parametrize("text", ["lo", "LO", "é", "\ud7ff", "\U0010ffff", "z\U0010ffff"])
def test_the_beginning_of_a_name_is_case_sensitive(text: str) -> None:
    for name in (text, f"{text}\U0010ffff", f"{text}a", f"x{text}", "l", "lp", "M", "{"):
        make_session(name)
    names = BrowserSession.objects.filter(begins_with(text)).values_list("name", flat=True)
    assert set(names) == {text, f"{text}\U0010ffff", f"{text}a"}
