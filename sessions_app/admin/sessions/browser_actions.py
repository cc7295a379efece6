"""The buttons for the browsers of sessions: probe, close, and look inside."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Sequence
from functools import partial
from typing import Any

from django.conf import settings
from django.contrib import messages
from django.core import signing
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import URLPattern, path, reverse
from django.views.decorators.http import require_GET, require_POST

from sessions_app import liveness
from sessions_app.access.permissions import may_close_browsers, may_probe_browsers, may_see_endpoints
from sessions_app.admin.base import RaptorAdmin, show_queued
from sessions_app.admin.sessions.browser_opening import open_view
from sessions_app.browsers import inside
from sessions_app.deadline import Deadline
from sessions_app.exceptions import SessionException
from sessions_app.liveness import SavedBrowser
from sessions_app.models import BrowserSession, SessionEvent
from sessions_app.text import count_of, were
from sessions_app.transactions import retry_when_busy

logger = logging.getLogger(__name__)
REQUEST_LIMIT = 100
"""Maximum sessions that a request probes or closes by itself. The worker probes larger selections."""
REQUEST_SECONDS = 20.0
PERMIT_SECONDS = 300
"""Time limit for loading the screenshots of a page whose view was logged."""
_SALT = "sessions_app.look_inside"


def urls(screen: Any) -> list[URLPattern]:
    """Return the URLs for a session's browser."""
    views: dict[str, tuple[str, Callable[..., HttpResponse]]] = {
        "<int:session_id>/probe/": ("probe", require_POST(partial(probe_view, screen))),
        "<int:session_id>/close-browser/": ("close_browser", partial(close_view, screen)),
        "<int:session_id>/inside/": ("inside", require_POST(partial(inside_view, screen))),
        "<int:session_id>/inside/<int:number>/": (
            "screenshot",
            require_GET(partial(screenshot_view, screen)),
        ),
        "open-browser/": ("open_browser", partial(open_view, screen)),
    }
    return [
        path(route, screen.admin_site.admin_view(view), name=f"sessions_app_browsersession_{name}")
        for route, (name, view) in views.items()
    ]


def probe_view(screen: RaptorAdmin, request: HttpRequest, session_id: int) -> HttpResponse:
    """Probe the browser of a session now, or queue a probe by the worker of its machine."""
    session = _session(screen, request, session_id, is_allowed=may_probe_browsers(request.user))
    probe_now(request, [session.pk])
    return _to_page(session.pk)


def probe_now(request: HttpRequest, keys: Collection[int]) -> None:
    """Probe sessions within the request if they are few and on this machine; otherwise queue the probes."""
    sessions = BrowserSession.objects.filter(pk__in=keys)
    found = list(liveness.targets(sessions, liveness.announced_machines()))
    here = [one for one in found if one.is_ours]
    if len(here) > REQUEST_LIMIT:
        here = []
    if here:
        counts = liveness.probe_all(here, deadline=Deadline.after(REQUEST_SECONDS))
        messages.success(request, f"{counts.describe()}.")
    queued = [one for one in found if one not in here]
    if queued and not settings.RAPTOR_PROBE_SECONDS:
        refused = count_of(len(queued), "browser")
        messages.warning(request, f"The worker does not probe {refused}: RAPTOR_PROBE_SECONDS is 0.")
    elif queued:
        liveness.probe_by_worker(queued)
        show_queued(request, f"The worker probes {count_of(len(queued), 'browser')}.")


def close_view(screen: RaptorAdmin, request: HttpRequest, session_id: int) -> HttpResponse:
    """Show the confirmation page for closing the browser of a session; close it on a confirmed POST."""
    session = _session(screen, request, session_id, is_allowed=may_close_browsers(request.user))
    return confirm_closing(screen, request, [session.pk])


def confirm_closing(screen: RaptorAdmin, request: HttpRequest, keys: Sequence[int]) -> HttpResponse:
    """Show the browsers to close; on POST with a confirmation, close them.

    If a client is connected to one of them, the user must type the number of browsers in use.
    """
    if not may_close_browsers(request.user):
        raise PermissionDenied
    sessions = list(
        screen.get_queryset(request)
        .filter(pk__in=keys)
        .select_related("probe")
        .order_by("name")[:REQUEST_LIMIT]
    )
    in_use = [one for one in sessions if liveness.browser_of(one).is_in_use]
    error = ""
    if request.method == "POST" and "confirm" in request.POST:
        confirmed, error = _confirmed(request, {one.pk for one in in_use})
        if not error:
            _close(request, [one.pk for one in sessions], confirmed=confirmed)
            return _to_page(sessions[0].pk) if len(sessions) == 1 else HttpResponseRedirect(_list_url())
    context = {
        "sessions": sessions,
        "in_use": in_use,
        "has_more": len(keys) > len(sessions),
        "number_error": error,
        "back": _page_of(sessions[0].pk) if len(sessions) == 1 else _list_url(),
    }
    title = "Close the browser?" if len(sessions) == 1 else "Close browsers?"
    return screen.page(request, "browsersession/close.html", title, context)


def _confirmed(request: HttpRequest, in_use: set[int]) -> tuple[set[int], str]:
    """Return the sessions in use whose closing is confirmed, and an error message or a blank.

    The typed number confirms only browsers that the page showed as in use.
    """
    shown = {int(key) for key in request.POST.getlist("in_use") if key.isdecimal()}
    confirmed = shown if request.POST.get("number", "").strip() == str(len(shown)) else set()
    if in_use <= confirmed:
        return confirmed, ""
    more = "" if in_use <= shown else "More browsers are in use now. "
    return set(), f"Nothing was closed. {more}Type {len(in_use)} to confirm."


def _close(request: HttpRequest, keys: list[int], *, confirmed: Collection[int]) -> None:
    """Close browsers; close a browser in use only if the user has confirmed it."""
    closings = liveness.close_sessions(
        keys,
        actor=request.user.get_username(),
        confirmed=confirmed,
        deadline=Deadline.after(REQUEST_SECONDS),
    )
    closed = [one for one in closings if one.was_running and not one.reason]
    kept = [one for one in closings if one.reason]
    if closed:
        logger.info("%s closed %s", request.user.get_username(), count_of(len(closed), "browser"))
        messages.success(request, f"{count_of(len(closed), 'browser')} closed. The sessions are kept.")
    if not closed and not kept:
        messages.info(request, "No browser was running.")
    for one in kept[:3]:
        messages.warning(request, f"A browser was not closed. {one.reason}")
    if (others := len(kept) - 3) > 0:
        text = f"{others:,} more {were(others)} not closed. The reasons are in the histories of the sessions."
        messages.warning(request, text)


def inside_view(screen: RaptorAdmin, request: HttpRequest, session_id: int) -> HttpResponse:
    """Show the open pages of a session's browser, and log the view."""
    session = _session(screen, request, session_id, is_allowed=may_see_endpoints(request.user))
    browser = _browser(session)
    if not browser.is_here:
        machine = f"the machine {browser.machine}" if browser.machine else "an unknown machine"
        messages.warning(request, f"Its browser is on {machine}, which the web server cannot reach.")
        return _to_page(session.pk)
    user = request.user.get_username()
    event = SessionEvent(session_key=session.pk, code=SessionEvent.Code.SEEN, actor=user)
    retry_when_busy(event.save)
    logger.info("The pages of the browser of %r were shown to %s", str(session), user)
    try:
        pages = inside.pages_of(browser.cdp_url, **_identity(browser))
    except SessionException as failure:
        messages.warning(request, failure.message)
        return _to_page(session.pk)
    context = {
        "session": session,
        "pages": list(enumerate(map(str, pages)))[:REQUEST_LIMIT],
        "permit": signing.dumps(_permit(request, session), salt=_SALT),
    }
    return screen.page(
        request, "browsersession/inside.html", f"Inside the browser of {session.name}", context
    )


def screenshot_view(screen: RaptorAdmin, request: HttpRequest, session_id: int, number: int) -> HttpResponse:
    """Return a new screenshot of a page; it is not stored."""
    session = _session(screen, request, session_id, is_allowed=may_see_endpoints(request.user))
    try:
        # Only the page whose view was logged has a valid permit.
        permit = signing.loads(request.GET.get("permit", ""), salt=_SALT, max_age=PERMIT_SECONDS)
    except signing.BadSignature:
        raise PermissionDenied from None
    browser = _browser(session)
    if permit != _permit(request, session) or not browser.is_here:
        raise PermissionDenied
    try:
        image = inside.screenshot_of(browser.cdp_url, **_identity(browser), number=number)
    except SessionException:
        image = None
    if image is None:
        raise Http404
    return HttpResponse(image, content_type="image/jpeg")


def _permit(request: HttpRequest, session: BrowserSession) -> list[int | None]:
    return [request.user.pk, session.pk]


def _session(
    screen: Any, request: HttpRequest, session_id: int, *, is_allowed: bool = True
) -> BrowserSession:
    session: BrowserSession | None = screen.get_viewable(request, str(session_id))
    if session is None:
        raise Http404
    if not is_allowed:
        raise PermissionDenied
    return session


def _browser(session: BrowserSession) -> SavedBrowser:
    found = liveness.saved_browsers([session.pk])
    if not found:
        # The session was removed in the meantime.
        raise Http404
    return found[0]


def _identity(browser: SavedBrowser) -> dict[str, Any]:
    hosts = settings.RAPTOR_CDP_ALLOWED_HOSTS
    return {"allowed_hosts": hosts, "name": browser.name, "target_id": browser.target_id}


def _page_of(key: int) -> str:
    return reverse("admin:sessions_app_browsersession_change", args=[key])


def _list_url() -> str:
    return reverse("admin:sessions_app_browsersession_changelist")


def _to_page(key: int) -> HttpResponse:
    return HttpResponseRedirect(_page_of(key))
