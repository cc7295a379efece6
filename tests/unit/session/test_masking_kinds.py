"""Credentials and parts of endpoints in spellings and places that people have used."""

from __future__ import annotations

import json
from datetime import UTC
from typing import Any

import pytest

from sessions_app.session.document import parse_document
from sessions_app.session.endpoint import mask_endpoints
from sessions_app.session.masked_json import mask_json
from sessions_app.session.search_text import search_text

SECRET = "Zx81Qv77-Lm30Pk52"
GATEWAY = f"wss://gateway.example/{SECRET}"


@pytest.mark.parametrize(
    "text",
    [
        f"password: b'{SECRET}'",
        f"{{'password': u'{SECRET}'}}",
        f"password=null-{SECRET}",
        f"token: true.{SECRET}",
        f"token=/{SECRET}",
        f"password:            {SECRET}",
        f"password := {SECRET}",
        f"DBPASS={SECRET}",
        f"openai_key={SECRET}",
        f"JSESSIONID={SECRET}",
        f"https://shop.example/?sid={SECRET}&page=2",
    ],
)
def test_credentials_in_texts_are_masked(text: str) -> None:
    assert SECRET not in mask_endpoints(text)


@pytest.mark.parametrize(
    "text",
    ["see https://docs.example/token/help", "the bypass is open", "a == b", "compare: tokens", "name: value"],
)
def test_other_texts_are_shown(text: str) -> None:
    assert mask_endpoints(text) == text


@pytest.mark.parametrize(
    "value",
    [
        ["chrome", "--token", SECRET],
        ["--proxy-server=x", "--password", SECRET, "--y"],
        ["Authorization", SECRET, "z"],
        ["Authorization", [SECRET]],
        ["Cookie", "a=1", "Authorization", SECRET],
        {"Name": "Authorization", "Value": SECRET},
        {"header": "Authorization", "value": SECRET},
        {"name": "session", "value": SECRET, "url": "https://shop.example"},
    ],
    ids=str,
)
def test_credentials_in_lists_and_pairs_are_masked(value: Any) -> None:
    assert SECRET not in json.dumps(mask_json({"metadata": {"x": value}}).value)
    document = json.dumps({"session_id": "a", "metadata": {"x": value}}).encode()
    assert SECRET.lower() not in str(search_text(document, name="", session_id="", cdp_url="")).lower()


@pytest.mark.parametrize(
    "content",
    [
        {"cdp_url": f"wss://{SECRET}@gateway.example/x"},
        {"cdp_url": f"https://{SECRET}:x@gateway.example/"},
        {"endpoints": [GATEWAY]},
        {"endpoints": {"primary": GATEWAY}},
        {"cdp_url": [GATEWAY]},
        {"metadata": {"wsEndpoint": {"url": GATEWAY}}},
        {"browser": {"wsEndpoint": GATEWAY}},
    ],
    ids=str,
)
def test_parts_of_an_endpoint_are_masked_wherever_the_endpoint_stands(content: dict[str, Any]) -> None:
    content = {"session_id": SECRET, "title": SECRET, **content}
    content["metadata"] = {**content.get("metadata", {}), "note": SECRET}
    document = json.dumps(content).encode()
    fields = parse_document(document, time_zone=UTC)
    assert SECRET not in fields.session_id
    found = search_text(document, name="", session_id=fields.session_id, cdp_url=fields.cdp_url)
    assert SECRET.lower() not in str(found).lower()
    endpoints = [content["cdp_url"]] if isinstance(content.get("cdp_url"), str) else []
    assert SECRET not in json.dumps(mask_json(content, endpoints=endpoints).value)
