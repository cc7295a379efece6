"""Credentials and endpoints in documents: masked on pages, in commands and downloads, and not found."""

from __future__ import annotations

import json
from typing import Any

import pytest
from django.contrib.auth.models import Permission, User
from django.test import Client

from sessions_app.models import BrowserSession
from sessions_app.session.lookups import mentions
from tests.clients import LIST, html_of, names, page_of, run
from tests.factories import ENDPOINT, SECRET, document_bytes, make_session, rewrite

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("at_noon")]

HIDDEN = "Hunter2-hidden"
CREDENTIALS: dict[str, Any] = {
    "password": HIDDEN,
    "accessToken": HIDDEN,
    "cookies": [{"name": "sid", "value": HIDDEN}],
    "Authorization": f"Bearer {HIDDEN}",
    "api_key": HIDDEN,
    "storage_state": {"origins": [{"localStorage": [{"name": "a", "value": HIDDEN}]}]},
    "headers": {"X-Trace": HIDDEN},
    "wsEndpoint": f"https://h/{HIDDEN}",
    "inner": {"cdp_url": f"https://h/{HIDDEN}", "page_url": f"https://h/?token={HIDDEN}", "shown": "yes"},
    "log": f"curl --password {HIDDEN}",
}


@pytest.fixture
def as_viewer(client: Client, viewer: User) -> Client:
    client.force_login(viewer)
    return client


def shown_by_command(session: BrowserSession) -> str:
    words = ("session_info", session.name, "--namespace", session.namespace)
    return run(*words).out + run(*words, "--format", "json").out


@pytest.mark.parametrize("padding", [0, 600_000])
def test_credentials_are_masked_and_not_found(as_viewer: Client, padding: int) -> None:
    session = make_session("one", metadata={**CREDENTIALS, "padding": "x " * (padding // 2)})
    for shown in (html_of(as_viewer, page_of(session)), shown_by_command(session)):
        assert HIDDEN not in shown
        assert "yes" in shown
    assert not BrowserSession.objects.filter(mentions(HIDDEN)).exists()
    assert names(html_of(as_viewer, f"{LIST}?q={HIDDEN}&_facets=True")) == []


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_credentials_in_a_torn_document_are_masked(as_viewer: Client, encoding: str) -> None:
    data = json.dumps({"metadata": CREDENTIALS, "last": "z"})[:-4].encode(encoding)
    html = html_of(as_viewer, page_of(make_session(document=data)))
    assert HIDDEN not in html
    assert "yes" in html


def test_credentials_in_the_last_good_document_are_masked(as_viewer: Client) -> None:
    good = document_bytes(metadata=CREDENTIALS)
    session = make_session(document=b"{")
    rewrite(BrowserSession.objects.filter(pk=session.pk), last_good_document=good)
    assert HIDDEN not in html_of(as_viewer, page_of(session))


def test_credentials_are_shown_together_with_the_endpoint(as_viewer: Client, viewer: User) -> None:
    session = make_session(metadata={"password": HIDDEN})
    assert as_viewer.post(f"{LIST}{session.pk}/endpoint/").status_code == 403
    viewer.user_permissions.add(Permission.objects.get(codename="view_endpoint"))
    assert HIDDEN not in html_of(as_viewer, page_of(session))
    assert HIDDEN in as_viewer.post(f"{LIST}{session.pk}/endpoint/").content.decode()


@pytest.mark.parametrize(
    "changes",
    [
        {"session_id": SECRET},
        {"session_id": ENDPOINT},
        {"session_id": SECRET.upper()},
        {"browser_type": ENDPOINT},
        {"browser_type": f"chromium {SECRET}"},
        {"session_id": "http://h/b1/0123456789abcdef", "cdp_url": "http://h/b1/0123456789abcdef"},
        {"metadata": {f"seen {SECRET}": 1}},
        {"wsEndpoint": f"https://h/{SECRET}", "cdp_url": "", "metadata": {"id": SECRET}},
    ],
)
def test_the_own_endpoint_is_masked_in_every_field(as_viewer: Client, changes: dict[str, Any]) -> None:
    session = make_session("one", **changes)
    for shown in (html_of(as_viewer, LIST), html_of(as_viewer, page_of(session)), shown_by_command(session)):
        assert SECRET.lower() not in shown.lower()
        assert "0123456789abcdef" not in shown
    assert not BrowserSession.objects.filter(mentions(SECRET)).exists()


def test_columns_written_by_sql_are_masked_too(as_viewer: Client) -> None:
    session = make_session("one")
    BrowserSession.objects.filter(pk=session.pk).update(session_id=SECRET, browser_type=f"x {ENDPOINT}")
    listed = run("list_sessions").out
    for shown in (
        html_of(as_viewer, LIST),
        html_of(as_viewer, page_of(session)),
        shown_by_command(session),
        listed,
    ):
        assert SECRET not in shown


def test_a_pasted_endpoint_is_masked_in_the_download_of_its_plan(client: Client, operator: User) -> None:
    client.force_login(operator)
    make_session(f"named {ENDPOINT}")
    chosen = {"action": "clean_up", "select_across": "1", "_selected_action": "1"}
    plan = client.post(f"{LIST}?q={ENDPOINT}", chosen)["Location"]
    [address] = [link for link in html_of(client, plan).split('"') if link.endswith(".json")]
    response: Any = client.get(address)
    criteria = json.loads(response.getvalue())["criteria"]
    assert criteria["selection"]["text"] == "ws://127.0.0.1:9222/…"
