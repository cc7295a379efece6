"""Adding users with a role, which includes the permission to log in."""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib.auth.models import Group, Permission, User
from django.test import Client

from sessions_app.access.visibility import hidden_from
from sessions_app.models import LimitedNamespace
from tests.clients import LIST, Page, html_of, page_at

pytestmark = pytest.mark.django_db

USERS = "/admin/auth/user/"
PASSWORD = "correct horse battery staple"


def add(client: Client, **changes: Any) -> Page:
    data = {"username": "ada", "password1": "", "password2": "", "role": "Viewer", **changes}
    return Page(client.post(f"{USERS}add/", data, follow=True).content.decode())


def change(client: Client, user: User, **changes: Any) -> User:
    data = {"username": user.username, "is_active": "on", "role": "", **changes}
    response = client.post(f"{USERS}{user.pk}/change/", data)
    assert response.status_code == 302, response.content.decode()
    return User.objects.get(pk=user.pk)


@pytest.mark.parametrize("role", ["Viewer", "Operator", "Administrator"])
def test_a_new_user_has_the_role_and_may_log_in(as_root: Client, role: str) -> None:
    page = add(as_root, role=role, password1=PASSWORD, password2=PASSWORD)
    user = User.objects.get(username="ada")
    assert (user.is_staff, user.is_superuser) == (True, False)
    assert [group.name for group in user.groups.all()] == [role]
    assert PASSWORD not in page.text
    client = Client()
    assert client.login(username="ada", password=PASSWORD)
    assert client.get(LIST).status_code == 200
    new_cleanup = client.get("/admin/sessions_app/cleanuprun/new/")
    assert new_cleanup.status_code == (403 if role == "Viewer" else 200)


def test_a_generated_password_is_shown_once_and_logs_in(as_root: Client) -> None:
    page = add(as_root)
    password = page.facts["Password"]
    assert len(password) >= 16
    assert page.facts["Username"] == "ada"
    assert Client().login(username="ada", password=password)
    user = User.objects.get(username="ada")
    for address in (USERS, f"{USERS}{user.pk}/change/", f"{USERS}{user.pk}/history/"):
        assert password not in html_of(as_root, address)
    assert not as_root.session.get("_messages")


@pytest.mark.parametrize(
    "changes",
    [
        {"password1": PASSWORD},
        {"password2": PASSWORD},
        {"password1": PASSWORD, "password2": "another one"},
        {"password1": "123", "password2": "123"},
        {"role": ""},
        {"role": "Superuser"},
        {"namespaces": ["nowhere"]},
        {"username": "root"},
    ],
)
def test_an_invalid_form_adds_no_user(as_root: Client, changes: dict[str, Any]) -> None:
    count = User.objects.count()
    page = add(as_root, **changes)
    assert page.notices
    assert "Password" not in page.facts
    assert User.objects.count() == count


def test_the_form_offers_the_limited_namespaces(as_root: Client, limit: LimitedNamespace) -> None:
    LimitedNamespace.objects.create(namespace="shop")
    add(as_root, namespaces=["payments"])
    user = User.objects.get(username="ada")
    assert hidden_from(user) == {"shop"}
    user = change(as_root, user, role="Operator", namespaces=["shop"])
    assert hidden_from(user) == {"payments"}
    assert [group.name for group in user.groups.all()] == ["Operator"]
    limit.refresh_from_db()
    assert limit.user_ids == []


def test_the_form_explains_that_no_namespace_is_limited(as_root: Client) -> None:
    assert "No namespace is limited" in page_at(as_root, f"{USERS}add/").text


def test_the_list_of_namespaces_shows_their_users(
    as_root: Client, limit: LimitedNamespace, viewer: User
) -> None:
    screen = "/admin/sessions_app/limitednamespace/"
    data = {"namespace": "payments", "groups": limit.group_ids, "users": [viewer.pk]}
    as_root.post(f"{screen}{limit.pk}/change/", data)
    assert hidden_from(User.objects.get(pk=viewer.pk)) == frozenset()
    assert "members of Payments team, viewer" in html_of(as_root, screen)


def test_the_change_form_reports_a_missing_role(as_root: Client) -> None:
    user = User.objects.create_user("ada", password="x")
    page = page_at(as_root, f"{USERS}{user.pk}/change/")
    assert any("ada has no role" in notice and "cannot log in" in notice for notice in page.notices)
    user = change(as_root, user, role="Viewer")
    assert user.is_staff
    notices = page_at(as_root, f"{USERS}{user.pk}/change/").notices
    assert not [notice for notice in notices if "role" in notice]
    user = change(as_root, user)
    assert (user.is_staff, user.groups.count()) == (False, 0)


def test_other_permissions_also_allow_the_login(as_root: Client, viewer: User) -> None:
    permissions = [permission.pk for permission in Permission.objects.filter(user=viewer)]
    user = change(as_root, viewer, user_permissions=permissions)
    assert user.is_staff
    page = page_at(as_root, f"{USERS}{user.pk}/change/")
    assert any("Only the permissions below apply" in notice for notice in page.notices)
    team = Group.objects.create(name="Team")
    user = change(as_root, user, role="Viewer", groups=[team.pk])
    assert {group.name for group in user.groups.all()} == {"Viewer", "Team"}


def test_a_superuser_does_not_need_a_role(as_root: Client, root: User) -> None:
    assert page_at(as_root, f"{USERS}{root.pk}/change/").notices == []
    assert change(as_root, root, is_superuser="on").is_staff


def test_the_list_shows_and_filters_roles(as_root: Client, django_assert_max_num_queries: Any) -> None:
    for number in range(3):
        user = User.objects.create_user(f"operator-{number}", is_staff=True)
        user.groups.add(Group.objects.get(name="Operator"))
    User.objects.create_user("nobody")
    with django_assert_max_num_queries(8):
        rows = page_at(as_root, USERS).rows
    assert [row for row in rows if "No role" in row and "Disabled" in row]
    for role, count in {"Operator": 3, "Viewer": 0, "superuser": 1, "none": 1}.items():
        html = html_of(as_root, f"{USERS}?role={role}")
        assert f"{count} user" in html, role
