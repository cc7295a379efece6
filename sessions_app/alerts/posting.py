"""Sends webhooks and pings to allowed hosts, over connections of ``browsers.guard``.

A host is resolved once, and the connection goes to the address that was checked. Redirects are not followed.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from urllib.parse import urlsplit

from django.conf import settings

from sessions_app.browsers.address import escaped
from sessions_app.browsers.exchange import describe_status, send_message
from sessions_app.browsers.guard import EndpointRefused, NoAnswer, resolve
from sessions_app.session.endpoint import Endpoint, is_allowed_host

SETTING = "RAPTOR_WEBHOOK_ALLOWED_HOSTS"
TIMEOUT_SECONDS = 10.0


class NotSent(Exception):
    """Raised when a message was not accepted. The text contains the reason and no secret."""


def refusal(url: str) -> str:
    """Return why an address is refused; blank if it is allowed. Does not resolve the host."""
    endpoint = Endpoint.parse(url)
    if endpoint.scheme not in ("http", "https") or not endpoint.host:
        return "Enter an http or https address."
    if not is_allowed_host(endpoint.host, settings.RAPTOR_WEBHOOK_ALLOWED_HOSTS):
        return f"The host {endpoint.host} is not allowed. An operator must add it to {SETTING}."
    return ""


def send(method: str, url: str, *, body: bytes = b"", headers: Mapping[str, str] | None = None) -> None:
    """Send a request.

    Raises: NotSent: the address is refused, the server does not answer, or its status is not 2xx.
    """
    if reason := refusal(url):
        raise NotSent(reason)
    until = time.monotonic() + TIMEOUT_SECONDS
    try:
        address = resolve(
            url,
            allowed_hosts=settings.RAPTOR_WEBHOOK_ALLOWED_HOSTS,
            timeout_seconds=TIMEOUT_SECONDS / 2,
            setting=SETTING,
        )
        # Unlike the path of an endpoint, keep a trailing slash.
        target = address.request_path(escaped(urlsplit(url.strip()).path))
        status = send_message(address, method, target, headers or {}, body, until)
    except (EndpointRefused, NoAnswer) as error:
        text = str(error)
        raise NotSent(f"{text[:1].upper()}{text[1:]}.") from None
    if not 200 <= status < 300:
        note = " Redirects are not followed." if 300 <= status < 400 else ""
        raise NotSent(f"{address.place} answered {describe_status(status)}.{note}")
