"""The permission matrix: every URL pattern, as each of eight roles, with GET and POST.

``permissions.txt`` holds the expected status codes, in a column for each role. After a change of the URLs,
run the tests in one process with ``RAPTOR_TEST_UPDATE_SNAPSHOTS=1`` and review the diff.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.apps import apps
from django.contrib.auth.models import Group, User
from django.db import transaction
from django.test import Client

from sessions_app.mirror.registry import register_directory
from sessions_app.models import CleanupPolicy, LimitedNamespace, PolicyChange
from tests.alerting import make_alert
from tests.factories import OLD, make_policy, make_session, plan, put, swept, sync
from tests.snapshots import UPDATE_VARIABLE
from tests.urls import addresses

pytestmark = pytest.mark.django_db

FILE = Path(__file__).with_name("permissions.txt")
HEAD = "GET and POST of each pattern, as: "
# Pages that need no login, and that of a logged-in user who may not enter the admin.
PUBLIC = ("/", "/healthz", "/readyz", "/admin/login/", "/admin/jsi18n/", "/static/")
CHANGE_NOTHING = ("anonymous", "outsider", "stranger", "Viewer", "limited")
MAY_CHANGE_SOMETHING = {
    # Everyone who sees sessions may let them be counted.
    "/admin/sessions_app/browsersession/storage/count/",
    # Administrators may send a test to any target; targets belong to no namespace.
    "/admin/sessions_app/alerttarget/<int:target_id>/test/",
}
# Tables that a request may write without changing the panel's own data.
NOT_COUNTED = {
    "sessions.Session",
    "axes.AccessAttempt",
    "axes.AccessLog",
    "axes.AccessFailureLog",
    "axes.AccessAttemptExpiration",
}


def _in_group(name: str) -> Callable[[], User]:
    def make() -> User:
        user = User.objects.create_user(name.lower(), is_staff=True)
        user.groups.add(Group.objects.get(name=name))
        return user

    return make


def _limited() -> User:
    """An administrator who does not see the namespace of all objects."""
    user = User.objects.create_user("limited", is_staff=True)
    user.groups.add(Group.objects.get(name="Administrator"))
    return user


ROLES: dict[str, Callable[[], User | None]] = {
    "anonymous": lambda: None,
    "outsider": lambda: User.objects.create_user("outsider"),
    "stranger": lambda: User.objects.create_user("stranger", is_staff=True),
    "Viewer": _in_group("Viewer"),
    "Operator": _in_group("Operator"),
    "Administrator": _in_group("Administrator"),
    "limited": _limited,
    "superuser": lambda: User.objects.create_superuser("root"),
}


@pytest.fixture
def client(tmp_path: Path, role: str) -> Client:
    """A client of the role, beside one object of each kind, all in a limited namespace."""
    folder = tmp_path / "sessions"
    put(folder, "mirrored")
    directory = register_directory(folder, namespace="shop")
    sync(directory)
    make_session("old", **OLD)
    swept(expired=True, namespace="shop")
    make_session("planned", **OLD)
    plan(expired=True, namespace="shop")
    _delete_policies_but_one()
    make_policy("Shop", "expired", namespace="shop")
    make_alert(namespace="shop")
    somebody = User.objects.create_user("somebody")
    user = ROLES[role]()
    members = Group.objects.create(name="Members")
    members.user_set.set([somebody, user] if user and role != "limited" else [somebody])
    LimitedNamespace.objects.create(namespace="shop", group_ids=[members.pk])
    client = Client(raise_request_exception=False)
    if user is not None:
        client.force_login(user)
    return client


def _delete_policies_but_one() -> None:
    """Keep one of the policies that the migrations install; it applies to all namespaces."""
    kept = CleanupPolicy.objects.earliest("pk")
    CleanupPolicy.objects.exclude(pk=kept.pk).delete()
    PolicyChange.objects.exclude(policy=kept).delete()


def rows() -> dict[str, list[Any]]:
    """Return all rows of all tables that a request may change."""
    return {
        model._meta.label: sorted(map(repr, model._default_manager.values_list()))
        for model in apps.get_models()
        if model._meta.label not in NOT_COUNTED
    }


def answer(client: Client, url: str, method: str, *, is_undone: bool) -> int:
    with transaction.atomic():
        response: Any = getattr(client, method)(url)
        transaction.set_rollback(is_undone)
    status: int = response.status_code
    return status


def visit(client: Client, role: str) -> dict[str, int]:
    """Request every URL with GET and POST, and return the statuses for the first object of each model.

    Roles that may change nothing visit all objects.
    """
    statuses: dict[str, int] = {}
    for address in addresses(all_objects=role in CHANGE_NOTHING):
        if address.url == "/admin/logout/":
            continue
        is_undone = role not in CHANGE_NOTHING or address.pattern in MAY_CHANGE_SOMETHING
        for method in ("get", "post"):
            status = answer(client, address.url, method, is_undone=is_undone)
            assert status != 500, address
            if role in ("anonymous", "outsider") and address.url not in PUBLIC:
                assert status in (302, 403, 404, 405), address
            statuses.setdefault(f"{address.pattern} {method.upper()}", status)
    return statuses


def read_matrix() -> dict[str, list[str]]:
    """Return the statuses of all roles, by pattern and method."""
    head, *lines = FILE.read_text().splitlines()
    assert head == HEAD + " ".join(ROLES)
    parts = [line.rsplit(" ", len(ROLES)) for line in lines]
    return {name: statuses for name, *statuses in parts}


def update_matrix(role: str, found: dict[str, int]) -> None:
    """Replace the column of a role; the columns of other roles in new rows wait for their own tests."""
    matrix, column = read_matrix(), list(ROLES).index(role)
    lines = [HEAD + " ".join(ROLES)]
    for name, status in found.items():
        statuses = matrix.get(name, ["?"] * len(ROLES))
        statuses[column] = str(status)
        lines.append(f"{name} {' '.join(statuses)}")
    FILE.write_text("".join(f"{line}\n" for line in lines))


@pytest.mark.parametrize("role", ROLES)
def test_every_url_answers_each_role_as_expected(client: Client, role: str) -> None:
    """Check also that no row changes if the role may change nothing, such as the limited administrator."""
    before = rows()
    found = visit(client, role)
    after = rows()
    assert [label for label in before if before[label] != after[label]] == []
    if os.environ.get(UPDATE_VARIABLE):
        update_matrix(role, found)
    column = list(ROLES).index(role)
    expected = {name: int(statuses[column]) for name, statuses in read_matrix().items()}
    assert found == expected, f"run again with {UPDATE_VARIABLE}=1 and review the diff"
    assert list(found) == list(expected)
