"""The page of a live session and its buttons."""

from __future__ import annotations

import logging
from typing import Any

from django.conf import settings
from django.contrib import messages
from django.contrib.admin.templatetags.admin_urls import add_preserved_filters
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import URLPattern, path, reverse
from django.views.decorators.http import require_POST

from sessions_app.access.permissions import (
    may_clean_up,
    may_close_browsers,
    may_probe_browsers,
    may_see_endpoints,
)
from sessions_app.access.visibility import visible
from sessions_app.admin.base import ReadOnlyAdmin, is_id
from sessions_app.admin.runs import actions as run_actions
from sessions_app.admin.sessions.browser import browser_context, verdicts_with_browser
from sessions_app.admin.sessions.detail import session_context
from sessions_app.admin.sessions.history import ENDPOINT_SHOWN, history_context
from sessions_app.admin.sessions.pinning import set_pins
from sessions_app.cleanup import CleanupRefused
from sessions_app.models import ArchivedSession, BrowserSession
from sessions_app.session.criteria import Criteria, InvalidCriteria

logger = logging.getLogger(__name__)


class SessionActions(ReadOnlyAdmin):
    """The part of the screen of sessions that shows and changes a single session."""

    def page_urls(self) -> list[URLPattern]:
        actions = {"pin": self.pin_view, "clean_up": self.clean_up_view, "endpoint": self.endpoint_view}
        return [
            path(
                f"<path:object_id>/{name.replace('_', '-')}/",
                self.admin_site.admin_view(require_POST(view)),
                name=f"sessions_app_browsersession_{name}",
            )
            for name, view in actions.items()
        ]

    def has_clean_up_permission(self, request: HttpRequest) -> bool:
        return may_clean_up(request.user)

    def has_close_browser_permission(self, request: HttpRequest) -> bool:
        return may_close_browsers(request.user)

    def has_probe_browsers_permission(self, request: HttpRequest) -> bool:
        return may_probe_browsers(request.user)

    def has_pin_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("sessions_app.change_browsersession")

    def show(self, request: HttpRequest, session: Any, *, endpoint: str = "") -> HttpResponse:
        """Render the page of a session, with its endpoint if the user requested it."""
        offers_endpoint = session.endpoint_length > 0 and not endpoint and may_see_endpoints(request.user)
        context = session_context(
            session,
            session.reason_bits,
            as_of=session.evaluated_at,
            offers_endpoint=offers_endpoint,
            shows_credentials=bool(endpoint),
        )
        context |= {
            "can_pin": self.has_pin_permission(request),
            "can_clean_up": self.has_clean_up_permission(request),
            "offers_endpoint": offers_endpoint,
            "endpoint": endpoint,
            "verdicts": verdicts_with_browser(session),
            **browser_context(request.user, session),
            **history_context(request, session),
        }
        return self.page(request, "session.html", session.name, context)

    def history_view(
        self, request: HttpRequest, object_id: str, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """Redirect to the history on the page; Django's own shows all users who viewed an endpoint."""
        page = reverse("admin:sessions_app_browsersession_change", args=[object_id])
        return HttpResponseRedirect(f"{page}#history")

    def clean_up_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Plan the removal of a session and redirect to the preview."""
        session = self._to_act_on(request, object_id, is_allowed=self.has_clean_up_permission(request))
        if session.is_pinned:
            self.message_user(request, f"“{session.name}” is pinned. Unpin it first.", messages.WARNING)
            return self._to_page(request, session)
        chosen = Criteria(
            session_ids=(session.pk,),
            namespace=session.namespace,
            max_age_days=settings.RAPTOR_MAX_AGE_DAYS,
        )
        try:
            run = run_actions.make_plan(request, chosen)
        except (CleanupRefused, InvalidCriteria) as reason:
            self.message_user(request, f"Nothing was planned: {reason}", messages.ERROR)
            return self._to_page(request, session)
        return run_actions.redirect_to_plan(run)

    def endpoint_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Show the endpoint of a session and the credentials in its document, and log that the user did."""
        session = self._to_act_on(request, object_id, is_allowed=may_see_endpoints(request.user))
        if not session.endpoint_length:
            self.message_user(request, f"“{session.name}” has no endpoint.", messages.WARNING)
            return self._to_page(request, session)
        self.log_change(request, session, ENDPOINT_SHOWN)
        # Log the repr: a line break in a name would forge a log line.
        logger.info("The endpoint of %r was shown to %s", str(session), request.user.get_username())
        response = self.show(request, session, endpoint=session.cdp_url)
        response["Cache-Control"] = "no-store"
        return response

    def pin_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Pin a session, or unpin it."""
        session = self._to_act_on(request, object_id, is_allowed=self.has_pin_permission(request))
        is_pinned = request.POST.get("pin") == "1"
        changed = set_pins(request.user, [session.pk], is_pinned=is_pinned)
        if not changed and not BrowserSession.objects.filter(pk=session.pk).exists():
            return self.redirect_missing(request, object_id)
        text = "is pinned. Only a cleanup of all sessions removes it" if is_pinned else "was unpinned"
        self.message_user(request, f"“{session.name}” {text}.", messages.SUCCESS)
        return self._to_page(request, session)

    def _to_act_on(self, request: HttpRequest, object_id: str, *, is_allowed: bool) -> Any:
        """Return the session that a button was clicked for.

        Raises: PermissionDenied, Http404.
        """
        session = self.get_viewable(request, object_id)
        if session is None:
            raise Http404
        if not is_allowed:
            raise PermissionDenied
        return session

    def _to_page(self, request: HttpRequest, session: BrowserSession) -> HttpResponse:
        """Redirect to the page of a session, keeping the filters of the list."""
        page = reverse("admin:sessions_app_browsersession_change", args=[session.pk])
        preserved: dict[str, Any] = {
            "preserved_filters": self.get_preserved_filters(request),
            "opts": self.opts,
        }
        return HttpResponseRedirect(add_preserved_filters(preserved, page))

    def redirect_missing(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Redirect to the archive if the session was removed."""
        if is_id(object_id) and request.user.has_perm("sessions_app.view_archivedsession"):
            archived = visible(request.user, ArchivedSession.objects.filter(pk=int(object_id)))
            if archived.exists():
                self.message_user(request, "This session was removed. It is in the archive.", messages.INFO)
                page = reverse("admin:sessions_app_archivedsession_change", args=[object_id])
                return HttpResponseRedirect(page)
        return super().redirect_missing(request, object_id)
