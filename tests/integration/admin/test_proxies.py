"""Requests through a proxy: forwarded headers, and what the panel says if they disagree with its settings."""

from __future__ import annotations

import logging
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client, RequestFactory, override_settings

from raptor_admin.proxies import ProxyMiddleware, client_address
from raptor_admin.wsgi import application

TRUSTED = override_settings(RAPTOR_TRUSTED_PROXIES=("10.0.0.0/8", "::1"))


def request_from(address: str, **headers: Any) -> Any:
    return RequestFactory().get("/admin/", REMOTE_ADDR=address, **headers)


@TRUSTED
@pytest.mark.parametrize(
    ("address", "forwarded", "client"),
    [
        ("10.0.0.1", "192.0.2.7", "192.0.2.7"),
        ("10.0.0.1", "1.1.1.1, 192.0.2.7", "192.0.2.7"),
        ("10.0.0.1", "1.1.1.1, 192.0.2.7, 10.0.0.2", "192.0.2.7"),
        ("::1", "2001:db8::7", "2001:db8::7"),
        ("10.0.0.1", "forged\n", "10.0.0.1"),
        ("10.0.0.1", "", "10.0.0.1"),
        ("192.0.2.1", "1.1.1.1", "192.0.2.1"),
        # A socket for both versions of IP.
        ("::ffff:10.0.0.1", "192.0.2.7", "192.0.2.7"),
        ("::ffff:10.0.0.1", "::ffff:192.0.2.7, ::ffff:10.0.0.2", "192.0.2.7"),
        ("::ffff:192.0.2.1", "1.1.1.1", "192.0.2.1"),
        # Proxies that append the port.
        ("10.0.0.1", "192.0.2.7:5555", "192.0.2.7"),
        ("10.0.0.1", "192.0.2.7:5555, 10.0.0.2:80", "192.0.2.7"),
        ("10.0.0.1", "[2001:db8::7]:443", "2001:db8::7"),
        ("10.0.0.1", "[2001:db8::7]", "2001:db8::7"),
        ("10.0.0.1", "[::ffff:192.0.2.7]:443", "192.0.2.7"),
        ("10.0.0.1", "192.0.2.7:port", "10.0.0.1"),
        ("10.0.0.1", "[192.0.2.7", "10.0.0.1"),
        ("", "192.0.2.7", ""),
    ],
)
def test_the_client_is_the_last_address_that_is_not_a_proxy(
    address: str, forwarded: str, client: str
) -> None:
    assert client_address(request_from(address, HTTP_X_FORWARDED_FOR=forwarded)) == client


@pytest.mark.parametrize("address", ["10.0.0.1", "::ffff:10.0.0.1"])
@pytest.mark.parametrize("proxy", ["10.0.0.1", "::ffff:10.0.0.1", "::ffff:10.0.0.0/104"])
def test_a_proxy_is_trusted_in_any_spelling(address: str, proxy: str) -> None:
    with override_settings(RAPTOR_TRUSTED_PROXIES=(proxy,)):
        assert client_address(request_from(address, HTTP_X_FORWARDED_FOR="192.0.2.7")) == "192.0.2.7"


def test_no_proxy_is_trusted_by_default() -> None:
    assert client_address(request_from("127.0.0.1", HTTP_X_FORWARDED_FOR="1.1.1.1")) == "127.0.0.1"


@TRUSTED
@pytest.mark.parametrize(
    ("address", "is_kept"), [("10.0.0.1", True), ("::ffff:10.0.0.1", True), ("192.0.2.1", False)]
)
def test_forwarded_headers_of_others_are_removed(address: str, is_kept: bool) -> None:
    request = request_from(address, HTTP_X_FORWARDED_PROTO="https", HTTP_X_FORWARDED_FOR="1.1.1.1")
    ProxyMiddleware(lambda request: None)(request)  # type: ignore[arg-type, return-value]
    assert ("HTTP_X_FORWARDED_PROTO" in request.META) is is_kept
    assert ("HTTP_X_FORWARDED_FOR" in request.META) is is_kept


@pytest.mark.parametrize(
    ("is_https", "headers", "warning"),
    [
        (True, {}, "no X-Forwarded-Proto header"),
        (False, {"HTTP_X_FORWARDED_PROTO": "https"}, "RAPTOR_HTTPS is off"),
        (True, {"HTTP_X_FORWARDED_PROTO": "https"}, ""),
        (False, {}, ""),
    ],
)
def test_a_disagreement_is_logged_once(
    is_https: bool, headers: dict[str, Any], warning: str, caplog: pytest.LogCaptureFixture
) -> None:
    with override_settings(SECURE_SSL_REDIRECT=is_https), caplog.at_level(logging.WARNING):
        middleware = ProxyMiddleware(lambda request: None)  # type: ignore[arg-type, return-value]
        for _ in range(3):
            middleware(request_from("127.0.0.1", **headers))
    assert len(caplog.records) == bool(warning)
    assert warning in caplog.text


@pytest.mark.django_db
def test_a_refused_form_shows_both_addresses(root: User) -> None:
    client = Client(enforce_csrf_checks=True)
    client.get("/admin/login/")
    response = client.post("/admin/login/", {}, HTTP_ORIGIN="https://panel.example:8443<b>")
    html = response.content.decode()
    assert response.status_code == 403
    assert "Browser: https://panel.example:8443&lt;b&gt;. Panel: http://testserver." in html
    assert "RAPTOR_TRUSTED_ORIGINS" in html
    html = client.post("/admin/login/", {}).content.decode()
    assert "Reason: CSRF token" in html


@pytest.mark.django_db
@override_settings(CSRF_TRUSTED_ORIGINS=["https://panel.example:8443"])
def test_a_trusted_origin_is_accepted(root: User) -> None:
    client = Client(enforce_csrf_checks=True)
    client.get("/admin/login/")
    token = client.cookies["raptor_csrftoken"].value
    data = {"username": "root", "password": "root", "csrfmiddlewaretoken": token}
    assert client.post("/admin/login/", data, HTTP_ORIGIN="https://panel.example:8443").status_code == 302


@pytest.mark.parametrize(
    ("path", "inner"),
    [("/raptor/admin/", "/admin/"), ("/raptor", "/"), ("/admin/", "/admin/"), ("/raptors/", "/raptors/")],
)
def test_the_prefix_is_removed_from_the_path(monkeypatch: pytest.MonkeyPatch, path: str, inner: str) -> None:
    seen: list[str] = []
    monkeypatch.setattr("raptor_admin.wsgi._PREFIX", "/raptor")
    monkeypatch.setattr("raptor_admin.wsgi._django", lambda environ, start: seen.append(environ["PATH_INFO"]))
    application({"PATH_INFO": path}, None)
    assert seen == [inner]
