"""The archive: sessions that cleanups removed, and the actions that restore them."""

from __future__ import annotations

from typing import Any

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import URLPattern, path, reverse
from django.utils.html import format_html
from django.views.decorators.http import require_POST

from sessions_app.access.permissions import may_clean_up
from sessions_app.access.visibility import visible
from sessions_app.admin import filters, formatting
from sessions_app.admin.archive import filters as archive_filters
from sessions_app.admin.archive.changelist import ArchiveList
from sessions_app.admin.base import ReadOnlyAdmin, is_id
from sessions_app.admin.changelist import SEARCH_HELP
from sessions_app.admin.sessions.detail import session_context
from sessions_app.admin.sessions.history import history_context, removal_reasons
from sessions_app.cleanup import restore_sessions, sessions_missing_files, unwritten_files
from sessions_app.models import ArchivedSession, BrowserSession
from sessions_app.session.criteria import SELECTION_LIMIT, reasons_in
from sessions_app.templatetags.raptor import revealed
from sessions_app.text import part_of, were


@admin.register(ArchivedSession)
class ArchivedSessionAdmin(ReadOnlyAdmin):
    actions = ("restore",)
    list_display = ("name", "namespace", "why", "removed", "run_link", "size")
    list_display_links = ("name",)
    sortable_by = ("removed",)
    list_filter = (
        archive_filters.ReasonFilter,
        archive_filters.RemovedFilter,
        filters.NamespaceFilter,
        filters.RunFilter,
        archive_filters.PolicyFilter,
        archive_filters.UserFilter,
    )
    show_facets = admin.ShowFacets.NEVER
    # Only enables the search box. See ``changelist`` for the search.
    search_fields = ("name",)
    search_help_text = SEARCH_HELP
    list_per_page = formatting.ROWS_PER_PAGE
    show_full_result_count = False

    class Media:
        # Load this script after Django's script: it moves the focus to elements that Django's script shows.
        js = ("admin/js/actions.js", "sessions_app/selection.js")

    def get_queryset(self, request: HttpRequest) -> QuerySet[ArchivedSession]:
        return visible(request.user, super().get_queryset(request))

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ArchiveList]:
        return ArchiveList

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[Any], bool]:
        return queryset, False

    def get_urls(self) -> list[URLPattern]:
        restore = self.admin_site.admin_view(require_POST(self.restore_view))
        return [
            path("<path:object_id>/restore/", restore, name="sessions_app_archivedsession_restore"),
            *super().get_urls(),
        ]

    def has_clean_up_permission(self, request: HttpRequest) -> bool:
        return may_clean_up(request.user)

    @admin.action(description="Restore selected", permissions=["clean_up"])
    def restore(self, request: HttpRequest, queryset: QuerySet[ArchivedSession]) -> None:
        ids = list(queryset.order_by().values_list("pk", flat=True)[: SELECTION_LIMIT + 1])
        if len(ids) > SELECTION_LIMIT:
            self.message_user(
                request,
                f"At most {SELECTION_LIMIT:,} sessions can be restored at once. Undo their runs instead.",
                messages.ERROR,
            )
            return
        restored = restore_sessions(ids)
        self._show_unwritten(request, ids)
        message = f"{part_of(restored, len(ids), 'session')} {were(len(ids))} restored."
        if restored == len(ids):
            self.message_user(request, message, messages.SUCCESS)
        else:
            left = len(ids) - restored
            message += f" Still in the archive, because names or files are taken: {left:,}."
            self.message_user(request, message, messages.WARNING)

    def _show_unwritten(self, request: HttpRequest, ids: list[int]) -> None:
        for unwritten in unwritten_files(sessions_missing_files().filter(pk__in=ids)):
            self.message_user(request, unwritten.message, messages.WARNING)

    def restore_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Restore one session, and redirect to its page."""
        session = self.get_viewable(request, object_id)
        if session is None:
            return self.redirect_missing(request, object_id)
        if not self.has_clean_up_permission(request):
            raise PermissionDenied
        if not restore_sessions([session.pk]):
            message = "stays in the archive because another session or file has its name."
            self.message_user(request, f"“{session.name}” {message}", messages.WARNING)
            return HttpResponseRedirect(
                reverse("admin:sessions_app_archivedsession_change", args=[object_id])
            )
        self._show_unwritten(request, [session.pk])
        self.message_user(request, f"“{session.name}” was restored.", messages.SUCCESS)
        return HttpResponseRedirect(reverse("admin:sessions_app_browsersession_change", args=[session.pk]))

    def redirect_missing(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Redirect to the live session if the session was restored."""
        if is_id(object_id) and request.user.has_perm("sessions_app.view_browsersession"):
            live = visible(request.user, BrowserSession.objects.filter(pk=int(object_id)))
            if live.exists():
                page = reverse("admin:sessions_app_browsersession_change", args=[object_id])
                return HttpResponseRedirect(page)
        return super().redirect_missing(request, object_id)

    @admin.display(description="Reasons")
    def why(self, session: ArchivedSession) -> str:
        reasons = formatting.sentences(reason.sentence for reason in reasons_in(session.reasons or 0))
        return format_html("{}{}", reasons, revealed(session.name))

    @admin.display(description="Removed", ordering="removed_at")
    def removed(self, session: ArchivedSession) -> str:
        return formatting.moment(session.removed_at)

    @admin.display(description="Run")
    def run_link(self, session: Any) -> str:
        address = reverse("admin:sessions_app_cleanuprun_change", args=[session.run_id])
        return format_html('<a href="{}">Run {}</a>', address, session.run_id)

    @admin.display(description="Size")
    def size(self, session: ArchivedSession) -> str:
        return formatting.size(session.size_bytes)

    def show(self, request: HttpRequest, session: Any) -> HttpResponse:
        context = session_context(session, session.reasons, as_of=session.run.as_of)
        context["removal"] = {
            "run": session.run,
            "at": formatting.moment(session.removed_at),
            "reasons": removal_reasons(session),
            "is_linked": request.user.has_perm("sessions_app.view_cleanuprun"),
        }
        context["can_restore"] = self.has_clean_up_permission(request)
        context |= history_context(request, session)
        return self.page(request, "session.html", session.name, context)
