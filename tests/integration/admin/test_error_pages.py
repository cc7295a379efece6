"""What a person reads when something is refused, not there, or broken."""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client

from tests.clients import LIST
from tests.factories import make_session

pytestmark = pytest.mark.django_db


def assert_told(response: Any, status: int, text: str) -> None:
    html = response.content.decode()
    assert response.status_code == status
    assert text in html
    assert "Raptor Admin</a>" in html
    assert "Django" not in html
    assert "<style" not in html
    assert response["Content-Security-Policy"].startswith("default-src 'self';")


def test_a_refusal_says_that_the_permission_is_missing(client: Client, viewer: User) -> None:
    session = make_session()
    client.force_login(viewer)
    response = client.post(f"{LIST}{session.pk}/pin/", {"pin": "1"})
    assert_told(response, 403, "Your account has no permission for it.")


def test_an_address_that_is_wrong_says_so(as_root: Client) -> None:
    assert_told(as_root.get("/admin/sessions_app/cleanuprun/99/plan/"), 404, "There is no such page")
    assert_told(as_root.get("/nowhere/"), 404, "There is no such page")


def test_a_form_of_before_the_login_says_what_to_do(root: User) -> None:
    client = Client(enforce_csrf_checks=True)
    client.force_login(root)
    response = client.post(f"{LIST}{make_session().pk}/pin/", {"pin": "1"})
    assert_told(response, 403, "The page was too old")


def test_an_address_with_a_value_that_is_none_says_so(as_root: Client) -> None:
    response = as_root.get("/admin/sessions_app/cleanuprun/export.csv?outcome=never")
    assert_told(response, 400, "That cannot be answered")


def test_a_failure_of_the_panel_says_that_nothing_is_lost(
    monkeypatch: pytest.MonkeyPatch, client: Client
) -> None:
    def fail(*arguments: object) -> None:
        raise RuntimeError

    monkeypatch.setattr(connection, "cursor", fail)
    client.raise_request_exception = False
    assert_told(client.get("/healthz"), 500, "Something went wrong")
