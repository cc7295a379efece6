"""The archive: the sessions that cleanups removed, and the action that restores them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.contrib import admin, messages
from django.db.models import Q, QuerySet
from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from django.utils.html import format_html

from sessions_app.access.permissions import may_clean_up
from sessions_app.access.visibility import hidden_from, is_visible, visible, visible_runs
from sessions_app.admin import filters, formatting
from sessions_app.admin.base import ReadOnlyAdmin, is_id
from sessions_app.admin.changelist import BOUND, READ_BOUND, BoundedChangeList, Listing, first_rows
from sessions_app.admin.sessions.detail import session_context
from sessions_app.admin.sessions.history import history_context, removal_reasons
from sessions_app.cleanup import owed_sessions, restore_sessions, unwritten_files
from sessions_app.models import ArchivedSession, CleanupRun
from sessions_app.session.criteria import SELECTION_LIMIT, reasons_in
from sessions_app.templatetags.raptor import revealed


class ArchiveList(BoundedChangeList):
    """Sorted by time of removal; the sessions of one run by id, the order in which it removed them."""

    def columns_of(self, name: str) -> Sequence[str]:
        return ("pk",) if "run" in self.params else ("removed_at", "pk")

    def get_listing(self, request: HttpRequest) -> Listing:
        rows = ArchivedSession.objects.order_by(*self.get_ordering(request, self.root_queryset))
        if (run := self.params.get("run")) is not None:
            runs = visible_runs(request.user, CleanupRun.objects.filter(pk=int(run) if is_id(run) else 0))
            rows = rows.filter(run__in=list(runs.values_list("pk", flat=True)))
        rest = [Q(namespace=self.params["namespace"])] if "namespace" in self.params else []
        rest += [Q(name__icontains=self.query)] if self.query else []
        rest += [is_visible(request.user)] if hidden_from(request.user) else []
        bound = READ_BOUND if rest else BOUND
        found, has_more = first_rows(rows, *rest, bound=bound)
        ids = [pk for (pk,) in found]
        if not (rest and has_more):
            return Listing(ids, is_truncated=has_more)
        latest = "last" if self.get_ordering(request, rows)[0].startswith("-") else "first"
        note = f"Only the {bound:,} that were removed {latest} were searched. Others may match too."
        return Listing(ids, is_partial=True, notes=[note])


@admin.register(ArchivedSession)
class ArchivedSessionAdmin(ReadOnlyAdmin):
    actions = ("restore",)
    list_display = ("name", "namespace", "why", "removed", "run_link", "size")
    list_display_links = ("name",)
    sortable_by = ("removed",)
    list_filter = (filters.NamespaceFilter, filters.RunFilter)
    show_facets = admin.ShowFacets.NEVER
    search_fields = ("name",)
    search_help_text = "Search by name"
    list_per_page = formatting.ROWS_PER_PAGE
    show_full_result_count = False

    class Media:
        # Load it after Django's script, which shows the elements that it moves the focus to.
        js = ("admin/js/actions.js", "sessions_app/selection.js")

    def get_queryset(self, request: HttpRequest) -> QuerySet[ArchivedSession]:
        return visible(request.user, super().get_queryset(request)).defer("document", "last_good_document")

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ArchiveList]:
        return ArchiveList

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
        message = f"{restored:,} of {len(ids):,} sessions were restored."
        if restored == len(ids):
            self.message_user(request, message, messages.SUCCESS)
        else:
            message += " The others stay in the archive because their names or files are taken."
            self.message_user(request, message, messages.WARNING)
        for unwritten in unwritten_files(owed_sessions().filter(pk__in=ids)):
            self.message_user(request, unwritten.message, messages.WARNING)

    @admin.display(description="Reasons")
    def why(self, session: ArchivedSession) -> str:
        text = formatting.sentences(reason.sentence for reason in reasons_in(session.reasons))
        return format_html("{}{}", text, revealed(session.name))

    @admin.display(description="Removed", ordering="removed_at")
    def removed(self, session: ArchivedSession) -> str:
        return formatting.to_the_minute(session.removed_at)

    @admin.display(description="Run")
    def run_link(self, session: Any) -> str:
        address = reverse("admin:sessions_app_cleanuprun_change", args=[session.run_id])
        return format_html('<a href="{}">Run {}</a>', address, session.run_id)

    @admin.display(description="Size")
    def size(self, session: ArchivedSession) -> str:
        return formatting.size(session.size_bytes)

    def show(self, request: HttpRequest, session: ArchivedSession) -> HttpResponse:
        context = session_context(session, session.reasons, as_of=session.run.as_of)
        context["removal"] = {
            "run": session.run,
            "at": formatting.moment(session.removed_at),
            "reasons": removal_reasons(session),
            "is_linked": request.user.has_perm("sessions_app.view_cleanuprun"),
        }
        context |= history_context(request, session)
        return self.page(request, "session.html", session.name, context)
