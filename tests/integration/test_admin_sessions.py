from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
import time_machine
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client, RequestFactory
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from sessions_app.admin.sessions import BrowserSessionAdmin
from sessions_app.models import BrowserSession, CleanupRun
from tests.integration.admin_sessions import AS_OF, ENDPOINT, SECRET, build_session, make_session, nested

LIST = "/admin/sessions_app/browsersession/"


@pytest.fixture(autouse=True)
def _at_noon() -> Iterator[None]:
    with time_machine.travel(AS_OF, tick=False):
        yield


@pytest.fixture
def see(client: Client, viewer: User) -> Any:
    """Look at an address as a viewer, who may not clean up."""
    client.force_login(viewer)

    def look(address: str = LIST) -> str:
        response = client.get(address)
        assert response.status_code == 200
        return response.content.decode()

    return look


def names(html: str) -> set[str]:
    return set(re.findall(r'class="field-name"><a [^>]*>([^<]+)</a>', html))


def page_of(session: BrowserSession) -> str:
    return f"{LIST}{session.pk}/change/"


def test_the_list_says_why_a_session_is_invalid_or_expired(see: Any) -> None:
    make_session("fresh")
    make_session("old", age=timedelta(days=9, hours=5))
    make_session("just-over", age=timedelta(days=7, minutes=1))
    make_session("broken", session_id="", last_accessed="yesterday")
    html = see()
    assert "Last accessed 9 days ago; the limit is 7 days." in html
    assert "Last accessed over 7 days ago; the limit is 7 days." in html
    assert "The session id is missing." in html
    assert "It counts as expired, because its age cannot be read." in html
    assert ">Valid</span>" in html
    assert ">Invalid</span>" in html
    assert ">Expired</span>" in html


def test_the_exact_instant_stands_on_the_age(see: Any) -> None:
    make_session(age=timedelta(days=3))
    assert 'title="2026-11-19 12:00:00 UTC">3 days</time>' in see()


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("problem=any", {"no-id", "no-url", "bad-type", "corrupted", "unreadable"}),
        ("problem=none", {"fresh", "old", "ancient", "future", "pinned", "firefox"}),
        ("problem=missing_session_id", {"no-id"}),
        ("problem=missing_cdp_url", {"no-url"}),
        ("problem=invalid_last_accessed", {"unreadable"}),
        ("problem=invalid_browser_type", {"bad-type"}),
        ("problem=corrupted_document", {"corrupted"}),
        ("expired=yes", {"old", "ancient", "corrupted", "unreadable"}),
        ("expired=yes&problem=none", {"old", "ancient"}),
        ("accessed=today", {"fresh", "no-id", "no-url", "bad-type", "firefox"}),
        ("accessed=7&problem=none", {"fresh", "firefox", "pinned"}),
        ("accessed=30&problem=none", {"fresh", "firefox", "pinned", "old"}),
        ("accessed=older", {"ancient"}),
        ("accessed=future", {"future"}),
        ("accessed=unreadable", {"corrupted", "unreadable"}),
        ("browser_type=firefox", {"firefox"}),
        ("browser_type=other", {"bad-type", "corrupted"}),
        ("namespace=second", {"pinned"}),
        ("namespace=nowhere", set()),
        ("pinned=yes", {"pinned"}),
        ("pinned=no&accessed=older", {"ancient"}),
        ("q=fire", {"firefox"}),
        ("q=id-of-old", {"old"}),
    ],
)
def test_filters_combine(see: Any, query: str, expected: set[str]) -> None:
    make_session("fresh")
    make_session("old", age=timedelta(days=9))
    make_session("ancient", age=timedelta(days=90))
    make_session("future", age=timedelta(days=-2))
    make_session("pinned", namespace="second", age=timedelta(days=2), is_pinned=True)
    make_session("firefox", browser_type="firefox")
    make_session("no-id", session_id=" ")
    make_session("no-url", cdp_url=None)
    make_session("bad-type", browser_type="Safari")
    make_session("unreadable", last_accessed="soon")
    make_session("corrupted", document=b'{"session_id": ')
    assert names(see(f"{LIST}?{query}")) == expected


@pytest.mark.parametrize("column", range(1, 8))
def test_every_column_with_an_order_can_be_sorted_by(see: Any, column: int) -> None:
    make_session("a", age=timedelta(days=1))
    make_session("b", browser_type="webkit")
    assert names(see(f"{LIST}?o={column}")) == names(see(f"{LIST}?o=-{column}")) == {"a", "b"}


def test_namespaces_are_offered_in_order(see: Any) -> None:
    for namespace in ("zebra", "alpha", "middle", "alpha"):
        make_session(namespace=namespace)
    found = re.findall(r"\?namespace=(\w+)", see())
    assert found == ["alpha", "middle", "zebra"]


@pytest.mark.parametrize("rows", [100, 1_000])
def test_the_list_takes_a_fixed_number_of_queries_and_reads_no_document(see: Any, rows: int) -> None:
    BrowserSession.objects.bulk_create(
        build_session(f"s{n}", age=timedelta(days=n % 20), namespace=f"n{n % 5}") for n in range(rows)
    )
    with CaptureQueriesContext(connection) as queries:
        html = see()
    assert len(names(html)) == 100
    assert len(html) < 150_000
    # Login session, user, two for its permissions, count, rows, namespaces and those of directories.
    assert len(queries) <= 8
    assert not [query for query in queries if '"document"' in query["sql"]]


def test_an_empty_panel_says_what_to_do(see: Any, client: Client, operator: User) -> None:
    assert "No session yet" in see()
    assert "sessiondirectory/add" not in see()
    client.force_login(operator)
    assert "/admin/sessions_app/sessiondirectory/add/" in client.get(LIST).content.decode()
    assert "No session yet" not in client.get(f"{LIST}?q=x").content.decode()


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


def test_the_page_of_a_session_tells_problems_advice_and_warnings(see: Any) -> None:
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
        (nested(900), "deep"),
        ('{"a": "Übersicht"}'.encode(), "Übersicht"),
    ],
)
def test_any_bytes_are_shown_readable(see: Any, document: bytes, shown: str) -> None:
    assert shown in see(page_of(make_session(document=document)))


def test_a_long_document_is_cut_off_and_says_so(see: Any) -> None:
    for document in (b'{"a": "' + b"x" * 400_000 + b'"}', b"y" * 700_000):
        html = see(page_of(make_session(document=document)))
        assert len(html) < 40_000
        assert "Only the beginning is shown" in html


def test_validate_tells_the_verdicts_and_changes_nothing(see: Any, client: Client) -> None:
    sessions = [
        make_session("fine"),
        make_session("old", age=timedelta(days=9)),
        make_session("bad", session_id=""),
    ]
    see()
    before = list(BrowserSession.objects.order_by("pk").values())
    response = client.post(LIST, {"action": "validate", "_selected_action": [s.pk for s in sessions]})
    html = response.content.decode()
    assert response.context["totals"] == {"all": 3, "valid": 2, "invalid": 1, "expired": 1}
    assert "Save the session again" in html
    assert list(BrowserSession.objects.order_by("pk").values()) == before
    assert not CleanupRun.objects.exists()


def test_a_session_is_pinned_and_unpinned_by_who_may_change_it(
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


def test_who_has_no_business_here_sees_nothing(client: Client, outsider: User) -> None:
    session = make_session("hidden")
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
            assert "hidden" not in response.content.decode()


@pytest.mark.parametrize("address", ["add/", "1/delete/"])
def test_sessions_are_neither_added_nor_deleted_by_form(client: Client, root: User, address: str) -> None:
    make_session()
    client.force_login(root)
    assert client.get(LIST + address).status_code in (302, 403)
    assert client.post(LIST + address, {"post": "yes"}).status_code in (302, 403)
    assert BrowserSession.objects.count() == 1
    assert "delete_selected" not in client.get(LIST).content.decode()
    assert "delete_selected" not in client.get("/admin/auth/user/").content.decode()


@pytest.mark.parametrize("address", ["nonsense/change/", "99999999999999999999999/change/", "0/change/"])
def test_a_session_that_is_not_there_is_told(client: Client, viewer: User, address: str) -> None:
    client.force_login(viewer)
    response = client.get(LIST + address, follow=True)
    assert "t exist" in response.content.decode()


def test_validate_lists_as_many_as_a_page_holds_and_counts_all(client: Client, viewer: User) -> None:
    BrowserSession.objects.bulk_create(build_session(session_id="") for _ in range(300))
    first = BrowserSession.objects.values_list("pk", flat=True)[0]
    client.force_login(viewer)
    data = {"action": "validate", "select_across": "1", "_selected_action": [first]}
    response = client.post(LIST, data)
    assert response.context["totals"]["all"] == 300
    assert "The first 200 are listed" in response.content.decode()
    assert len(response.content) < 150_000
