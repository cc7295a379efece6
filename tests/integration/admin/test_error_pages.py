"""The pages for refused requests, wrong URLs and errors."""

from __future__ import annotations

import io
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import OperationalError, connection
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


@pytest.mark.parametrize(
    ("address", "headers", "line"),
    [
        ("cleanuprun/export.csv?outcome=never", {}, "WARNING django.request: The URL has an unknown filter"),
        ("cleanuprun/new/", {}, "WARNING django.request: Forbidden (Permission denied)"),
        ("", {"host": "elsewhere.example"}, "ERROR django.security.DisallowedHost: Invalid HTTP_HOST header"),
    ],
)
def test_a_refused_request_is_one_line_of_the_log(
    as_viewer: Client, log: io.StringIO, address: str, headers: dict[str, str], line: str
) -> None:
    response = as_viewer.get(f"/admin/sessions_app/{address}", headers=headers)
    assert response.status_code in (400, 403)
    first, *others = log.getvalue().splitlines()
    assert line in first
    assert others == []


def test_a_server_error_has_a_page(monkeypatch: pytest.MonkeyPatch, client: Client) -> None:
    def fail(*arguments: object) -> None:
        raise RuntimeError

    monkeypatch.setattr(connection, "cursor", fail)
    client.raise_request_exception = False
    assert_error_page(client.get("/healthz"), 500, "Something went wrong")


@pytest.mark.parametrize(
    ("answers", "status", "text"),
    [(False, 503, "The database does not answer"), (True, 500, "Something went wrong")],
)
def test_a_database_that_cannot_be_reached_has_a_page(
    monkeypatch: pytest.MonkeyPatch, as_root: Client, answers: bool, status: int, text: str
) -> None:
    def fail(*arguments: object) -> None:
        raise OperationalError("connection refused")

    as_root.raise_request_exception = False
    with monkeypatch.context() as patch:
        patch.setattr(connection, "cursor", fail)
        patch.setattr(connection, "is_usable", lambda: answers)
        assert_error_page(as_root.get("/admin/"), status, text)
