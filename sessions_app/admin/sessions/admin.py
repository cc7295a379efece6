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
from sessions_app.admin.changelist import SEARCH_HELP
from sessions_app.admin.reports import admin as storage
from sessions_app.admin.runs import actions as run_actions
from sessions_app.admin.sessions import browser_actions, metadata
from sessions_app.admin.sessions.actions import SessionActions
from sessions_app.admin.sessions.browser import browser_badge, verdicts_with_browser
from sessions_app.admin.sessions.changelist import TooManySelected, selected_ids, selected_matches
from sessions_app.admin.sessions.facet_counts import FacetedList
from sessions_app.admin.sessions.list_views import list_urls
from sessions_app.admin.sessions.pinning import BulkPins
from sessions_app.admin.sessions.status_order import STATUS
from sessions_app.cleanup import CleanupRefused
from sessions_app.liveness import browser_of
from sessions_app.models import BrowserSession
from sessions_app.session.criteria import Criteria, InvalidCriteria, Reason, reasons_in
from sessions_app.session.problems import Problem
from sessions_app.session.selection import METADATA, InvalidSelection
from sessions_app.templatetags.raptor import revealed

VALIDATED_ROWS = 200


@admin.register(BrowserSession)
class BrowserSessionAdmin(BulkPins, SessionActions):
    list_display = ("name", "namespace", "status", "why", "browser", "age", "size")
    list_display_links = ("name",)
    sortable_by = ("name", "namespace", "status", "browser", "age", "size")
    list_filter = (
        filters.ProblemFilter,
        filters.ExpiredFilter,
        filters.LastAccessedFilter,
        filters.BrowserTypeFilter,
        filters.BrowserFilter,
        filters.NamespaceFilter,
        filters.PinnedFilter,
    )
    # Only enables the search box: see ``changelist`` for the search itself.
    search_fields = ("name",)
    search_help_text = SEARCH_HELP
    list_per_page = formatting.ROWS_PER_PAGE
    show_full_result_count = False
    # The counts are bounded: see ``facet_counts``.
    show_facets = admin.ShowFacets.ALLOW
    actions = ("clean_up", "pin_selected", "unpin_selected", "validate", "probe_browsers", "close_browsers")

    class Media:
        # Load it after Django's script, which shows the elements that it moves the focus to.
        js = ("admin/js/actions.js", "sessions_app/selection.js")

    def get_queryset(self, request: HttpRequest) -> QuerySet[BrowserSession]:
        sessions = visible(request.user, super().get_queryset(request)).select_related("probe")
        return formatting.annotate_status(sessions, formatting.request_time(request))

    def get_list_filter(self, request: HttpRequest) -> list[Any]:
        return [*self.list_filter, *metadata.filters_of(request)]

    def get_list_display(self, request: HttpRequest) -> list[Any]:
        # Append them, because the order in the URL refers to column numbers.
        return [*self.list_display, *map(metadata.column_of, metadata.chosen_columns(request))]

    def lookup_allowed(self, lookup: str, value: Any, request: HttpRequest) -> bool:
        is_offered = lookup in {chosen.parameter_name for chosen in self.list_filter}
        return is_offered or lookup.startswith(METADATA)

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        chosen = metadata.chosen_columns(request)
        choices = [(key, key in chosen) for key in metadata.offered_keys(request)]
        columns = {"column_choices": choices, "max_columns": metadata.MAX_COLUMNS}
        return super().changelist_view(request, {**columns, **(extra_context or {})})

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
            return (
                self.get_queryset(request)
                .select_related("probe", "content")
                .filter(pk=int(object_id))
                .first()
            )
        except ValueError:
            return None

    def get_urls(self) -> list[URLPattern]:
        return [
            *storage.urls(self),
            *list_urls(self),
            *self.page_urls(),
            *browser_actions.urls(self),
            *super().get_urls(),
        ]

    @admin.display(description="Status", ordering=STATUS)
    def status(self, session: Any) -> str:
        marks = verdicts_with_browser(session)
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
            '{} {}<br><span class="raptor-quiet">{}</span>',
            browser_badge(browser_of(session)),
            session.shown_browser_type or formatting.NONE,
            formatting.host(session.shown_endpoint),
        )

    @admin.display(description="Last access", ordering="idle_since")
    def age(self, session: Any) -> str:
        return formatting.ago(session.last_accessed, session.evaluated_at)

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
        if selection := selected_matches(request):
            return Criteria.from_selection(selection, max_age_days=max_age_days)
        ids = selected_ids(request, queryset)
        namespaces = set(BrowserSession.objects.filter(pk__in=ids).values_list("namespace", flat=True))
        # Limit the scope to a common namespace, so that users who do not see it cannot see or undo the run.
        scope = namespaces.pop() if len(namespaces) == 1 else ""
        return Criteria(session_ids=tuple(ids), namespace=scope, max_age_days=max_age_days)

    @admin.action(description="Probe browsers", permissions=["probe_browsers"])
    def probe_browsers(self, request: HttpRequest, queryset: QuerySet[BrowserSession]) -> None:
        try:
            ids = selected_ids(request, queryset)
        except (InvalidSelection, TooManySelected) as reason:
            self.message_user(request, f"Nothing was probed: {reason}", messages.ERROR)
            return
        browser_actions.probe_now(request, ids)

    @admin.action(description="Close browsers…", permissions=["close_browser"])
    def close_browsers(self, request: HttpRequest, queryset: QuerySet[BrowserSession]) -> HttpResponse | None:
        try:
            ids = selected_ids(request, queryset)
        except (InvalidSelection, TooManySelected) as reason:
            self.message_user(request, f"Nothing was closed: {reason}", messages.ERROR)
            return None
        return browser_actions.confirm_closing(self, request, ids)

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
            (session, verdicts_with_browser(session), reasons_in(session.reason_bits))
            for session in queryset[:VALIDATED_ROWS]
        ]
        context = {"rows": rows, "totals": totals, "as_of": as_of, "rows_limit": VALIDATED_ROWS}
        return self.page(request, "browsersession/validate.html", "Validate sessions", context)
