"""Error pages and log messages for requests that fail."""

import logging
import sys

from django.core.exceptions import BadRequest, PermissionDenied, SuspiciousOperation
from django.db import Error as DatabaseFailure
from django.db import connection
from django.http import HttpRequest, HttpResponse
from django.http.multipartparser import MultiPartParserError
from django.template.loader import render_to_string
from django.views.defaults import server_error as plain_server_error

from sessions_app.transactions.disk import disk_full_message

logger = logging.getLogger(__name__)

REFUSALS = (BadRequest, MultiPartParserError, PermissionDenied, SuspiciousOperation)
"""Exceptions with which the panel refuses requests deliberately, with status 400 or 403."""


class DiskFullFilter(logging.Filter):
    """Replaces tracebacks of a full disk with one line that names the remedy; such errors can be frequent."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Replace the traceback of a record, and keep every record."""
        if record.exc_info and (message := disk_full_message(record.exc_info[1])):
            record.msg, record.args = f"{record.getMessage()}: {message}", ()
            record.exc_info = record.exc_text = None
        return True


class RefusalFilter(logging.Filter):
    """Replaces the tracebacks of refused requests, which are not errors, with their reasons."""

    def filter(self, record: logging.LogRecord) -> bool:
        if record.exc_info and isinstance(refusal := record.exc_info[1], REFUSALS):
            message, reason = record.getMessage(), str(refusal)
            record.msg, record.args = message if reason in message else f"{message}: {reason}", ()
            record.exc_info = record.exc_text = None
        return True


class ReadinessFilter(logging.Filter):
    """Drops Django's log record of each 503 response to /readyz, which monitoring requests often."""

    def filter(self, record: logging.LogRecord) -> bool:
        path = getattr(getattr(record, "request", None), "path_info", "")
        return not (path == "/readyz" and getattr(record, "status_code", 0) == 503)


class DiskFullResponse(HttpResponse):
    """The page that shows which disk is full and what to do about it."""

    status_code = 507


def disk_full_page(request: HttpRequest, error: BaseException | None) -> DiskFullResponse | None:
    """Return the page for an error of a full disk; None for any other error. Reads no database."""
    message = disk_full_message(error)
    if not message:
        return None
    logger.error("%s %s: %s", request.method, request.path, message)
    is_change = request.method not in ("GET", "HEAD", "OPTIONS")
    return DiskFullResponse(render_to_string("507.html", {"message": message, "is_change": is_change}))


def csrf_failure(request: HttpRequest, reason: str = "") -> HttpResponse:
    """Return the page for a form that is refused, with the reason and its remedy."""
    logger.warning("Forbidden (%s): %s", reason, request.path)
    origin = request.META.get("HTTP_ORIGIN", "")
    context = {"reason": reason, "origin": origin, "own_origin": f"{request.scheme}://{request.get_host()}"}
    context["is_other_origin"] = "checking failed" in reason and origin not in ("", "null")
    return HttpResponse(render_to_string("403_csrf.html", context, request), status=403)


def server_error(request: HttpRequest) -> HttpResponse:
    """Return the error page for an unhandled exception; Django calls this inside the handler."""
    error = sys.exc_info()[1]
    if page := disk_full_page(request, error):
        return page
    if isinstance(error, DatabaseFailure) and not connection.is_usable():
        return HttpResponse(render_to_string("503.html"), status=503)
    return plain_server_error(request)
