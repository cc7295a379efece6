"""Logins: wrong ones are locked out and logged, idle ones end, and every answer has its headers."""

from __future__ import annotations

import logging
from datetime import datetime, timedelta
from typing import Any

import pytest
import time_machine
from axes.models import AccessAttempt
from django.contrib.auth import authenticate
from django.contrib.auth.models import User
from django.contrib.sessions.models import Session
from django.test import Client, override_settings

from raptor_admin.middleware import HEADERS
from tests.clients import LIST, RUNS
from tests.factories import AS_OF, swept

pytestmark = pytest.mark.django_db

LOGIN = "/admin/login/"


def log_in(client: Client, password: str, *, address: str = "192.0.2.1", **headers: Any) -> Any:
    data = {"username": "root", "password": password, "next": "/admin/"}
    return client.post(LOGIN, data, REMOTE_ADDR=address, **headers)


def test_thirty_wrong_logins_are_locked_and_the_user_elsewhere_is_not(
    client: Client, root: User, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        statuses = [log_in(client, f"wrong-{number}").status_code for number in range(30)]
    assert statuses == [200] * 4 + [429] * 26
    locked = log_in(client, "root")
    assert locked.status_code == 429
    assert "Wait five minutes" in locked.content.decode()
    assert log_in(client, "root", address="192.0.2.2").status_code == 302
    assert "Login failed: user 'root' from 192.0.2.1" in caplog.text
    assert "Login locked: user 'root' from 192.0.2.1" in caplog.text
    assert "wrong-" not in caplog.text + str(AccessAttempt.objects.values())


def test_a_lock_ends_after_five_minutes(client: Client, root: User) -> None:
    with time_machine.travel(AS_OF, tick=False) as clock:
        for _ in range(6):
            log_in(client, "wrong")
        assert log_in(client, "root").status_code == 429
        clock.shift(timedelta(minutes=5, seconds=1))
        assert log_in(client, "root").status_code == 302


def test_a_login_resets_the_wrong_ones(client: Client, root: User) -> None:
    for _ in range(3):
        for _ in range(4):
            assert log_in(client, "wrong").status_code == 200
        assert log_in(client, "root").status_code == 302


def test_the_client_of_a_proxy_is_locked_only_if_the_proxy_is_named(client: Client, root: User) -> None:
    def wrong(number: int) -> int:
        forwarded = f"203.0.113.9, 198.51.100.{number}"
        return int(log_in(client, "wrong", address="10.0.0.1", HTTP_X_FORWARDED_FOR=forwarded).status_code)

    with override_settings(RAPTOR_TRUSTED_PROXIES=("10.0.0.0/8",)):
        assert [wrong(number) for number in range(10)] == [200] * 10
        assert [wrong(99) for _ in range(5)][-1] == 429
    assert [wrong(number) for number in range(10)][-1] == 429


def test_programs_authenticate_without_a_request(root: User) -> None:
    for _ in range(9):
        assert authenticate(username="root", password="wrong") is None
    assert authenticate(username="root", password="root") == root


@pytest.fixture
def clock() -> Any:
    with time_machine.travel(AS_OF, tick=False) as clock:
        yield clock


def test_a_login_ends_after_twelve_idle_hours(client: Client, root: User, clock: Any) -> None:
    client.force_login(root)
    for _ in range(3):
        clock.shift(timedelta(hours=11, minutes=59))
        assert client.get("/admin/").status_code == 200
    clock.shift(timedelta(hours=12, seconds=1))
    assert client.get("/admin/").status_code == 302


def test_polling_is_not_activity(client: Client, root: User, clock: Any) -> None:
    run = swept(all=True)
    client.force_login(root)
    client.get("/admin/")
    polls = (f"{RUNS}{run.pk}/progress/", f"{LIST}storage/counted/?asked_at=x")
    for _ in range(12):
        clock.shift(timedelta(hours=1, seconds=1))
        statuses = [client.get(address).status_code for address in polls]
    assert statuses == [302, 302]


def test_activity_is_saved_at_most_once_in_five_minutes(client: Client, root: User, clock: Any) -> None:
    client.force_login(root)

    def expiries(seconds: int) -> set[datetime]:
        found = set()
        for _ in range(5):
            clock.shift(timedelta(seconds=seconds))
            client.get("/admin/")
            found.add(Session.objects.get().expire_date)
        return found

    assert len(expiries(1)) == 1
    assert len(expiries(301)) == 5


@pytest.mark.parametrize(
    "address", ["/", "/admin/", LOGIN, "/healthz", "/nowhere", "/admin/?a=%00", "/static/x"]
)
def test_every_answer_has_the_headers(client: Client, root: User, address: str) -> None:
    for _ in range(2):
        for response in (
            client.get(address),
            client.post(address),
            client.get(address, headers={"host": "evil"}),
        ):
            assert [name for name in HEADERS if name not in response] == []
            assert "no-store" in response["Cache-Control"]
            assert response["X-Frame-Options"] == "DENY"
            assert "camera=()" in response["Permissions-Policy"]
        client.force_login(root)
