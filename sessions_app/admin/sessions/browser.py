"""Renders the state of a session's browser."""

from __future__ import annotations

from typing import Any

from django.template.defaultfilters import filesizeformat
from django.utils.html import format_html
from django.utils.safestring import SafeString

from sessions_app.access.permissions import may_close_browsers, may_probe_browsers, may_see_endpoints
from sessions_app.admin import badges, formatting
from sessions_app.browsers.probe import Liveness, Unclear
from sessions_app.liveness import Browser, browser_of
from sessions_app.models import BrowserSession
from sessions_app.session.browser_states import BrowserState

_BADGES = {
    BrowserState.ALIVE: ("good", "Alive"),
    BrowserState.IN_USE: ("good", "In use"),
    BrowserState.GONE: ("bad", "Browser gone"),
}
_SINGLE_PROBES = {
    Liveness.REPLACED: "Replaced",
    Liveness.UNREACHABLE: "Not reached",
    Liveness.NOT_ALLOWED: "Host not allowed",
}
_REASONS = {
    Unclear.LOGIN_REQUIRED.value: "it requires a login",
    Unclear.INVALID_ENDPOINT.value: "its endpoint is not the address of a browser",
    Unclear.NO_WEB_SOCKET.value: "the answer names no web socket",
    Unclear.NOT_DESCRIBED.value: "the answer does not identify the browser",
}


def browser_badge(browser: Browser) -> SafeString:
    """Render the state of a browser; blank if it was never probed or gave no clear answer."""
    if browser.state in _BADGES:
        return badges.badge(*_BADGES[browser.state])
    if browser.liveness in _SINGLE_PROBES:
        return badges.badge("stale", _SINGLE_PROBES[browser.liveness])
    return SafeString("")


def verdicts_with_browser(session: Any) -> SafeString:
    """Render the verdicts on a session, with a badge if its browser is gone: it is then not just “Valid”."""
    marks = badges.verdicts(session.reason_bits)
    browser = browser_of(session)
    return format_html("{} {}", marks, browser_badge(browser)) if browser.is_gone else marks


def describe_browser(browser: Browser) -> SafeString:
    """Render the state of a browser, the time of the last probe, the machine and the memory."""
    if browser.probed_at is None:
        return format_html("{}", "Not probed yet")
    details = []
    if browser.reason:
        details.append(_REASONS.get(browser.reason, browser.reason))
    if browser.liveness is Liveness.ALIVE and browser.is_in_use is None:
        details.append("clients not visible from this machine")
    if browser.memory_bytes:
        details.append(f"{filesizeformat(browser.memory_bytes)} of memory")
    if browser.machine:
        details.append(f"machine {browser.machine}")
    probed = format_html("probed at {}", formatting.moment(browser.probed_at))
    rest = format_html("{}{}", probed, "".join(f", {detail}" for detail in details))
    return format_html("{} {}", browser_badge(browser) or "Unknown,", rest)


def browser_context(user: Any, session: BrowserSession) -> dict[str, Any]:
    """Return the template context for the browser section of a session's page."""
    has_endpoint = session.endpoint_length > 0
    browser = browser_of(session)
    may_be_running = browser.state is not BrowserState.GONE
    return {
        "browser": browser,
        "browser_facts": describe_browser(browser) if has_endpoint else "",
        "can_probe": has_endpoint and may_probe_browsers(user),
        "can_close_browser": has_endpoint and may_be_running and may_close_browsers(user),
        "can_look_inside": has_endpoint and may_be_running and may_see_endpoints(user),
    }
