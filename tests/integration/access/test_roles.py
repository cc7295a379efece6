"""The groups that are installed with the tables."""

from __future__ import annotations

import pytest
from django.apps import apps
from django.contrib.auth.models import Group, Permission, User
from django.test import Client

from sessions_app.access.roles import RIGHTS, ROLES, install_roles
from tests.clients import page_at

pytestmark = pytest.mark.django_db


def install() -> None:
    install_roles(apps.get_app_config("sessions_app"), using="default")


def codenames(role: str) -> set[str]:
    return set(Group.objects.get(name=role).permissions.values_list("codename", flat=True))


def test_each_role_has_its_permissions() -> None:
    install()
    assert {role: codenames(role) for role in ROLES} == {role: set(names) for role, names in ROLES.items()}
    assert set(ROLES["Viewer"]) < set(ROLES["Operator"]) < set(ROLES["Administrator"])


def test_the_form_of_a_user_describes_each_permission_of_a_role(as_root: Client) -> None:
    described = [
        (role, text, name) for role, added in RIGHTS.items() for text in added for name in added[text]
    ]
    assert sorted(name for *_, name in described) == sorted(ROLES["Administrator"])
    sentences = page_at(as_root, "/admin/auth/user/add/").text
    for role, text, _ in described:
        assert text in sentences.partition(role)[2]


def test_added_permissions_stay_and_missing_ones_are_restored() -> None:
    install()
    group = Group.objects.get(name="Viewer")
    own = Permission.objects.get(codename="clean_up_sessions")
    group.permissions.set([own])
    install()
    assert codenames("Viewer") == {*ROLES["Viewer"], "clean_up_sessions"}


@pytest.mark.parametrize(
    ("role", "pages"),
    [
        (
            "Viewer",
            {"browsersession/": 200, "cleanuprun/": 200, "cleanuprun/new/": 403, "cleanuppolicy/add/": 403},
        ),
        ("Operator", {"cleanuprun/new/": 200, "cleanuppolicy/add/": 403, "sessiondirectory/add/": 403}),
        ("Administrator", {"cleanuprun/new/": 200, "cleanuppolicy/add/": 200, "sessiondirectory/add/": 200}),
    ],
)
def test_members_reach_the_pages_of_their_role(client: Client, role: str, pages: dict[str, int]) -> None:
    install()
    user = User.objects.create_user("member", password="member", is_staff=True)
    user.groups.add(Group.objects.get(name=role))
    client.force_login(user)
    found = {page: client.get(f"/admin/sessions_app/{page}").status_code for page in pages}
    assert found == pages
