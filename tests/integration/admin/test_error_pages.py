"""The pages for refused requests, wrong URLs and errors."""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client

from tests.clients import LIST
from tests.factories import make_session

pytestmark = pytest.mark.django_db


def assert_error_page(response: Any, status: int, text: str) -> None:
    html = response.content.decode()
    assert response.status_code == status
    assert text in html
    assert "Raptor Admin</a>" in html
    assert "Django" not in html
    assert "<style" not in html
    assert response["Content-Security-Policy"].startswith("default-src 'self';")


def test_a_missing_permission_has_a_page(client: Client, viewer: User) -> None:
    session = make_session()
    client.force_login(viewer)
    response = client.post(f"{LIST}{session.pk}/pin/", {"pin": "1"})
    assert_error_page(response, 403, "Your account does not have permission for this.")


def test_a_wrong_url_has_a_page(as_root: Client) -> None:
    assert_error_page(as_root.get("/admin/sessions_app/cleanuprun/99/plan/"), 404, "Page not found")
    assert_error_page(as_root.get("/nowhere/"), 404, "Page not found")


def test_a_form_from_before_the_login_has_a_page(root: User) -> None:
    client = Client(enforce_csrf_checks=True)
    client.force_login(root)
    response = client.post(f"{LIST}{make_session().pk}/pin/", {"pin": "1"})
    assert_error_page(response, 403, "The page has expired")


def test_an_invalid_value_has_a_page(as_root: Client) -> None:
    response = as_root.get("/admin/sessions_app/cleanuprun/export.csv?outcome=never")
    assert_error_page(response, 400, "Bad request")


def test_a_server_error_has_a_page(monkeypatch: pytest.MonkeyPatch, client: Client) -> None:
    def fail(*arguments: object) -> None:
        raise RuntimeError

    monkeypatch.setattr(connection, "cursor", fail)
    client.raise_request_exception = False
    assert_error_page(client.get("/healthz"), 500, "Something went wrong")
