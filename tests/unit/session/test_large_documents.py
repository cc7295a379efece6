"""No document stalls the panel: reading, masking and showing take the time of reading its JSON."""

from __future__ import annotations

import gc
import json
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sessions_app.admin.sessions.document_view import show_document
from sessions_app.session.document import parse_document, read_document
from sessions_app.session.masked_json import mask_json
from tests.factories import ENDPOINT, document, nested_document

SIZE = 5_000_000
MOST_READS = 10
MOST_GROWTH = 2.5
# Below this, fixed costs and the resolution of the clock hide the growth.
SHORTEST_SECONDS = 0.03


def compact(**changes: Any) -> bytes:
    """Return a document without white space, which would be most of a nested one."""
    return json.dumps(document(**changes), separators=(",", ":")).encode()


SHAPES: dict[str, Callable[[int], bytes]] = {
    "empty lists": lambda size: compact(metadata={"a": [[]] * (size // 4)}),
    "empty objects": lambda size: compact(metadata={"a": [{}] * (size // 4)}),
    "many keys": lambda size: compact(metadata={f"key {n}": n for n in range(size // 20)}),
    "many secret keys": lambda size: compact(metadata={f"token{n}": "x" for n in range(size // 20)}),
    "many keys at the top": lambda size: compact(**{f"key{n}": n for n in range(size // 20)}),
    "one long key": lambda size: compact(metadata={"k" * size: 1}),
    "one long string": lambda size: compact(metadata={"a": "x" * size}),
    "many words": lambda size: compact(metadata={"a": "word " * (size // 5)}),
    "many assignments": lambda size: compact(metadata={"a": "token: [x " * (size // 10)}),
    "many addresses": lambda size: compact(metadata={"a": ["https://a:b@h/?token=1"] * (size // 26)}),
    "many endpoints": lambda size: compact(
        metadata=[{"wsEndpoint": f"ws://h/{n:020d}"} for n in range(size // 50)]
    ),
    "escapes": lambda size: compact(metadata={"a": '\\"/%2f' * (size // 10)}),
    "characters without a glyph": lambda size: compact(metadata={"a": "\u0001é\ud800" * (size // 18)}),
    "long numbers": lambda size: compact(metadata={"a": [10**4_000] * (size // 4_003)}),
    "floats": lambda size: compact(metadata={"a": [1.5] * (size // 5)}),
    "nested lists": lambda size: compact(
        metadata={"a": [json.loads("[" * 400 + '"x"' + "]" * 400), "word " * 600] * (size // 3_800)}
    ),
    "too deeply nested": nested_document,
    "a long session id": lambda size: compact(session_id="x/" * (size // 2)),
    "a long endpoint": lambda size: compact(cdp_url="ws://h/" + "p/" * (size // 2)),
    "an endpoint of many parts": lambda size: compact(
        cdp_url="ws://h/" + "".join(f"{n:013d}/" for n in range(size // 14))
    ),
    "white space": lambda size: b" " * size + compact(),
    "torn": lambda size: compact(metadata={"a": "[{token: x " * (size // 11)})[:-9],
}


def read(data: bytes) -> None:
    with suppress(ValueError, RecursionError):
        json.loads(data)


def parse(data: bytes) -> None:
    parse_document(data, time_zone=UTC)


def show(data: bytes) -> None:
    show_document(data, cdp_url=ENDPOINT)


def show_metadata(data: bytes) -> None:
    mask_json((read_document(data) or {}).get("metadata"), endpoints=[ENDPOINT])


class Times:
    """The shortest processor time of each call; other processes do not count."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.shortest: dict[Callable[[bytes], None], float] = {}

    def of(self, work: Callable[[bytes], None], *, again: bool) -> float:
        if again or work not in self.shortest:
            # A collection of garbage takes the time of all objects of the test run.
            gc.disable()
            start = time.process_time()
            work(self.data)
            seconds = time.process_time() - start
            gc.enable()
            self.shortest[work] = min(seconds, self.shortest.get(work, seconds))
        return self.shortest[work]


def find_slow(
    whole: Times, half: Times | None = None, *, floor_seconds: float = SHORTEST_SECONDS
) -> list[str]:
    """Return the calls that take too long, measured again up to six times while they do."""
    for attempt in range(6):
        again = attempt > 0
        reading = whole.of(read, again=again)
        # Reading itself may grow faster than the document, beyond the caches of the processor.
        growth = max(1.0, reading / half.of(read, again=again) / 2) * MOST_GROWTH if half else 0
        slow = []
        for work in (parse, show, show_metadata):
            seconds = whole.of(work, again=again)
            if seconds <= floor_seconds:
                continue
            if seconds > MOST_READS * reading or (half and seconds > growth * half.of(work, again=again)):
                slow.append(f"{work.__name__}: {seconds:.3f} s; reading takes {reading:.3f} s")
        if not slow:
            return []
    return slow


@pytest.mark.parametrize("shape", SHAPES)
def test_a_document_of_any_shape_takes_a_few_times_the_time_of_its_json(shape: str) -> None:
    assert find_slow(Times(SHAPES[shape](SIZE)), Times(SHAPES[shape](SIZE // 2))) == []


pieces = st.sampled_from(
    ["[]", "{}", "[[]]", '""', '"a"', "0", "null", '{"token":1}', '{"wsEndpoint":"ws://h/1"}', '"\\u0000"']
)
texts = st.text(st.sampled_from("aA/:=?&\\\"'% \n[{@.,0é\x00"), min_size=1, max_size=12)


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(piece=pieces | texts.map(json.dumps), text=texts, key=texts)
def test_repeated_pieces_take_linear_time(piece: str, text: str, key: str) -> None:
    size = SIZE // 10
    for data in (
        b'{"metadata": [%s]}' % b",".join([piece.encode()] * (size // len(piece))),
        compact(metadata={key: text * (size // len(text)), "again": text}, cdp_url=f"ws://h/{text}"),
        compact(cdp_url=text * (size // len(text)), metadata={"a": text * (size // len(text))}),
    ):
        # Anything but linear would take many seconds.
        assert find_slow(Times(data), floor_seconds=0.2) == []


@pytest.mark.parametrize("depth", [59, 60, 61, 900])
def test_deep_values_are_left_out(depth: int) -> None:
    value: Any = "found"
    for _ in range(depth):
        value = [value]
    shown = show_document(json.dumps(document(metadata={"a": value})).encode(), cdp_url=ENDPOINT)
    assert ("found" in shown.text, shown.is_truncated) == (depth < 60 - 1, depth >= 60 - 1)
