"""The page of a session: its problems, its document, its pin and its cleanup."""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.urls import reverse

from sessions_app.models import BrowserSession, CleanupRun
from tests.clients import LIST, page_of
from tests.factories import make_session, nested_document

pytestmark = pytest.mark.usefixtures("at_noon")


def test_the_page_of_a_session_shows_problems_advice_and_warnings(see: Any) -> None:
    session = make_session("two", session_id="", browser_type="firefox", cdp_url="ws://10.1.2.3:1/x")
    html = see(page_of(session))
    assert "The session id is missing." in html
    assert "Save the session again, or clean it up." in html
    assert "Firefox and WebKit cannot be reconnected to over CDP." in html
    assert "RAPTOR_CDP_ALLOWED_HOSTS" in html


def test_markup_in_a_document_is_escaped(see: Any) -> None:
    session = make_session(
        "<script>alert(1)</script>",
        namespace="<b>x",
        session_id="<i>",
        browser_type="<u>",
        page="</pre><img>",
    )
    for html in (see(page_of(session)), see(), see(reverse("admin:sessions_app_storage"))):
        for markup in ("<script>alert", "<b>x", "<i>", "<u>", "</pre><img>"):
            assert markup not in html


@pytest.mark.parametrize(
    ("document", "shown"),
    [
        (b"\xff\xfe{\x00", "{"),
        (b"\x00\x01\xffnot json", "not json"),
        (b"", "The document is empty."),
        (b'{"a": "\\ud800 \\u202e \\u0000"}', "\\ud800 \\u202e \\u0000"),
        (nested_document(900), "deep"),
        ('{"a": "Übersicht"}'.encode(), "Übersicht"),
    ],
)
def test_any_bytes_are_shown_readable(see: Any, document: bytes, shown: str) -> None:
    assert shown in see(page_of(make_session(document=document)))


def test_a_long_document_is_truncated_with_a_note(see: Any) -> None:
    for document in (b'{"a": "' + b"x" * 400_000 + b'"}', b"y" * 700_000):
        html = see(page_of(make_session(document=document)))
        assert len(html) < 40_000
        assert "Only the beginning is shown" in html


def test_users_who_may_change_a_session_can_pin_and_unpin_it(
    client: Client, operator: User, viewer: User
) -> None:
    session = make_session()
    address = f"{LIST}{session.pk}/pin/"
    client.force_login(viewer)
    assert client.post(address, {"pin": "1"}).status_code == 403
    client.force_login(operator)
    assert client.get(address).status_code == 405
    for value in (True, False):
        changed_at = BrowserSession.objects.get().updated_at
        assert client.post(address, {"pin": "1" if value else "0"}).status_code == 302
        assert BrowserSession.objects.get().is_pinned is value
        assert BrowserSession.objects.get().updated_at >= changed_at


def test_a_session_is_cleaned_up_from_its_page_through_a_plan(client: Client, operator: User) -> None:
    session, other = make_session(), make_session()
    address = f"{LIST}{session.pk}/clean-up/"
    client.force_login(operator)
    assert f'formaction="{address}">Clean up…</button>' in client.get(page_of(session)).content.decode()
    plan = client.post(address)["Location"]
    run = CleanupRun.objects.get()
    assert plan == f"/admin/sessions_app/cleanuprun/{run.pk}/plan/"
    assert (run.state, run.trigger, run.actor) == (CleanupRun.State.PLANNED, "admin", "operator")
    assert (run.criteria.session_ids, run.matched_count) == ((session.pk,), 1)
    assert BrowserSession.objects.count() == 2
    client.post(plan)
    assert list(BrowserSession.objects.all()) == [other]


def test_a_pinned_session_is_refused_with_a_message(client: Client, operator: User) -> None:
    session = make_session("kept", is_pinned=True)
    client.force_login(operator)
    response = client.post(f"{LIST}{session.pk}/clean-up/", follow=True)
    assert response.redirect_chain == [(page_of(session), 302)]
    assert "“kept” is pinned. Unpin it first." in response.content.decode()
    assert not CleanupRun.objects.exists()


def test_a_cleanup_from_the_page_needs_post_and_permission(
    client: Client, operator: User, viewer: User, outsider: User
) -> None:
    address = f"{LIST}{make_session().pk}/clean-up/"
    for user, status in ((outsider, 302), (viewer, 403)):
        client.force_login(user)
        assert client.post(address).status_code == status
    assert "Clean up…" not in client.get(address.replace("clean-up", "change")).content.decode()
    client.force_login(operator)
    assert client.get(address).status_code == 405
    assert client.post(f"{LIST}999999/clean-up/").status_code == 404
    assert not CleanupRun.objects.exists()


@pytest.mark.parametrize("address", ["add/", "1/delete/"])
def test_sessions_cannot_be_added_or_deleted_by_form(client: Client, root: User, address: str) -> None:
    make_session()
    client.force_login(root)
    assert client.get(LIST + address).status_code in (302, 403)
    assert client.post(LIST + address, {"post": "yes"}).status_code in (302, 403)
    assert BrowserSession.objects.count() == 1
    assert "delete_selected" not in client.get(LIST).content.decode()
    assert "delete_selected" not in client.get("/admin/auth/user/").content.decode()


@pytest.mark.parametrize("address", ["nonsense/change/", "99999999999999999999999/change/", "0/change/"])
def test_a_missing_session_redirects_with_a_message(client: Client, viewer: User, address: str) -> None:
    client.force_login(viewer)
    response = client.get(LIST + address, follow=True)
    assert "t exist" in response.content.decode()
