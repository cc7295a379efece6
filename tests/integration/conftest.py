"""Fixtures of the integration tests."""

from __future__ import annotations

import io
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import time_machine

if TYPE_CHECKING:
    from django.contrib.auth.models import Group, User
    from django.test import Client

    from sessions_app.models import CleanupPolicy, LimitedNamespace, SessionDirectory
    from tests.factories import Queued


@pytest.fixture(autouse=True)
def _empty_home(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Prevent the tests from reading the sessions of the user who runs them."""
    monkeypatch.setenv("HOME", str(tmp_path_factory.getbasetemp() / "home"))


@pytest.fixture
def mixed() -> None:
    """A fresh session, one of 2 days, one of 8, one of 31, and a fresh one that is invalid."""
    from tests.factories import INVALID, aged, make_session

    make_session("fresh", **aged(0))
    make_session("invalid", **aged(0), **INVALID)
    for days in (2, 8, 31):
        make_session(f"days-{days:02}", **aged(days))


@pytest.fixture
def nightly() -> CleanupPolicy:
    from sessions_app.models import CleanupPolicy

    policy, _ = CleanupPolicy.objects.get_or_create(name="Nightly sweep")
    policy.steps.all().delete()
    for position, criterion in enumerate(("expired", "invalid"), 1):
        policy.steps.create(position=position, criterion=criterion)
    policy.is_enabled, policy.schedule, policy.next_run_at = True, "0 2 * * *", None
    policy.save()
    return policy


@pytest.fixture
def as_root(client: Client, root: User) -> Client:
    client.force_login(root)
    return client


@pytest.fixture
def as_operator(client: Client, operator: User) -> Client:
    client.force_login(operator)
    return client


@pytest.fixture
def as_viewer(client: Client, viewer: User) -> Client:
    client.force_login(viewer)
    return client


@pytest.fixture
def at_noon() -> Iterator[None]:
    from tests.factories import AS_OF

    with time_machine.travel(AS_OF, tick=False):
        yield


@pytest.fixture
def see(client: Client, viewer: User) -> Any:
    """A function that returns a page as a viewer sees it, who may not clean up."""
    from tests.clients import LIST

    client.force_login(viewer)

    def look(address: str = LIST) -> str:
        response = client.get(address)
        assert response.status_code == 200
        return response.content.decode()

    return look


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An empty folder for documents; modules that need another one override this fixture."""
    folder = tmp_path / "sessions"
    folder.mkdir()
    return folder


@pytest.fixture
def directory(folder: Path) -> SessionDirectory:
    from sessions_app.mirror.registry import register_directory

    return register_directory(folder, namespace="shop")


@pytest.fixture
def no_settle_time(settings: Any) -> None:
    """Let scheduled syncs and sweeps act on files that have just been written."""
    settings.RAPTOR_SETTLE_SECONDS = 0


@pytest.fixture
def team(db: None) -> Group:
    from django.contrib.auth.models import Group

    return Group.objects.create(name="Payments team")


@pytest.fixture
def limit(team: Group) -> LimitedNamespace:
    """The limit of the namespace “payments” to one team."""
    from sessions_app.models import LimitedNamespace

    return LimitedNamespace.objects.create(namespace="payments", group_ids=[team.pk])


@pytest.fixture
def other(operator: User) -> User:
    """An administrator who is not a member of the team."""
    from django.contrib.auth.models import Group, User

    operator.groups.add(Group.objects.get(name="Administrator"))
    return User.objects.get(pk=operator.pk)


@pytest.fixture
def as_other(client: Client, other: User) -> Client:
    client.force_login(other)
    return client


@pytest.fixture
def as_member(root: User, team: Group) -> Client:
    """An administrator who is a member of the team."""
    from django.contrib.auth.models import Group, User
    from django.test import Client

    member = User.objects.create_user("member", is_staff=True)
    member.groups.add(team, Group.objects.get(name="Administrator"))
    client = Client()
    client.force_login(member)
    return client


@pytest.fixture
def queued(db: None) -> Queued:
    from tests.factories import Queued

    return Queued()


@pytest.fixture
def log() -> Iterator[io.StringIO]:
    """The output of all loggers, with the handler of the settings."""
    from django.conf import settings
    from django.utils.module_loading import import_string

    config: Any = settings.LOGGING
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    for name in config["handlers"]["stderr"]["filters"]:
        handler.addFilter(import_string(config["filters"][name]["()"])())
    options = dict(config["formatters"]["line"])
    handler.setFormatter(import_string(options.pop("()"))(options["format"], style=options["style"]))
    logging.getLogger().addHandler(handler)
    yield stream
    logging.getLogger().removeHandler(handler)
