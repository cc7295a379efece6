"""Logins: wrong ones are logged and locked out, and idle ones end."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Any

from axes.backends import AxesStandaloneBackend
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render

from raptor_admin.proxies import client_address

logger = logging.getLogger(__name__)

SAVED_EVERY_SECONDS = 300
"""Interval at which the time of the last activity is saved; each save is a write to the database."""

POLLS = frozenset({"sessions_app_cleanuprun_progress", "sessions_app_storage_counted"})
"""Names of the URLs that an open page requests by itself, which is not activity."""

_ACTIVE_AT = "active_at"


class LockoutBackend(AxesStandaloneBackend):
    """Refuses logins of a user name from an address with too many wrong passwords.

    Programs on the machine, which authenticate without a request, are not locked out.
    """

    def authenticate(self, request: HttpRequest | None, **credentials: Any) -> None:
        """Raise PermissionDenied if the login is locked out."""
        if request is not None:
            super().authenticate(request, **credentials)


def locked_out(request: HttpRequest, credentials: Any, *args: Any, **kwargs: Any) -> HttpResponse:
    """Return the page for a login that is locked out."""
    return render(request, "429.html", status=429)


def log_failure(
    sender: Any, credentials: dict[str, Any], request: HttpRequest | None = None, **kwargs: Any
) -> None:
    """Log a wrong login: its user name and its address, and never its password."""
    address = client_address(request) if request else "this machine"
    logger.warning("Login failed: user %.150r from %s", credentials.get("username", ""), address)


def log_lockout(sender: Any, username: str, ip_address: str, **kwargs: Any) -> None:
    """Log that a login is locked out."""
    logger.warning("Login locked: user %.150r from %s", username, ip_address)


def note_activity(sender: Any, request: HttpRequest, **kwargs: Any) -> None:
    """Note the time of a login in its session, which is saved anyway."""
    request.session[_ACTIVE_AT] = int(time.time())


class IdleLogoutMiddleware:
    """Extends a login by its activity, so that it ends after SESSION_COOKIE_AGE without any."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        """Pass the request on."""
        return self.get_response(request)

    def process_view(self, request: HttpRequest, view: Any, args: Any, kwargs: Any) -> None:
        """Save the time of the activity, at most once in ``SAVED_EVERY_SECONDS``."""
        match = request.resolver_match
        if not request.user.is_authenticated or match is None or match.url_name in POLLS:
            return
        now = int(time.time())
        # A clock that was set back must not keep the login from being extended.
        if not 0 <= now - request.session.get(_ACTIVE_AT, 0) < SAVED_EVERY_SECONDS:
            request.session[_ACTIVE_AT] = now
