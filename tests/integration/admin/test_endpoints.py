"""The button that shows the endpoint of a session: its permission and its log entry."""

from __future__ import annotations

import logging
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Group, Permission, User
from django.test import Client

from sessions_app.models import BrowserSession
from tests.clients import LIST, page_of
from tests.factories import ENDPOINT, SECRET, make_session, swept

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("at_noon")]

BUTTON = "Show endpoint</button>"


@pytest.fixture
def keeper(viewer: User) -> User:
    """A viewer with the permission to view endpoints."""
    viewer.user_permissions.add(Permission.objects.get(codename="view_endpoint"))
    return viewer


def address_of(session: BrowserSession) -> str:
    return f"{LIST}{session.pk}/endpoint/"


def test_the_endpoint_is_shown_with_permission_and_logged(
    client: Client, keeper: User, caplog: pytest.LogCaptureFixture
) -> None:
    session = make_session("cart", namespace="shop")
    client.force_login(keeper)
    page = client.get(page_of(session)).content.decode()
    assert f'form="session-actions" formaction="{address_of(session)}">{BUTTON}' in page
    assert "csrfmiddlewaretoken" in page
    assert SECRET not in page
    with caplog.at_level(logging.INFO):
        response = client.post(address_of(session))
    assert response.status_code == 200
    shown = response.content.decode()
    assert f'<code class="raptor-endpoint">{ENDPOINT}</code>' in shown
    assert shown.count(SECRET) == 1
    assert f'<a href="{page_of(session)}">Hide</a>' in shown
    assert BUTTON not in shown
    assert "no-store" in response["Cache-Control"]
    entry = LogEntry.objects.get()
    assert (entry.user, entry.object_id, entry.change_message) == (keeper, str(session.pk), "Endpoint shown.")
    [line] = [record.getMessage() for record in caplog.records if "endpoint" in record.getMessage()]
    assert line == "The endpoint of 'shop/cart' was shown to viewer"
    assert SECRET not in caplog.text + str(LogEntry.objects.values())


def test_the_endpoint_is_shown_only_once(client: Client, keeper: User) -> None:
    session = make_session()
    client.force_login(keeper)
    client.post(address_of(session))
    for address in (page_of(session), LIST, "/admin/"):
        assert SECRET not in client.get(address).content.decode()


def test_each_view_is_logged(client: Client, root: User) -> None:
    session = make_session()
    client.force_login(root)
    for _ in range(2):
        client.post(address_of(session))
    assert LogEntry.objects.filter(change_message="Endpoint shown.").count() == 2


@pytest.mark.parametrize("name", ["viewer", "operator"])
def test_other_users_do_not_see_the_endpoint(
    client: Client, name: str, request: pytest.FixtureRequest, caplog: pytest.LogCaptureFixture
) -> None:
    session = make_session()
    client.force_login(request.getfixturevalue(name))
    with caplog.at_level(logging.INFO, logger="sessions_app"):
        response = client.post(address_of(session))
    assert response.status_code == 403
    page = client.get(page_of(session)).content.decode()
    assert SECRET not in response.content.decode() + page
    assert BUTTON not in page
    assert not LogEntry.objects.exists()
    assert "shown" not in caplog.text


def test_the_endpoint_also_requires_permission_to_view_the_session(client: Client) -> None:
    user = User.objects.create_user("stranger", password="x", is_staff=True)
    user.user_permissions.add(Permission.objects.get(codename="view_endpoint"))
    client.force_login(user)
    assert client.post(address_of(make_session())).status_code == 403
    assert not LogEntry.objects.exists()


def test_no_role_has_the_permission(db: None) -> None:
    assert Permission.objects.filter(codename="view_endpoint").exists()
    assert not Group.objects.filter(permissions__codename="view_endpoint").exists()


def test_the_endpoint_requires_post_and_a_csrf_token(keeper: User) -> None:
    session = make_session()
    client = Client(enforce_csrf_checks=True)
    client.force_login(keeper)
    assert client.get(address_of(session)).status_code == 405
    assert client.post(address_of(session)).status_code == 403
    assert not LogEntry.objects.exists()


def test_a_session_without_an_endpoint_offers_none(client: Client, keeper: User) -> None:
    client.force_login(keeper)
    for endpoint in ("", "  "):
        session = make_session(cdp_url=endpoint)
        assert BUTTON not in client.get(page_of(session)).content.decode()
        response = client.post(address_of(session), follow=True)
        assert f"“{session.name}” has no endpoint." in response.content.decode()
    assert not LogEntry.objects.exists()


def test_a_missing_session_has_no_endpoint(client: Client, keeper: User) -> None:
    client.force_login(keeper)
    assert client.post(f"{LIST}999999/endpoint/").status_code == 404
    assert client.post(f"{LIST}nonsense/endpoint/").status_code == 404


def test_the_archive_never_offers_the_endpoint(client: Client, root: User) -> None:
    session = make_session()
    swept(all=True)
    client.force_login(root)
    page = f"/admin/sessions_app/archivedsession/{session.pk}/change/"
    html = client.get(page).content.decode()
    assert "History" in html
    assert BUTTON not in html
    assert SECRET not in html
    assert client.post(address_of(session)).status_code == 404
    response: Any = client.post(page.replace("change", "endpoint"), follow=True)
    assert SECRET not in response.content.decode()
    assert not LogEntry.objects.exists()


def test_markup_in_an_endpoint_is_escaped(client: Client, root: User) -> None:
    client.force_login(root)
    html = client.post(address_of(make_session(cdp_url="ws://h:1/<script>x"))).content.decode()
    assert '<code class="raptor-endpoint">ws://h:1/&lt;script&gt;x</code>' in html
