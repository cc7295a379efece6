"""The list of sessions and its actions."""

from __future__ import annotations

from collections import Counter
from typing import Any

from django.conf import settings
from django.contrib import admin, messages
from django.db.models import Count, QuerySet
from django.http import HttpRequest, HttpResponse
from django.urls import URLPattern
from django.utils.html import format_html

from sessions_app.access.visibility import visible
from sessions_app.admin import badges, filters, formatting
from sessions_app.admin.changelist import selects_all
from sessions_app.admin.reports import admin as storage
from sessions_app.admin.runs import actions as run_actions
from sessions_app.admin.sessions.actions import SessionActions
from sessions_app.admin.sessions.changelist import bounded_selection
from sessions_app.admin.sessions.facet_counts import FacetedList
from sessions_app.cleanup import CleanupRefused
from sessions_app.models import BrowserSession
from sessions_app.session.criteria import SELECTION_LIMIT, Criteria, InvalidCriteria, Reason, reasons_in
from sessions_app.session.problems import Problem
from sessions_app.session.selection import InvalidSelection
from sessions_app.templatetags.raptor import revealed

VALIDATED_ROWS = 200


class TooManySelected(ValueError):
    """Raised when more sessions are selected than a plan can list by id."""

    def __init__(self) -> None:
        super().__init__(f"at most {SELECTION_LIMIT:,} sessions can be selected without a filter.")


@admin.register(BrowserSession)
class BrowserSessionAdmin(SessionActions):
    list_display = ("name", "namespace", "status", "why", "browser", "age", "size")
    list_display_links = ("name",)
    # No index has the sessions of all namespaces in order of name.
    sortable_by = ("namespace", "browser", "age", "size")
    list_filter = (
        filters.ProblemFilter,
        filters.ExpiredFilter,
        filters.LastAccessedFilter,
        filters.BrowserTypeFilter,
        filters.NamespaceFilter,
        filters.PinnedFilter,
    )
    # Only enables the search box: see ``changelist`` for the search itself.
    search_fields = ("name",)
    search_help_text = "Search by the start of the name, or by part of the name, host, session id or metadata"
    list_per_page = formatting.ROWS_PER_PAGE
    show_full_result_count = False
    # The counts are bounded: see ``facet_counts``.
    show_facets = admin.ShowFacets.ALLOW
    actions = ("clean_up", "validate")

    class Media:
        # Load it after Django's script, which shows the elements that it moves the focus to.
        js = ("admin/js/actions.js", "sessions_app/selection.js")

    def get_queryset(self, request: HttpRequest) -> QuerySet[BrowserSession]:
        # No list shows documents, which may have megabytes.
        sessions = visible(request.user, super().get_queryset(request)).defer(
            "document", "last_good_document"
        )
        return formatting.annotate_status(sessions, formatting.request_time(request))

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[FacetedList]:
        return FacetedList

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[Any], bool]:
        return queryset, False

    def get_object(
        self, request: HttpRequest, object_id: str, from_field: str | None = None
    ) -> BrowserSession | None:
        try:
            return self.get_queryset(request).defer(None).filter(pk=int(object_id)).first()
        except ValueError:
            return None

    def get_urls(self) -> list[URLPattern]:
        return [*storage.urls(self), *self.page_urls(), *super().get_urls()]

    @admin.display(description="Status")
    def status(self, session: Any) -> str:
        marks = badges.verdicts(session.reason_bits)
        if session.is_pinned:
            marks = format_html("{} {}", marks, badges.badge("quiet", "Pinned"))
        return marks

    @admin.display(description="Why")
    def why(self, session: Any) -> str:
        reasons = formatting.sentences(
            formatting.explain(session.reason_bits, session.last_accessed, as_of=session.evaluated_at)
        )
        # The column of the name is Django's own, which shows the name alone.
        return format_html("{}{}", reasons, revealed(session.name))

    @admin.display(description="Browser", ordering="browser_type")
    def browser(self, session: BrowserSession) -> str:
        return format_html(
            '{}<br><span class="raptor-quiet">{}</span>',
            session.shown_browser_type or formatting.NONE,
            formatting.host(session.cdp_url),
        )

    @admin.display(description="Age", ordering="idle_since")
    def age(self, session: Any) -> str:
        return formatting.age(session.last_accessed, session.evaluated_at)

    @admin.display(description="Size", ordering="size_bytes")
    def size(self, session: BrowserSession) -> str:
        return formatting.size(session.size_bytes)

    @admin.action(description="Clean up selected…", permissions=["clean_up"])
    def clean_up(self, request: HttpRequest, queryset: QuerySet[BrowserSession]) -> HttpResponse | None:
        try:
            run = run_actions.make_plan(request, self._selected(request, queryset))
        except (CleanupRefused, InvalidCriteria, InvalidSelection, TooManySelected) as reason:
            self.message_user(request, f"Nothing was planned: {reason}", messages.ERROR)
            return None
        return run_actions.redirect_to_plan(run)

    def _selected(self, request: HttpRequest, queryset: QuerySet[BrowserSession]) -> Criteria:
        """Return criteria for the selection: the filters and the search, or the checked sessions."""
        max_age_days = settings.RAPTOR_MAX_AGE_DAYS
        if selects_all(request):
            selection = bounded_selection(request)
            if not selection.is_empty:
                return Criteria.from_selection(selection, max_age_days=max_age_days)
        checked = list(queryset.order_by("pk").values_list("pk", "namespace")[: SELECTION_LIMIT + 1])
        if len(checked) > SELECTION_LIMIT:
            raise TooManySelected
        namespaces = {namespace for _, namespace in checked}
        # Limit the scope to a common namespace, so that users who do not see it cannot see or undo the run.
        scope = namespaces.pop() if len(namespaces) == 1 else ""
        ids = tuple(pk for pk, _ in checked)
        return Criteria(session_ids=ids, namespace=scope, max_age_days=max_age_days)

    @admin.action(description="Validate selected", permissions=["view"])
    def validate(self, request: HttpRequest, queryset: QuerySet[Any]) -> HttpResponse:
        """Show the verdict on each selected session without changing anything."""
        as_of = formatting.request_time(request)
        groups = queryset.order_by().values_list("reason_bits").annotate(Count("pk"))
        totals: Counter[str] = Counter()
        for bits, count in groups:
            reasons = reasons_in(bits)
            totals["all"] += count
            totals["valid" if not any(isinstance(r, Problem) for r in reasons) else "invalid"] += count
            totals["expired"] += count if Reason.EXPIRED in reasons else 0
        rows = [
            (session, badges.verdicts(session.reason_bits), reasons_in(session.reason_bits))
            for session in queryset[:VALIDATED_ROWS]
        ]
        context = {"rows": rows, "totals": totals, "as_of": as_of, "rows_limit": VALIDATED_ROWS}
        return self.page(request, "browsersession/validate.html", "Validate sessions", context)
