"""Names whose values are secret."""

from __future__ import annotations

import pytest

from sessions_app.session.masked_json import mask_json
from sessions_app.session.secret_names import is_credential_name

HIDDEN = "Hunter2-hidden"


@pytest.mark.parametrize(
    "name",
    [
        "password",
        "DB_PASSWORD",
        "userPassword",
        "passwd",
        "token",
        "accessToken",
        "access-token",
        "refresh_token",
        "cookie",
        "Set-Cookie",
        "cookies",
        "authorization",
        "Proxy-Authorization",
        "auth",
        "secret",
        "clientSecret",
        "api_key",
        "apiKey",
        "x-api-key",
        "private_key",
        "storage_state",
        "storageState",
        "localStorage",
        "headers",
        "extraHTTPHeaders",
        "credentials",
        "httpCredentials",
        "jwt",
        "key",
        "API KEY",
        "\uff50assword",
        "k" * 300,
    ],
)
def test_names_of_credentials_are_recognized(name: str) -> None:
    assert is_credential_name(name)
    assert mask_json({"a": [{name: {"deep": HIDDEN}}]}).value == {"a": [{name: "…"}]} or len(name) > 200


@pytest.mark.parametrize(
    "name",
    [
        "cdp_url",
        "cdpUrl",
        "CDP-URL",
        "wsEndpoint",
        "ws_endpoint",
        "webSocketDebuggerUrl",
        "browserWSEndpoint",
        "debuggerUrl",
        "devtoolsFrontendUrl",
        "cdpEndpoint",
        "endpoint",
        "endpointURL",
        "browserUrl",
        "remote_debugging_url",
        "wsPath",
        "browser_websocket",
        "se:cdp",
        "wsUrl",
    ],
)
def test_names_of_endpoints_are_recognized(name: str) -> None:
    content = {"a": {name: f"https://h/{HIDDEN}"}, "note": f"see {HIDDEN}"}
    assert mask_json(content).value == {"a": {name: "https://h/…"}, "note": "see …"}


@pytest.mark.parametrize("name", ["page_url", "title", "keyboard", "author", "session_id", "build", "passed"])
def test_other_names_are_not_secret(name: str) -> None:
    assert mask_json({name: "shown"}).value == {name: "shown"}
