"""Keeps endpoints and credentials out of exceptions and of logs."""

from __future__ import annotations

import logging
from typing import Any

from sessions_app.session.endpoint import mask_endpoints
from sessions_app.text import printable
from sessions_app.transactions.disk import disk_full_message


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


_DETAILS = "\n%s"
_TAB = "\t"


class MaskingFilter(logging.Filter):
    """Masks endpoints in a log record: in its message, its arguments and its traceback, causes included."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Rewrite the record and keep it."""
        try:
            _split_details(record)
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


def _split_details(record: logging.LogRecord) -> None:
    """Set the first line and the details of a record whose message ends with a line break and ``%s``."""
    if isinstance(record.args, tuple) and record.args and str(record.msg).endswith(_DETAILS):
        *arguments, details = record.args
        record.headline = mask_endpoints(str(record.msg).removesuffix(_DETAILS) % tuple(arguments))
        record.details = mask_endpoints(str(details))


class LineFormatter(logging.Formatter):
    """Formats a record so that its values cannot forge other records.

    Control characters are escaped. The lines of a traceback are indented: no line of it looks like a record.
    The same holds for the last argument of a message that ends with a line break and ``%s``.
    """

    def formatMessage(self, record: logging.LogRecord) -> str:
        """Format the first line."""
        record.message = getattr(record, "headline", record.message)
        return printable(super().formatMessage(record))

    def formatException(self, ei: Any) -> str:
        """Format a traceback; ``MaskingFilter`` has usually done it before."""
        return mask_endpoints(super().formatException(ei))

    def format(self, record: logging.LogRecord) -> str:
        """Format a record and the lines below it."""
        first, *others = super().format(record).split("\n")
        others += getattr(record, "details", "").splitlines()
        return "\n".join([first, *(f"    {printable(line, kept=_TAB)}" for line in others if line)])
