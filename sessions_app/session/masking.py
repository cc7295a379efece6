"""Keeps endpoints out of JSON, of exceptions and of logs; see ``mask_endpoints`` for texts."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from sessions_app.session.endpoint import Endpoint, mask_endpoints
from sessions_app.transactions.disk import disk_full_message


def mask_json(value: Any, mask_text: Callable[[str], str] = lambda text: text) -> Any:
    """Return a copy of a JSON value in which members named ``cdp_url``, at any depth, show only their host.

    Args:
        mask_text: Masks every other text, keys included. Leave it out if the serialized JSON is masked.
    """
    if isinstance(value, str):
        return mask_text(value)
    if isinstance(value, list):
        return [mask_json(item, mask_text) for item in value]
    if isinstance(value, dict):
        return {mask_text(key): _mask_member(key, item, mask_text) for key, item in value.items()}
    return value


def _mask_member(key: str, value: Any, mask_text: Callable[[str], str]) -> Any:
    if key.lower() != "cdp_url":
        return mask_json(value, mask_text)
    if isinstance(value, str):
        return mask_address(value)
    return "…" if value else value


def mask_address(cdp_url: str) -> str:
    """Return the scheme and the host of an endpoint, or "…" if it cannot be parsed."""
    if not cdp_url.strip():
        return cdp_url
    endpoint = Endpoint.parse(cdp_url)
    return f"{endpoint.scheme}://{endpoint}/…" if endpoint.scheme and endpoint.host else "…"


def safe_message(error: BaseException) -> str:
    """Return the message of an exception without endpoints: a database error may quote a whole row.

    A full disk is reported as such, with its folder and what to do.

    The name of its class comes first, except for the panel's own exceptions, whose messages are sentences,
    and for a class called ``Error``.
    """
    if message := disk_full_message(error):
        return message
    message, name = str(error).strip(), type(error).__name__
    is_sentence = type(error).__module__.startswith("sessions_app.") or name == "Error"
    return mask_endpoints(message if is_sentence else f"{name}: {message}".removesuffix(": "))


class MaskingFilter(logging.Filter):
    """Masks endpoints in a log record: in its message, its arguments and its traceback, causes included."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Rewrite the record and keep it."""
        try:
            message = record.getMessage()
        except Exception:
            # The arguments do not fit the message. A filter must not raise in the code that logs.
            message = f"{record.msg!r} {record.args!r}"
        record.msg, record.args = mask_endpoints(message), None
        if record.exc_info and not record.exc_text:
            # Formatters print this text instead of formatting the exception again.
            record.exc_text = logging.Formatter().formatException(record.exc_info)
        if record.exc_text:
            record.exc_text = mask_endpoints(record.exc_text)
        if record.stack_info:
            record.stack_info = mask_endpoints(record.stack_info)
        return True
