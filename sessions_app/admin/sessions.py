"""The list of sessions, and what is done with those that are selected."""

from __future__ import annotations

from collections import Counter
from typing import Any

from django.conf import settings
from django.contrib import admin, messages
from django.db.models import Count, QuerySet
from django.http import HttpRequest, HttpResponse
from django.urls import URLPattern
from django.utils.html import format_html

from sessions_app.admin import filters, presentation, run_work, storage
from sessions_app.admin.bounded import is_across
from sessions_app.admin.facets import CountedList
from sessions_app.admin.session_list import kept_selection
from sessions_app.admin.session_page import SessionPages
from sessions_app.admin.sight import seen
from sessions_app.cleanup import CleanupRefused
from sessions_app.criteria import SELECTION_LIMIT, Criteria, InvalidCriteria, Reason, reasons_in
from sessions_app.models import BrowserSession
from sessions_app.problems import Problem
from sessions_app.selections import InvalidSelection
from sessions_app.templatetags.raptor import revealed

VALIDATED_ROWS = 200


class TooManySelected(ValueError):
    """More sessions were selected than are kept one by one."""

    def __init__(self) -> None:
        super().__init__(
            f"at most {SELECTION_LIMIT:,} sessions can be selected without a filter. Filter the list."
        )


@admin.register(BrowserSession)
class BrowserSessionAdmin(SessionPages):
    list_display = ("name", "namespace", "status", "why", "browser", "age", "size")
    list_display_links = ("name",)
    # By name alone no index has the sessions of all namespaces in order.
    sortable_by = ("namespace", "browser", "age", "size")
    list_filter = (
        filters.ProblemFilter,
        filters.ExpiredFilter,
        filters.LastAccessedFilter,
        filters.BrowserTypeFilter,
        filters.NamespaceFilter,
        filters.PinnedFilter,
    )
    # What is searched, and how far, is a matter of the list: see ``session_list``.
    search_fields = ("name",)
    search_help_text = "The beginning of a name, or a part of name, host, session id or metadata value"
    list_per_page = presentation.ROWS_PER_PAGE
    show_full_result_count = False
    # They are ours, and bounded: see ``facets``.
    show_facets = admin.ShowFacets.ALLOW
    actions = ("clean_up", "validate")

    class Media:
        # After Django's own, for it moves the focus to what that has shown.
        js = ("admin/js/actions.js", "sessions_app/selection.js")

    def get_queryset(self, request: HttpRequest) -> QuerySet[BrowserSession]:
        # Documents may be of megabytes, and no list shows them.
        sessions = seen(request, super().get_queryset(request)).defer("document", "last_good_document")
        return presentation.judge(sessions, presentation.request_time(request))

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[CountedList]:
        return CountedList

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
        marks = presentation.verdicts(session.reason_bits)
        if session.is_pinned:
            marks = format_html("{} {}", marks, presentation.badge("quiet", "Pinned"))
        return marks

    @admin.display(description="Why")
    def why(self, session: Any) -> str:
        told = presentation.sentences(
            presentation.explain(session.reason_bits, session.last_accessed, as_of=session.judged_at)
        )
        # The column of the name is Django's own, which shows the name alone.
        return format_html("{}{}", told, revealed(session.name))

    @admin.display(description="Browser", ordering="browser_type")
    def browser(self, session: BrowserSession) -> str:
        return format_html(
            '{}<br><span class="raptor-quiet">{}</span>',
            session.browser_type or presentation.NONE,
            presentation.host(session.cdp_url),
        )

    @admin.display(description="Age", ordering="idle_since")
    def age(self, session: Any) -> str:
        return presentation.age(session.last_accessed, session.judged_at)

    @admin.display(description="Size", ordering="size_bytes")
    def size(self, session: BrowserSession) -> str:
        return presentation.size(session.size_bytes)

    @admin.action(description="Clean up selected…", permissions=["clean_up"])
    def clean_up(self, request: HttpRequest, queryset: QuerySet[BrowserSession]) -> HttpResponse | None:
        try:
            run = run_work.make_plan(request, self._selected(request, queryset))
        except (CleanupRefused, InvalidCriteria, InvalidSelection, TooManySelected) as reason:
            self.message_user(request, f"Nothing was done: {reason}", messages.ERROR)
            return None
        return run_work.to_plan(run)

    def _selected(self, request: HttpRequest, queryset: QuerySet[BrowserSession]) -> Criteria:
        """What was selected: all that the filters and the search leave, or the sessions that were ticked."""
        max_age_days = settings.RAPTOR_MAX_AGE_DAYS
        if is_across(request):
            selection = kept_selection(request)
            if not selection.is_empty:
                return Criteria.from_selection(selection, max_age_days=max_age_days)
        ticked = list(queryset.order_by("pk").values_list("pk", "namespace")[: SELECTION_LIMIT + 1])
        if len(ticked) > SELECTION_LIMIT:
            raise TooManySelected
        namespaces = {namespace for _, namespace in ticked}
        # The scope, where it is one: so who sees it, and no other, may tell and undo it.
        scope = namespaces.pop() if len(namespaces) == 1 else ""
        return Criteria(session_ids=tuple(pk for pk, _ in ticked), namespace=scope, max_age_days=max_age_days)

    @admin.action(description="Validate selected", permissions=["view"])
    def validate(self, request: HttpRequest, queryset: QuerySet[Any]) -> HttpResponse:
        """Tell the verdict on each selected session; changes nothing."""
        as_of = presentation.request_time(request)
        groups = queryset.order_by().values_list("reason_bits").annotate(Count("pk"))
        totals: Counter[str] = Counter()
        for bits, count in groups:
            reasons = reasons_in(bits)
            totals["all"] += count
            totals["valid" if not any(isinstance(r, Problem) for r in reasons) else "invalid"] += count
            totals["expired"] += count if Reason.EXPIRED in reasons else 0
        rows = [
            (session, presentation.verdicts(session.reason_bits), reasons_in(session.reason_bits))
            for session in queryset[:VALIDATED_ROWS]
        ]
        context = {"rows": rows, "totals": totals, "as_of": as_of, "rows_limit": VALIDATED_ROWS}
        return self.page(request, "browsersession/validate.html", "Validate sessions", context)
