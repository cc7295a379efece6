"""Two names that look alike are distinguishable wherever people read them."""

from __future__ import annotations

import json
import unicodedata
from pathlib import Path

import pytest
from django.contrib.auth.models import User
from django.test import Client

from sessions_app.models import ArchivedSession, BrowserSession, SessionDirectory
from tests.clients import run
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


def test_the_pages_of_live_sessions_tell_them_apart(client: Client, root: User) -> None:
    client.force_login(root)
    assert client.get("/admin/sessions_app/browsersession/").content.decode().count(MARK) == 1
    for name, marks in ((COMPOSED, 0), (DECOMPOSED, 1)):
        pk = BrowserSession.objects.get(name=name).pk
        page = client.get(f"/admin/sessions_app/browsersession/{pk}/change/").content.decode()
        assert page.count(MARK) == marks
    planned = plan(all=True)
    page = client.get(f"/admin/sessions_app/cleanuprun/{planned.pk}/plan/").content.decode()
    assert page.count(MARK) == 1


def test_the_pages_of_archived_sessions_tell_them_apart(client: Client, root: User) -> None:
    client.force_login(root)
    taken = swept(all=True)
    assert client.get("/admin/sessions_app/archivedsession/").content.decode().count(MARK) == 1
    page = client.get(f"/admin/sessions_app/cleanuprun/{taken.pk}/change/").content.decode()
    assert page.count(MARK) == 1
    pk = ArchivedSession.objects.get(name=DECOMPOSED).pk
    assert MARK in client.get(f"/admin/sessions_app/archivedsession/{pk}/change/").content.decode()


def test_the_text_of_the_commands_tells_them_apart_and_json_has_the_names() -> None:
    assert run("list_sessions").out.count(r"(shop/e\u0301)") == 1
    assert r"(shop/e\u0301)" in run("session_info", DECOMPOSED, "--namespace", "shop").out
    listed = json.loads(run("list_sessions", "--format", "json").out)["sessions"]
    assert {session["name"] for session in listed} == {COMPOSED, DECOMPOSED}
