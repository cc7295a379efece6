"""The archive: what cleanups removed, and the way back."""

from __future__ import annotations

from typing import Any

from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from django.utils.html import format_html

from sessions_app.admin import filters, presentation
from sessions_app.admin.base import ReadOnlyAdmin, may_clean_up
from sessions_app.admin.detail import session_context
from sessions_app.cleanup import restore_sessions
from sessions_app.criteria import SELECTION_LIMIT, reasons_in
from sessions_app.models import ArchivedSession


@admin.register(ArchivedSession)
class ArchivedSessionAdmin(ReadOnlyAdmin):
    actions = ("bring_back",)
    list_display = ("name", "namespace", "why", "removed", "run_link", "size")
    list_display_links = ("name",)
    list_filter = (filters.NamespaceFilter, filters.RunFilter)
    show_facets = admin.ShowFacets.NEVER
    search_fields = ("name",)
    search_help_text = "Search by name"
    list_per_page = presentation.ROWS_PER_PAGE
    show_full_result_count = False

    def get_queryset(self, request: HttpRequest) -> QuerySet[ArchivedSession]:
        return super().get_queryset(request).defer("document")

    def has_clean_up_permission(self, request: HttpRequest) -> bool:
        return may_clean_up(request)

    @admin.action(description="Bring back selected", permissions=["clean_up"])
    def bring_back(self, request: HttpRequest, queryset: QuerySet[ArchivedSession]) -> None:
        ids = list(queryset.order_by().values_list("pk", flat=True)[: SELECTION_LIMIT + 1])
        if len(ids) > SELECTION_LIMIT:
            self.message_user(
                request,
                f"At most {SELECTION_LIMIT:,} sessions can be brought back at once. Undo their runs instead.",
                messages.ERROR,
            )
            return
        restored = restore_sessions(ids)
        told = f"{restored:,} of {len(ids):,} sessions are back."
        if restored == len(ids):
            self.message_user(request, told, messages.SUCCESS)
        else:
            self.message_user(
                request, f"{told} The others stay: their names or files are taken.", messages.WARNING
            )

    @admin.display(description="Why it was removed")
    def why(self, session: ArchivedSession) -> str:
        return presentation.sentences(reason.sentence for reason in reasons_in(session.reasons))

    @admin.display(description="Removed", ordering="removed_at")
    def removed(self, session: ArchivedSession) -> str:
        return presentation.to_the_minute(session.removed_at)

    @admin.display(description="Run", ordering="run_id")
    def run_link(self, session: Any) -> str:
        address = reverse("admin:sessions_app_cleanuprun_change", args=[session.run_id])
        return format_html('<a href="{}">Run {}</a>', address, session.run_id)

    @admin.display(description="Size", ordering="size_bytes")
    def size(self, session: ArchivedSession) -> str:
        return presentation.size(session.size_bytes)

    def show(self, request: HttpRequest, session: ArchivedSession) -> HttpResponse:
        context = session_context(session, session.reasons, as_of=session.run.as_of)
        context["removal"] = {
            "run": session.run,
            "at": presentation.moment(session.removed_at),
            "reasons": presentation.explain(
                session.reasons,
                session.last_accessed,
                as_of=session.run.as_of,
                max_age_days=session.run.criteria.max_age_days,
            ),
        }
        return self.page(request, "session.html", session.name, context)
