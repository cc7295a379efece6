"""How tabs are named in messages, and which tabs count as unresponsive."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

import pytest

from sessions_app.browsers import tabs
from sessions_app.browsers.guard import NoAnswer, resolve
from sessions_app.browsers.tabs import Tab, find_unresponsive
from tests import hostile

SECRET = "T0kenOfThisTest"


@pytest.mark.parametrize(
    ("title", "url", "text"),
    [
        ("Shop", f"https://shop.example/cart?token={SECRET}#x", "“Shop” (https://shop.example/cart)"),
        ("", f"https://ann:{SECRET}@shop.example:81/cart", "“https://shop.example/cart”"),
        ("Shop", f"data:text/html,{SECRET}", "“Shop” (data:…)"),
        ("about:blank", "about:blank", "“about:blank”"),
        (f"ws://h:1/devtools/browser/{SECRET}", "https://a/", "“ws://h:1/…” (https://a/)"),
        ("Shop", f"http://[{SECRET}", "“Shop” (an address that cannot be read)"),
        ("x" * 500, f"https://h/{'y' * 500}", f"“{'x' * 99}…” (https://h/{'y' * 89}…)"),
        ("", "", "“a tab without an address”"),
    ],
)
def test_a_tab_is_named_without_secrets(title: str, url: str, text: str) -> None:
    assert str(Tab("1", title, url)) == text


def frame(message: dict[str, Any]) -> bytes:
    data = json.dumps(message).encode()
    assert len(data) < 65_536
    return (
        b"\x81" + (bytes([len(data)]) if len(data) < 126 else b"\x7e" + len(data).to_bytes(2, "big")) + data
    )


def browser_that(reply: Callable[[dict[str, Any]], list[dict[str, Any]]]) -> hostile.Answer:
    """Return a browser with three tabs that answers commands as the test demands."""

    def answer(connection: hostile.Connection) -> None:
        connection.upgrade()
        received = b""
        while more := connection.sock.recv(65_536):
            received += more
            while (command := _take(received)) is not None:
                message, received = command
                for each in _known(message) or reply(message):
                    connection.send(frame(each))

    return answer


def _take(received: bytes) -> tuple[dict[str, Any], bytes] | None:
    """Return the first command of masked frames, and the bytes after it."""
    if len(received) < 2:
        return None
    size, start = received[1] & 0x7F, 2
    if size == 126:
        size, start = int.from_bytes(received[2:4], "big"), 4
    mask, data = received[start : start + 4], received[start + 4 : start + 4 + size]
    if len(data) < size:
        return None
    text = bytes(byte ^ mask[number % 4] for number, byte in enumerate(data))
    return json.loads(text), received[start + 4 + size :]


def _known(message: dict[str, Any]) -> list[dict[str, Any]]:
    infos = [{"targetId": str(n), "type": "page", "title": f"tab {n}", "url": "x:y"} for n in range(3)]
    results = {
        "Target.getBrowserContexts": {"browserContextIds": []},
        "Target.getTargets": {"targetInfos": infos},
    }
    if message["method"] in results:
        return [{"id": message["id"], "result": results[message["method"]]}]
    if message["method"] == "Target.attachToTarget":
        target = message["params"]["targetId"]
        event = {"sessionId": f"s{target}", "targetInfo": {"targetId": target}}
        return [
            {"method": "Target.attachedToTarget", "params": event},
            {"id": message["id"], "result": event},
        ]
    return []


def found_with(reply: Callable[[dict[str, Any]], list[dict[str, Any]]]) -> tabs.Unresponsive:
    with hostile.Server(browser_that(reply)).running() as server:
        return find_unresponsive(resolve(f"ws://{server.place}/", allowed_hosts=("127.0.0.1",)))


def result_of(message: dict[str, Any]) -> dict[str, Any]:
    return {"id": message["id"], "sessionId": message["sessionId"], "result": {"result": {"value": 1}}}


@pytest.fixture(autouse=True)
def short_silence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tabs, "SILENCE_SECONDS", 0.3)


def test_a_silent_tab_hangs_and_a_crashed_one_has_crashed() -> None:
    def reply(message: dict[str, Any]) -> list[dict[str, Any]]:
        session, method = message["sessionId"], message["method"]
        if session == "s0" and method == "Runtime.evaluate":
            return [result_of(message)]
        if session == "s1" and method == "Inspector.enable":
            return [{"method": "Inspector.targetCrashed", "sessionId": session, "params": {}}]
        return []

    found = found_with(reply)
    assert [tab.title for tab in found.hanging] == ["tab 2"]
    assert [tab.title for tab in found.crashed] == ["tab 1"]


def test_the_examination_of_all_tabs_has_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tabs, "EXAMINE_SECONDS", 0.1)
    with pytest.raises(NoAnswer, match="did not answer in time"):
        found_with(lambda message: [])


def test_a_tab_that_is_closed_in_the_meantime_does_not_hang() -> None:
    def reply(message: dict[str, Any]) -> list[dict[str, Any]]:
        if message["method"] != "Runtime.evaluate":
            return []
        closed = {"sessionId": message["sessionId"]}
        return [{"method": "Target.detachedFromTarget", "params": closed}]

    assert found_with(reply) == tabs.Unresponsive()


@pytest.mark.parametrize("message", [{"method": "Target.attachedToTarget"}, {"result": None}, {"result": 7}])
def test_messages_of_another_shape_are_not_those_of_a_browser(message: dict[str, Any]) -> None:
    with pytest.raises(NoAnswer, match=re.escape("is not a browser")):
        found_with(lambda command: [message])
