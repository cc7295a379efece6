"""Endpoints stay out of JSON, of exception messages and of logs."""

from __future__ import annotations

import io
import logging
from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest
from django.conf import settings
from django.utils.module_loading import import_string

from sessions_app.exceptions import SessionException
from sessions_app.session.endpoint import Endpoint, mask_endpoints
from sessions_app.session.masking import mask_address, mask_json, safe_message

SECRET = "6a7b8c9d-secret-browser"
ENDPOINT = f"ws://localhost:9222/devtools/browser/{SECRET}"


def test_members_named_cdp_url_show_only_their_host_at_any_depth() -> None:
    content = {"a": [{"CDP_URL": ENDPOINT, "n": 1}], "cdp_url": {"deep": ENDPOINT}, "b": ["cdp_url", None]}
    assert mask_json(content) == {
        "a": [{"CDP_URL": "ws://localhost:9222/…", "n": 1}],
        "cdp_url": "…",
        "b": ["cdp_url", None],
    }


def test_other_texts_and_keys_are_masked_too() -> None:
    masked = mask_json({f"see {ENDPOINT}": [f"at {SECRET}"]}, partial(mask_endpoints, cdp_url=ENDPOINT))
    assert SECRET not in str(masked)


@pytest.mark.parametrize(
    "shown",
    [
        "p%40ss",
        "p@ss",
        "ann:p%40ss",
        "ann:p@ss",
        "Authorization: Basic YW5uOnBAc3M=",
        "http://ann:p%40ss@gateway:3000/b1?token=T0ken&x=1",
        "ws://gateway:3000?token=T0ken",
        "wss://ann:p%40ss@gateway:3000/devtools/browser/x",
        "curl -H 'X-Token: T0ken'",
        "token=T0ken",
    ],
)
def test_the_login_of_an_endpoint_is_masked_in_any_form(shown: str) -> None:
    endpoint = "http://ann:p%40ss@gateway:3000/b1?token=T0ken&size=1920"
    masked = mask_endpoints(f"see {shown} in 1920", cdp_url=endpoint)
    assert not [secret for secret in ("p%40ss", "p@ss", "T0ken", "YW5u") if secret in masked]
    assert masked.startswith("see ")
    assert masked.endswith(" in 1920")


@pytest.mark.parametrize(
    "endpoint",
    [
        "http://ann:secret@gateway:3000/b1?token=secret",
        "ws://gateway:3000?token=secret",
        "wss://ann:secret@[::1]:3000",
        "ws://gateway/secret-path/json/version?secret",
    ],
)
def test_an_address_shows_scheme_host_and_port(endpoint: str) -> None:
    assert "secret" not in mask_address(endpoint)
    assert "secret" not in str(Endpoint.parse(endpoint))
    assert "secret" not in mask_endpoints(f"Error: cannot open {endpoint}.", cdp_url=endpoint)


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (SessionException("The folder is gone."), "The folder is gone."),
        (ValueError(f"row ({ENDPOINT})\n"), "ValueError: row (ws://localhost:9222/…"),
        (TimeoutError(), "TimeoutError"),
    ],
)
def test_a_message_names_the_class_of_foreign_exceptions(error: Exception, message: str) -> None:
    assert safe_message(error) == message


@pytest.fixture
def log() -> Iterator[io.StringIO]:
    """The output of a logger with the handler of the settings."""
    config: dict[str, Any] = settings.LOGGING
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    for name in config["handlers"]["stderr"]["filters"]:
        handler.addFilter(import_string(config["filters"][name]["()"])())
    logger = logging.getLogger("tests.masking")
    logger.addHandler(handler)
    logger.propagate = False
    yield stream
    logger.removeHandler(handler)
    logger.propagate = True


def test_a_log_shows_no_endpoint_of_an_exception_and_its_cause(log: io.StringIO) -> None:
    logger = logging.getLogger("tests.masking")
    try:
        try:
            raise KeyError(ENDPOINT)
        except KeyError as cause:
            raise ValueError(f"cannot connect to {ENDPOINT}") from cause
    except ValueError as error:
        logger.exception("Failed at %s: %s", ENDPOINT, error)
    assert log.getvalue().count("localhost:9222") == 4
    assert "KeyError" in log.getvalue()
    assert SECRET not in log.getvalue()


def test_arguments_that_do_not_fit_the_message_are_logged_masked(log: io.StringIO) -> None:
    logging.getLogger("tests.masking").error("%d sessions", ENDPOINT, stack_info=True)
    assert "sessions" in log.getvalue()
    assert SECRET not in log.getvalue()


def test_every_handler_of_the_settings_masks() -> None:
    config: dict[str, Any] = settings.LOGGING
    assert all("masking" in handler["filters"] for handler in config["handlers"].values())
