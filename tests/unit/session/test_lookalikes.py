from __future__ import annotations

import unicodedata

import pytest

from sessions_app.session.lookalikes import reveal

DECOMPOSED = unicodedata.normalize("NFD", "é")


@pytest.mark.parametrize("name", ["", "a b", "checkout", "ünïcode", "日本語", "é", "😀", "Ω", "שלום", "한글"])
def test_an_ordinary_name_is_not_escaped(name: str) -> None:
    assert reveal(name) == ""


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        (DECOMPOSED, r"e\u0301"),
        (f"x{DECOMPOSED}é", r"xe\u0301é"),
        ("a\u200bb", r"a\u200bb"),
        ("a\u202eb", r"a\u202eb"),
        ("a\u200fb", r"a\u200fb"),
        ("a\u00a0b", r"a\xa0b"),
        ("a\u3000b", r"a\u3000b"),
        ("a\u00adb", r"a\xadb"),
        ("a\ufe0f", r"a\ufe0f"),
        ("a\u3164", r"a\u3164"),
        ("a\nb", r"a\nb"),
        ("\u212b", r"\u212b"),
        ("\ufb01le", r"\ufb01le"),
        (unicodedata.normalize("NFD", "한"), r"\u1112\u1161\u11ab"),
    ],
)
def test_invisible_and_lookalike_characters_are_escaped(name: str, shown: str) -> None:
    assert reveal(name) == shown
