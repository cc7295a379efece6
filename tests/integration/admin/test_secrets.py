"""No page shows an endpoint, and users without permission see no page."""

from __future__ import annotations

import pytest
from django.contrib.auth.models import User
from django.test import Client, RequestFactory
from django.urls import reverse

from sessions_app.admin.sessions.admin import BrowserSessionAdmin
from sessions_app.models import BrowserSession, CleanupRun, SessionSearch
from tests.clients import LIST, page_of
from tests.factories import AS_OF, ENDPOINT, SECRET, make_session

pytestmark = pytest.mark.usefixtures("at_noon")


@pytest.mark.parametrize(
    "lookup",
    ["cdp_url", "cdp_url__startswith", "cdp_url__regex", "document", "document__contains"],
)
def test_secrets_cannot_be_guessed_through_the_address(client: Client, root: User, lookup: str) -> None:
    make_session()
    client.force_login(root)
    for address in (LIST, "/admin/sessions_app/archivedsession/"):
        assert client.get(f"{address}?{lookup}=ws").status_code == 400
    for relation in ("archived_sessions", "browsersession"):
        for address in ("/admin/sessions_app/cleanuprun/", "/admin/sessions_app/sessiondirectory/"):
            assert client.get(f"{address}?{relation}__{lookup}=ws").status_code in (302, 400)


def test_lookup_allowed_refuses_by_relation() -> None:
    from django.contrib import admin

    screen = admin.site.get_model_admin(BrowserSession)
    assert isinstance(screen, BrowserSessionAdmin)
    request = RequestFactory().get("/")
    assert not screen.lookup_allowed("directory__browsersession__cdp_url__startswith", "w", request)


def test_no_endpoint_on_any_page(client: Client, root: User) -> None:
    session = make_session("one", metadata={"note": f"see {ENDPOINT}", "cdp_url": f"http://h:1/{SECRET}"})
    corrupted = make_session("two", document=f'{{"cdp_url": "http://h:1/{SECRET}", "x": "{ENDPOINT}'.encode())
    wide = make_session("three", document=f'{{"cdp_url": "{ENDPOINT}"'.encode("utf-16"))
    client.force_login(root)
    chosen = {"action": "validate", "_selected_action": [session.pk, corrupted.pk, wide.pk]}
    plan = client.post(LIST, chosen | {"action": "clean_up"})["Location"]
    pages = [client.get(address) for address in (LIST, plan, *map(page_of, (session, corrupted, wide)))]
    pages += [client.post(LIST, chosen)]
    for name in ("storage", "storage_csv", "storage_json"):
        pages.append(client.get(reverse(f"admin:sessions_app_{name}")))
    client.post(plan)
    run = CleanupRun.objects.get()
    pages += [client.get(f"/admin/sessions_app/cleanuprun/{run.pk}/change/")]
    pages += [client.get(f"/admin/sessions_app/archivedsession/{session.pk}/change/")]
    for page in pages:
        assert page.status_code == 200
        html = page.content.decode()
        assert "secret" not in html
        assert "s\\x00e\\x00c" not in html
    assert "127.0.0.1:9222" in pages[0].content.decode()


@pytest.mark.parametrize(
    "endpoint",
    [
        "http://gateway:3000/?token=S3cret",
        "ws://gateway:3000?token=S3cret",
        "wss://gateway:3000/b2/devtools/browser/x?size=1&api_key=S3cret",
        "http://ann:S3cret@gateway:3000/b1",
        "ws://ann:S3cret@gateway:3000/devtools/page/x",
        "http://ann:%533cret@gateway:3000",
    ],
)
def test_the_login_of_an_endpoint_is_on_no_page(client: Client, root: User, endpoint: str) -> None:
    notes = {"note": f"see {endpoint}", "header": "the password is S3cret", "gateway": {"cdp_url": endpoint}}
    session = make_session("one", cdp_url=endpoint, metadata=notes)
    corrupted = make_session("two", document=f'{{"cdp_url": "{endpoint}", "x": "{endpoint}'.encode())
    client.force_login(root)
    chosen = {"action": "clean_up", "_selected_action": [session.pk, corrupted.pk]}
    plan = client.post(LIST, chosen)["Location"]
    addresses = [LIST, f"{LIST}?q=gateway", plan, *map(page_of, (session, corrupted))]
    for page in map(client.get, addresses):
        assert page.status_code == 200
        html = page.content.decode()
        assert "S3cret" not in html
        assert "%533cret" not in html
    assert list(SessionSearch.objects.filter(text__contains="s3cret")) == []


def test_users_without_permission_see_nothing(client: Client, outsider: User) -> None:
    session = make_session("unseen")
    stranger = User.objects.create_user("stranger", password="x", is_staff=True)
    run = CleanupRun.objects.create(
        criteria_json={"all": True}, as_of=AS_OF, sealed_at=AS_OF, trigger="admin"
    )
    addresses = [
        LIST,
        page_of(session),
        f"/admin/sessions_app/cleanuprun/{run.pk}/change/",
        f"/admin/sessions_app/cleanuprun/{run.pk}/plan/",
        *(reverse(f"admin:sessions_app_{name}") for name in ("storage", "storage_csv", "storage_json")),
    ]
    for user, status in ((outsider, 302), (stranger, 403)):
        client.force_login(user)
        for address in addresses:
            response = client.get(address)
            assert response.status_code == status, address
            assert "unseen" not in response.content.decode()
