from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta, timezone
from zoneinfo import ZoneInfo

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from sessions_app.session.document import (
    TEXT_LENGTH,
    DocumentFields,
    parse_document,
    read_document,
    write_document,
)
from tests.factories import ENDPOINT, document, document_bytes

BERLIN = ZoneInfo("Europe/Berlin")

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters()),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(st.characters()), inner, max_size=4),
    max_leaves=12,
)
documents_with_anything = st.fixed_dictionaries(
    {},
    optional={
        key: json_values | st.text(st.characters()) | st.datetimes().map(str)
        for key in ("session_id", "cdp_url", "browser_type", "created_at", "last_accessed", "metadata", "x")
    },
)


def parse_utc(data: bytes) -> DocumentFields:
    return parse_document(data, time_zone=UTC)


def assert_storable(fields: DocumentFields) -> None:
    for text in fields[:3]:
        assert isinstance(text, str)
        assert "\0" not in text
        text.encode()  # a lone surrogate would raise
    assert len(fields.session_id) <= TEXT_LENGTH
    assert len(fields.browser_type) <= TEXT_LENGTH
    for instant in (fields.created_at, fields.last_accessed):
        if instant is not None:
            assert instant.utcoffset() == timedelta(0)
            # Conversion to any time zone stays within the years that Python supports.
            instant.astimezone(timezone(timedelta(hours=14)))
            instant.astimezone(timezone(timedelta(hours=-14)))


@given(st.binary())
@example(b"")
@example(b"[" * 100_000)
@example(b'{"session_id": ' + b"9" * 5_000 + b"}")
@example(b'{"session_id": "\\ud800"}')
@example(b'{"session_id": "a\\u0000b"}')
@example(b'{"x": NaN}')
@example(b"\xff\xfe{\x00}\x00")
def test_any_bytes_are_parsed_into_what_a_database_can_store(data: bytes) -> None:
    assert_storable(parse_utc(data))


@given(json_values)
def test_any_json_is_parsed_into_what_a_database_can_store(value: object) -> None:
    fields = parse_utc(json.dumps(value).encode())
    assert_storable(fields)
    assert fields.is_corrupted == (not isinstance(value, dict))


@given(documents_with_anything)
def test_any_values_under_the_known_keys_are_parsed(content: dict[str, object]) -> None:
    fields = parse_utc(json.dumps(content).encode())
    assert_storable(fields)
    assert not fields.is_corrupted


@given(documents_with_anything)
def test_a_written_document_is_read_without_loss(content: dict[str, object]) -> None:
    again = read_document(write_document(content))
    # Compared as text, because NaN is not equal to itself.
    assert json.dumps(again) == json.dumps(content)


def test_a_document_is_written_as_raptor_lays_it_out() -> None:
    content = document(metadata={"page_title": "Übersicht 🦖"}, team="payments")
    assert write_document(content) == json.dumps(content, indent=2).encode()


def test_the_columns_hold_the_values_of_the_document() -> None:
    fields = parse_utc(document_bytes(session_id="  cart \n"))
    assert fields == (
        "cart",
        ENDPOINT,
        "chromium",
        datetime(2026, 11, 20, 9, tzinfo=UTC),
        datetime(2026, 11, 22, 11, tzinfo=UTC),
        False,
        None,
    )


@pytest.mark.parametrize(
    ("written", "instant"),
    [
        ("2026-07-01T12:00:00", datetime(2026, 7, 1, 10, tzinfo=UTC)),
        ("2026-11-21T12:00:00.123456", datetime(2026, 11, 21, 11, 0, 0, 123456, tzinfo=UTC)),
        ("2026-11-21T12:00:00+05:30", datetime(2026, 11, 21, 6, 30, tzinfo=UTC)),
        ("2026-11-21T12:00:00Z", datetime(2026, 11, 21, 12, tzinfo=UTC)),
    ],
)
def test_naive_times_are_local_and_aware_ones_keep_their_instant(written: str, instant: datetime) -> None:
    fields = parse_document(document_bytes(last_accessed=written), time_zone=BERLIN)
    assert fields.last_accessed == instant


@pytest.mark.parametrize(
    "written",
    ["", "yesterday", "2026-13-45T99:00:00", 1763800000, None, ["2026-11-21"], "0001-01-01", "9999-12-31"],
)
def test_a_value_that_is_not_a_time_counts_as_unreadable(written: object) -> None:
    assert parse_document(document_bytes(last_accessed=written), time_zone=BERLIN).last_accessed is None


def test_a_byte_order_mark_does_not_corrupt_a_document() -> None:
    assert not parse_utc(b"\xef\xbb\xbf" + document_bytes()).is_corrupted


def test_the_last_of_two_equal_keys_counts_as_in_python() -> None:
    assert parse_utc(b'{"session_id": "a", "session_id": "b"}').session_id == "b"
