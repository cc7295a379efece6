"""Names that look alike are marked on pages and in the text of commands."""

from __future__ import annotations

import json
import unicodedata
from pathlib import Path

import pytest
from django.test import Client

from sessions_app.models import ArchivedSession, BrowserSession, SessionDirectory
from tests.clients import ARCHIVE, LIST, RUNS, html_of, run
from tests.factories import plan, put, swept, sync

pytestmark = pytest.mark.django_db

COMPOSED = unicodedata.normalize("NFC", "é")
DECOMPOSED = unicodedata.normalize("NFD", "é")
MARK = r"(e\u0301)"


@pytest.fixture(autouse=True)
def both(directory: SessionDirectory, folder: Path) -> None:
    put(folder, COMPOSED)
    put(folder, DECOMPOSED)
    sync(directory)
    assert set(BrowserSession.objects.values_list("name", flat=True)) == {COMPOSED, DECOMPOSED}


def test_the_pages_of_live_sessions_mark_them(as_root: Client) -> None:
    assert html_of(as_root, LIST).count(MARK) == 1
    for name, marks in ((COMPOSED, 0), (DECOMPOSED, 1)):
        pk = BrowserSession.objects.get(name=name).pk
        page = html_of(as_root, f"{LIST}{pk}/change/")
        assert page.count(MARK) == marks
    planned = plan(all=True)
    page = html_of(as_root, f"{RUNS}{planned.pk}/plan/")
    assert page.count(MARK) == 1


def test_the_pages_of_archived_sessions_mark_them(as_root: Client) -> None:
    removed = swept(all=True)
    assert html_of(as_root, ARCHIVE).count(MARK) == 1
    page = html_of(as_root, f"{RUNS}{removed.pk}/change/")
    assert page.count(MARK) == 1
    pk = ArchivedSession.objects.get(name=DECOMPOSED).pk
    assert MARK in html_of(as_root, f"{ARCHIVE}{pk}/change/")


def test_commands_mark_them_in_text_and_not_in_json() -> None:
    assert run("list_sessions").out.count(r"(shop/e\u0301)") == 1
    assert r"(shop/e\u0301)" in run("session_info", DECOMPOSED, "--namespace", "shop").out
    listed = json.loads(run("list_sessions", "--format", "json").out)["sessions"]
    assert {session["name"] for session in listed} == {COMPOSED, DECOMPOSED}
