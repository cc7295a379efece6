"""The permission matrix: every URL pattern, as each of eight roles, with GET and POST.

``permissions.txt`` holds the expected status codes. After a change of the URLs, run the test with
``RAPTOR_TEST_UPDATE_SNAPSHOTS=1`` and review the diff.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from django.apps import apps
from django.contrib.auth.models import Group, User
from django.db import transaction
from django.test import Client

from sessions_app.mirror.registry import register_directory
from sessions_app.models import LimitedNamespace
from tests.factories import OLD, make_policy, make_session, plan, put, swept, sync
from tests.snapshots import UPDATE_VARIABLE
from tests.urls import addresses

pytestmark = pytest.mark.django_db

FILE = Path(__file__).with_name("permissions.txt")
HEAD = "GET and POST of each pattern, as: "
# Pages that need no login, and that of a logged-in user who may not enter the admin.
PUBLIC = ("/", "/healthz", "/admin/login/", "/admin/jsi18n/", "/static/")
# Everyone who sees sessions may let them be counted.
COUNT_AGAIN = "/admin/sessions_app/browsersession/storage/count/"
# What a request may write without changing anything that the panel is about.
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
def clients(tmp_path: Path) -> dict[str, Client]:
    """A client of each role, beside one object of each kind, all in a limited namespace."""
    folder = tmp_path / "sessions"
    put(folder, "mirrored")
    directory = register_directory(folder, namespace="shop")
    sync(directory)
    make_session("old", **OLD)
    swept(expired=True, namespace="shop")
    make_session("planned", **OLD)
    plan(expired=True, namespace="shop")
    make_policy("Shop", "expired", namespace="shop")
    users = {role: make() for role, make in ROLES.items()}
    members = Group.objects.create(name="Members")
    for role, user in users.items():
        if user is not None and role != "limited":
            user.groups.add(members)
    LimitedNamespace.objects.create(namespace="shop", group_ids=[members.pk])
    return {role: _client(user) for role, user in users.items()}


def _client(user: User | None) -> Client:
    client = Client(raise_request_exception=False)
    if user is not None:
        client.force_login(user)
    return client


def rows() -> dict[str, list[Any]]:
    """Return all rows of all tables that a request may change."""
    return {
        model._meta.label: sorted(map(repr, model._default_manager.values_list()))
        for model in apps.get_models()
        if model._meta.label not in NOT_COUNTED
    }


def answers(clients: dict[str, Client], url: str, method: str) -> Iterator[int]:
    for client in clients.values():
        with transaction.atomic():
            response: Any = getattr(client, method)(url)
            status = response.status_code
            transaction.set_rollback(True)
        yield status


def test_every_url_answers_each_role_as_expected(clients: dict[str, Client]) -> None:
    lines = [HEAD + " ".join(ROLES)]
    for address in addresses(all_objects=False):
        if address.url == "/admin/logout/":
            continue
        statuses = {method: list(answers(clients, address.url, method)) for method in ("get", "post")}
        for method, found in statuses.items():
            lines.append(f"{address.pattern} {method.upper()} {' '.join(map(str, found))}")
            anonymous, outsider = found[:2]
            if address.url not in PUBLIC:
                assert {anonymous, outsider} <= {302, 403, 404, 405}, lines[-1]
            assert 500 not in found, lines[-1]
    text = "".join(f"{line}\n" for line in lines)
    if os.environ.get(UPDATE_VARIABLE):
        FILE.write_text(text)
    assert FILE.read_text() == text, f"run again with {UPDATE_VARIABLE}=1 and review the diff"


@pytest.mark.parametrize("role", ["anonymous", "outsider", "stranger", "Viewer", "limited"])
def test_roles_that_may_change_nothing_change_nothing(clients: dict[str, Client], role: str) -> None:
    """Check the rows of all tables; the limited administrator sees none of the objects."""
    before = rows()
    for address in addresses():
        if address.url not in ("/admin/logout/", COUNT_AGAIN):
            for method in ("get", "post"):
                getattr(clients[role], method)(address.url)
    after = rows()
    assert [label for label in before if before[label] != after[label]] == []
