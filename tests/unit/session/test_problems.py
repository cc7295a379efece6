from __future__ import annotations

from datetime import timedelta

import pytest

from sessions_app.session.endpoint import Endpoint, is_allowed_host, mask_endpoints, shown_endpoint
from sessions_app.session.problems import RULES, Problem, SessionWarning, warnings_of
from tests.factories import AS_OF

LOOPBACK = ("localhost", "127.0.0.0/8", "::1")


def test_every_problem_has_a_code_a_rule_a_sentence_and_advice() -> None:
    assert [problem.code for problem in Problem] == [
        "missing_session_id",
        "missing_cdp_url",
        "invalid_created_at",
        "invalid_last_accessed",
        "invalid_browser_type",
        "corrupted_document",
        "invalid_cdp_url",
    ]
    assert set(RULES) == set(Problem)
    assert all(problem.sentence and problem.advice for problem in Problem)


def test_codes_and_sets_of_problems_are_equivalent() -> None:
    both = Problem.MISSING_CDP_URL | Problem.INVALID_BROWSER_TYPE
    assert both.codes == ["missing_cdp_url", "invalid_browser_type"]
    assert Problem.from_codes(both.codes) == both
    assert Problem(0).codes == []


def test_an_unknown_code_is_refused_with_the_valid_ones() -> None:
    with pytest.raises(ValueError, match=r"missing_id.*missing_session_id.*corrupted_document"):
        Problem.from_codes(["missing_id"])


def warnings(**changes: object) -> SessionWarning:
    values: dict[str, object] = {
        "browser_type": "chromium",
        "last_accessed": AS_OF,
        "cdp_url": "ws://127.0.0.1:9222/devtools/browser/1",
        "as_of": AS_OF,
        "allowed_hosts": LOOPBACK,
        **changes,
    }
    cdp_url = str(values.pop("cdp_url"))
    values |= {"shown_endpoint": shown_endpoint(cdp_url), "has_endpoint": bool(cdp_url.strip())}
    return warnings_of(**values)  # type: ignore[arg-type]


def test_an_ordinary_session_has_no_warning() -> None:
    assert warnings() == SessionWarning(0)


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"browser_type": "firefox"}, "not_reconnectable"),
        ({"browser_type": "webkit"}, "not_reconnectable"),
        ({"last_accessed": AS_OF + timedelta(seconds=1)}, "last_accessed_in_future"),
        ({"cdp_url": "ws://169.254.169.254/devtools/browser/1"}, "endpoint_host_not_allowed"),
        ({"cdp_url": "ws://browser.example:9222/x"}, "endpoint_host_not_allowed"),
        ({"cdp_url": "http://[::2]:9222"}, "endpoint_host_not_allowed"),
        ({"cdp_url": "file:///etc/passwd"}, "endpoint_scheme_unsupported"),
        ({"cdp_url": "ws://[broken"}, "endpoint_scheme_unsupported"),
        ({"cdp_url": "ws://127.0.0.1:port/x"}, "endpoint_scheme_unsupported"),
    ],
)
def test_an_unusual_session_has_a_warning(changes: dict[str, object], code: str) -> None:
    assert warnings(**changes).codes == [code]


def test_a_missing_endpoint_is_a_problem_without_a_warning() -> None:
    assert warnings(cdp_url=" ") == SessionWarning(0)


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST", "127.0.0.1", "127.9.9.9", "::1"])
def test_loopback_hosts_are_allowed(host: str) -> None:
    assert is_allowed_host(host, LOOPBACK)


@pytest.mark.parametrize("host", ["", "localhost.example", "128.0.0.1", "::ffff:8.8.8.8", "0x7f000001"])
def test_other_hosts_are_not(host: str) -> None:
    assert not is_allowed_host(host, LOOPBACK)


def test_an_endpoint_shows_its_host_and_port_only() -> None:
    assert (
        str(Endpoint.parse("ws://user:secret@127.0.0.1:9222/devtools/browser/x?token=y")) == "127.0.0.1:9222"
    )
    assert str(Endpoint.parse("ws://[::1]:9222/x")) == "[::1]:9222"
    assert str(Endpoint.parse("wss://grid.example/x")) == "grid.example"


@pytest.mark.parametrize(
    "text",
    [
        '{"cdp_url": "ws://127.0.0.1:9222/devtools/browser/SECRET"}',
        '{"cdp_url": "ws:\\/\\/127.0.0.1:9222\\/devtools\\/browser\\/SECRET"}',
        '{"cdp_url": "ws://127.0.0.1:9222/devtools/browser/SECRET',
        "WSS://grid.example?token=SECRET rest",
        "ws://user:SECRET@grid.example/x",
        "http://127.0.0.1:9222/devtools/page/SECRET",
        "ws://user:SEC@SECRET@grid.example:1/x",
        "https://user:SECRET@grid.example/",
        "https://grid.example/?token=SECRET&x=1",
        "https://grid.example/x?a=1&api_key=SECRET",
        '{"cdp_url": "ws:\\u002f\\u002fgrid.example\\u002fdevtools\\u002fbrowser\\u002fSECRET"}',
    ],
)
def test_secrets_of_endpoints_are_masked_in_a_text(text: str) -> None:
    masked = mask_endpoints(text)
    assert "SECRET" not in masked
    assert "127.0.0.1:9222" in masked or "grid.example" in masked


def test_other_addresses_are_not_masked() -> None:
    text = '{"page_url": "https://shop.example/cart?item=7"}'
    assert mask_endpoints(text) == text


@pytest.mark.parametrize(
    "address",
    [
        r"ws:\/\/h:1\/devtools\/browser\/secret",
        r"ws:\\/\\/h:1\\/devtools\\/browser\\/secret",
        r"ws:\u002f\u002fh:1\u002fsecret",
        r"wss:\\u002F\\u002Fh:1\\u002Fsecret",
    ],
)
def test_an_address_in_a_text_within_a_text_is_masked(address: str) -> None:
    masked = mask_endpoints(f'{{"inner": "{address}"}}')
    assert "secret" not in masked
    assert "h:1/…" in masked


@pytest.mark.parametrize(
    "piece", ["token", "a-", "?a", "ws:/", "ws:\\", "\\", "\\u002f", "@", "/devtools", "https://a:"]
)
def test_masking_takes_linear_time(piece: str) -> None:
    """Check that the pattern does not backtrack: these megabytes would take hours."""
    for beginning in ("?", "ws:", "ws://", "/devtools"):
        assert mask_endpoints(beginning + piece * (1_000_000 // len(piece)))
