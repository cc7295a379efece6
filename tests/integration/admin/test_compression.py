"""Responses to GET are compressed. Responses that show a secret are responses to POST, and are not."""

from __future__ import annotations

import gzip
from typing import Any

import pytest
from django.test import Client

from tests.clients import LIST, RUNS, page_of
from tests.factories import make_session, plan

pytestmark = pytest.mark.django_db

ACCEPT: Any = {"HTTP_ACCEPT_ENCODING": "gzip, deflate, br"}


def test_pages_and_downloads_are_compressed(as_root: Client) -> None:
    make_session("cart-1")
    run = plan(all=True)
    for address in (LIST, f"{RUNS}{run.pk}/change/", f"{RUNS}export.csv"):
        plain: Any = as_root.get(address)
        packed: Any = as_root.get(address, **ACCEPT)
        assert "Content-Encoding" not in plain
        assert packed["Content-Encoding"] == "gzip", address
        assert "Accept-Encoding" in packed["Vary"]
        content = gzip.decompress(packed.getvalue())
        assert b"Run" in content or b"run" in content
    assert len(as_root.get(LIST, **ACCEPT).content) < len(as_root.get(LIST).content) / 3


def test_responses_with_a_secret_are_not_compressed(as_root: Client) -> None:
    session = make_session("cart-1")
    shown = as_root.post(page_of(session).replace("change", "endpoint"), **ACCEPT)
    assert session.cdp_url in shown.content.decode()
    added = as_root.post("/admin/auth/user/add/", {"username": "ada", "role": "Viewer"}, **ACCEPT)
    assert "generated-password" in added.content.decode()
    assert "Content-Encoding" not in shown
    assert "Content-Encoding" not in added


def test_the_csrf_token_differs_in_each_response(as_root: Client) -> None:
    tokens = {as_root.get("/admin/password_change/").context["csrf_token"] for _ in range(3)}
    assert len({str(token) for token in tokens}) == 3
