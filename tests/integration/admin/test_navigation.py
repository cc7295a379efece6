"""The menu and the breadcrumbs, which are the same on every page."""

from __future__ import annotations

import re
from typing import Any

import pytest
from django.contrib.auth.models import Group, Permission, User
from django.test import Client

from sessions_app.admin import navigation
from tests.clients import LIST, POLICIES, RUNS, html_of, page_of
from tests.factories import make_policy, make_session, plan

pytestmark = pytest.mark.django_db

WORK = ["Dashboard", "Sessions", "Clean up", "Runs", "Archive", "Policies", "Storage", "Directories"]
MENU = re.compile(r'<nav id="nav-sidebar".*?</nav>', re.DOTALL)
LINK = re.compile(r'<a href="([^"]*)"( aria-current="\w+")?[^>]*>([^<]*)</a>')
TRAIL = re.compile(r'<ol class="breadcrumbs">.*?</ol>', re.DOTALL)


def menu_of(html: str) -> list[tuple[str, str, str]]:
    """Return the URL, the current mark and the title of each menu entry."""
    menu = MENU.search(html)
    return LINK.findall(menu[0]) if menu else []


def titles(html: str) -> list[str]:
    return [title for _, _, title in menu_of(html)]


def current(html: str) -> list[str]:
    return [title for _, mark, title in menu_of(html) if mark]


def trail_of(html: str) -> list[str]:
    trail = TRAIL.search(html)
    return re.findall(r">([^<]+)</(?:a|span)>", trail[0]) if trail else []


def title_of(html: str) -> str:
    found = re.search(r"<title>(.*?)</title>", html, re.DOTALL)
    return " ".join(found[1].split()) if found else ""


def test_the_menu_lists_the_screens_and_then_the_settings(as_root: Client) -> None:
    found = titles(html_of(as_root, "/admin/"))
    assert found[:8] == WORK
    settings = found[8:]
    assert [title for title in settings if title in ("Namespaces", "Users", "Queue")] == [
        "Namespaces",
        "Users",
        "Queue",
    ]


@pytest.mark.parametrize("role", ["Viewer", "Operator"])
def test_the_menu_contains_only_screens_that_the_role_may_open(client: Client, role: str) -> None:
    user = User.objects.create_user("colleague", password="x", is_staff=True)
    user.groups.add(Group.objects.get(name=role))
    client.force_login(user)
    found = menu_of(html_of(client, LIST))
    entries = [title for _, _, title in found]
    assert entries[:-2] == [title for title in WORK if title != "Clean up" or role == "Operator"]
    assert entries[-2:] == ["Policy changes", "Change password"]
    assert {client.get(url).status_code for url, _, _ in found} == {200}


def test_every_page_marks_its_entry(as_root: Client) -> None:
    session, run = make_session(), plan(expired=True)
    for address, entry in {
        "/admin/": "Dashboard",
        page_of(session): "Sessions",
        f"{LIST}storage/": "Storage",
        f"{RUNS}new/": "Clean up",
        f"{RUNS}{run.pk}/plan/": "Runs",
        "/admin/auth/user/add/": "Users",
        "/admin/password_change/": "Change password",
    }.items():
        assert current(html_of(as_root, address)) == [entry], address


def test_a_screen_without_an_entry_is_listed_under_settings(
    as_root: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(navigation, "SETTINGS", navigation.SETTINGS[:1])
    found = titles(html_of(as_root, "/admin/"))
    assert found[8] == "Namespaces"
    assert {"Groups", "Policy changes", "Queue", "Users"} <= set(found[9:])


def test_error_pages_keep_the_menu(as_root: Client, viewer: User) -> None:
    answer = as_root.get("/admin/nowhere/")
    assert (answer.status_code, titles(answer.content.decode())[:8]) == (404, WORK)
    client = Client()
    client.force_login(viewer)
    answer = client.get("/admin/auth/user/")
    assert (answer.status_code, titles(answer.content.decode())[:2]) == (403, ["Dashboard", "Sessions"])


def test_users_without_a_login_have_no_menu(client: Client) -> None:
    for address in ("/admin/login/", "/nowhere/"):
        assert titles(client.get(address).content.decode()) == []


def test_the_dashboard_does_not_repeat_the_list_of_screens(as_root: Client, viewer: User) -> None:
    html = html_of(as_root, "/admin/")
    assert "app-sessions_app" not in html
    assert title_of(html) == "Dashboard | Raptor Admin"
    viewer.user_permissions.set(Permission.objects.none())
    viewer.groups.clear()
    client = Client()
    client.force_login(User.objects.get(pk=viewer.pk))
    assert "Ask an administrator for a role" in html_of(client, "/admin/")


def test_breadcrumbs_lead_from_the_dashboard_to_the_page(as_root: Client, root: User) -> None:
    session, run = make_session("cart-1", namespace="shop"), plan(all=True)
    policy = make_policy(name="Nightly")
    expected: dict[str, list[str]] = {
        LIST: ["Dashboard", "Sessions"],
        page_of(session): ["Dashboard", "Sessions", "shop", "cart-1"],
        f"{RUNS}{run.pk}/change/": ["Dashboard", "Runs", f"Run {run.pk}"],
        f"{RUNS}{run.pk}/plan/": ["Dashboard", "Runs", f"Run {run.pk}", "Clean up sessions?"],
        f"{POLICIES}{policy.pk}/run/": ["Dashboard", "Policies", "Nightly", "Run “Nightly” now?"],
        f"/admin/auth/user/{root.pk}/change/": ["Dashboard", "Users", "root"],
        f"/admin/auth/user/{root.pk}/history/": ["Dashboard", "Users", "root", "History"],
        f"/admin/auth/user/{root.pk}/delete/": ["Dashboard", "Users", "root", "Delete"],
        f"/admin/auth/user/{root.pk}/password/": ["Dashboard", "Users", "root", "Password"],
        "/admin/auth/user/add/": ["Dashboard", "Users", "Add user"],
    }
    for address, trail in expected.items():
        html = html_of(as_root, address)
        assert trail_of(html) == trail, address
        assert title_of(html) == " | ".join([*reversed(trail[1:]), "Raptor Admin"]), address


def test_a_message_keeps_the_spelling_of_names(as_root: Client) -> None:
    session = make_session("cart-1")
    html = as_root.post(f"{LIST}{session.pk}/pin/", {"pin": "1"}, follow=True).content.decode()
    assert "cart-1" in html
    assert "Cart-1" not in html


def test_the_menu_needs_a_fixed_number_of_queries(
    as_root: Client, django_assert_max_num_queries: Any
) -> None:
    with django_assert_max_num_queries(4):
        as_root.get("/admin/password_change/")
