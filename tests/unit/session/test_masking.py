"""Endpoints stay out of JSON, of exception messages and of logs."""

from __future__ import annotations

import io
import logging
from collections.abc import Iterator
from typing import Any

import pytest
from django.conf import settings
from django.utils.module_loading import import_string

from sessions_app.exceptions import SessionException
from sessions_app.session.masked_json import mask_json
from sessions_app.session.masking import safe_message

SECRET = "6a7b8c9d-secret-browser"
ENDPOINT = f"ws://localhost:9222/devtools/browser/{SECRET}"


def test_members_named_cdp_url_show_only_their_host_at_any_depth() -> None:
    content = {"a": [{"CDP_URL": ENDPOINT, "n": 1}], "cdp_url": {"deep": ENDPOINT}, "b": ["cdp_url", None]}
    assert mask_json(content).value == {
        "a": [{"CDP_URL": "ws://localhost:9222/…", "n": 1}],
        "cdp_url": "…",
        "b": ["cdp_url", None],
    }


def test_other_texts_and_keys_are_masked_too() -> None:
    masked = mask_json({f"see {ENDPOINT}": [f"at {SECRET}"]}, cdp_url=ENDPOINT)
    assert SECRET not in str(masked)


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
