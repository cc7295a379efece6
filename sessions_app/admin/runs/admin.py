"""The list of cleanup runs and its URLs."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from django.contrib import admin
from django.contrib.admin.views.main import ChangeList
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.urls import URLPattern, path
from django.utils.functional import cached_property
from django.utils.html import format_html
from django.views.decorators.http import require_POST

from sessions_app.access.visibility import conceal, visible_runs
from sessions_app.admin import badges, formatting
from sessions_app.admin.base import ReadOnlyAdmin, is_id
from sessions_app.admin.runs import actions, downloads, filters, plan_actions
from sessions_app.admin.runs.detail import run_context
from sessions_app.admin.runs.form import cleanup_form_view
from sessions_app.admin.runs.plan import plan_view
from sessions_app.admin.runs.progress import is_waiting, progress_view
from sessions_app.cleanup import is_preview
from sessions_app.models import CleanupRun


class RunList(ChangeList):
    hides_previews = False

    @cached_property
    def hidden_count(self) -> str:
        """Number of previews that the list hides; blank for none."""
        if not self.hides_previews:
            return ""
        previews = self.root_queryset.filter(is_preview()).order_by().values("pk")
        hidden = previews[: formatting.ROWS_PER_PAGE].count()
        return f"{hidden}+" if hidden == formatting.ROWS_PER_PAGE else str(hidden or "")

    def get_queryset(self, request: HttpRequest, exclude_parameters: Any = None) -> QuerySet[CleanupRun]:
        """Hide unconfirmed previews, unless the user filters or searches."""
        runs: QuerySet[CleanupRun] = super().get_queryset(request, exclude_parameters)
        self.hides_previews = not (self.query or self.has_active_filters)
        return runs.exclude(is_preview()) if self.hides_previews else runs

    def get_results(self, request: HttpRequest) -> None:
        super().get_results(request)
        self.result_list = [conceal(request.user, run) for run in self.result_list]


@admin.register(CleanupRun)
class CleanupRunAdmin(ReadOnlyAdmin):
    list_display = (
        "run",
        "state_badge",
        "when",
        "started_by",
        "what",
        "removed",
        "skipped",
        "freed",
        "took",
    )
    list_display_links = ("run",)
    list_filter = (
        filters.OutcomeFilter,
        "state",
        "trigger",
        filters.RuleFilter,
        filters.ScopeFilter,
        filters.PolicyFilter,
        filters.PlannedFilter,
    )
    list_select_related = ("policy",)
    change_list_template = "admin/sessions_app/ledger.html"
    search_fields = ("actor",)
    search_help_text = "Search by user or run number"
    allowed_lookups = frozenset({"state__exact", "trigger__exact"})
    show_facets = admin.ShowFacets.NEVER
    list_per_page = formatting.ROWS_PER_PAGE
    show_full_result_count = False

    def get_queryset(self, request: HttpRequest) -> QuerySet[CleanupRun]:
        # No list shows these columns, which hold up to 1,000 names and 10,000 ids.
        runs = visible_runs(request.user, super().get_queryset(request))
        return formatting.without_ids(runs.defer("skipped_sessions"))

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[RunList]:
        return RunList

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[Any], bool]:
        found, may_have_duplicates = super().get_search_results(request, queryset, search_term)
        number = search_term.strip().lower().removeprefix("run").strip()
        if is_id(number):
            found |= queryset.filter(pk=int(number))
        return found, may_have_duplicates

    def get_urls(self) -> list[URLPattern]:
        new = self.admin_site.admin_view(partial(cleanup_form_view, self))
        return [
            *downloads.urls(self),
            path("new/", new, name="sessions_app_cleanuprun_new"),
            self._url("plan", plan_view),
            self._url("progress", progress_view),
            *(
                self._url(name, act, is_post_only=True)
                for name, act in (
                    ("resume", actions.resume_view),
                    ("undo", actions.undo_view),
                    ("close", actions.close_view),
                    ("again", actions.replan_view),
                    ("approve", plan_actions.approve_view),
                    ("discard", plan_actions.discard_view),
                    ("leave-out", plan_actions.leave_out_view),
                    ("include-again", plan_actions.include_again_view),
                    ("protect", actions.protect_view),
                )
            ),
            *super().get_urls(),
        ]

    def _url(self, name: str, act: Callable[..., HttpResponse], *, is_post_only: bool = False) -> URLPattern:
        view: Callable[..., HttpResponse] = partial(act, self)
        view = self.admin_site.admin_view(require_POST(view) if is_post_only else view)
        return path(f"<int:run_id>/{name}/", view, name=f"sessions_app_cleanuprun_{name.replace('-', '_')}")

    @admin.display(description="Run", ordering="id")
    def run(self, run: CleanupRun) -> str:
        return f"Run {run.pk}"

    @admin.display(description="State", ordering="state")
    def state_badge(self, run: CleanupRun) -> str:
        return badges.state_badge(run, is_queued=is_waiting(run))

    @admin.display(description="When", ordering="planned_at")
    def when(self, run: CleanupRun) -> str:
        return formatting.moment(run.planned_at)

    @admin.display(description="Started by", ordering="actor")
    def started_by(self, run: CleanupRun) -> str:
        return formatting.started_by(run)

    @admin.display(description="What")
    def what(self, run: CleanupRun) -> str:
        criteria = formatting.describe_criteria(run)
        if run.policy is None:
            return criteria
        policy = formatting.policy_link(run)
        return format_html('{}<br><span class="raptor-quiet">{}</span>', criteria, policy)

    @admin.display(description="Removed", ordering="removed_count")
    def removed(self, run: CleanupRun) -> str:
        return formatting.removed_of_matched(run)

    @admin.display(description="Skipped", ordering="skipped_count")
    def skipped(self, run: CleanupRun) -> str:
        return formatting.NONE if run.is_concealed else f"{run.skipped_count:,}"

    @admin.display(description="Freed", ordering="removed_bytes")
    def freed(self, run: CleanupRun) -> str:
        return formatting.freed(run)

    @admin.display(description="Took")
    def took(self, run: CleanupRun) -> str:
        return formatting.took(run)

    def show(self, request: HttpRequest, run: CleanupRun) -> HttpResponse:
        # The page shows all columns, also those that the list defers.
        whole = CleanupRun.objects.select_related("policy").get(pk=run.pk)
        context = run_context(request, conceal(request.user, whole))
        return self.page(request, "cleanuprun/run.html", f"Run {run.pk}", context)
