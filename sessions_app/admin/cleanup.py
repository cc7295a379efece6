"""Plans to be confirmed, and runs."""

from __future__ import annotations

import logging
import traceback
from typing import Any

from django.conf import settings
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db.models import Sum
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.defaultfilters import filesizeformat
from django.urls import URLPattern, path, reverse
from django.utils.html import format_html
from django.views.decorators.http import require_POST
from django_q.tasks import async_task

from sessions_app.admin import presentation
from sessions_app.admin.base import ReadOnlyAdmin
from sessions_app.cleanup import (
    CannotUndo,
    CleanupInProgress,
    matching,
    run_cleanup,
    summary,
    undo_cleanup,
)
from sessions_app.deadline import Deadline
from sessions_app.endpoints import mask_endpoints
from sessions_app.models import ArchivedSession, BrowserSession, CleanupRun

logger = logging.getLogger(__name__)

REQUEST_SECONDS = 20
"""A cleanup that takes longer goes on in the worker: nobody waits longer for a page."""

_State = CleanupRun.State


@admin.register(CleanupRun)
class CleanupRunAdmin(ReadOnlyAdmin):
    list_display = (
        "run",
        "state_in_words",
        "when",
        "started_by",
        "what",
        "removed",
        "skipped",
        "freed",
        "took",
    )
    list_display_links = ("run",)
    list_filter = ("state", "trigger")
    allowed_lookups = frozenset({"state__exact", "trigger__exact"})
    show_facets = admin.ShowFacets.NEVER
    list_per_page = presentation.ROWS_PER_PAGE
    show_full_result_count = False

    def get_urls(self) -> list[URLPattern]:
        view = self.admin_site.admin_view
        return [
            path("<int:run_id>/plan/", view(self.plan_view), name="sessions_app_cleanuprun_plan"),
            *(
                path(
                    f"<int:run_id>/{name}/",
                    view(require_POST(act)),
                    name=f"sessions_app_cleanuprun_{name}",
                )
                for name, act in (
                    ("resume", self.resume_view),
                    ("undo", self.undo_view),
                    ("protect", self.protect_view),
                )
            ),
            *super().get_urls(),
        ]

    def has_clean_up_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("sessions_app.clean_up_sessions")

    @admin.display(description="Run", ordering="id")
    def run(self, run: CleanupRun) -> str:
        return f"Run {run.pk}"

    @admin.display(description="State", ordering="state")
    def state_in_words(self, run: CleanupRun) -> str:
        return presentation.state_badge(run)

    @admin.display(description="When", ordering="planned_at")
    def when(self, run: CleanupRun) -> str:
        return presentation.to_the_minute(run.planned_at)

    @admin.display(description="Started by", ordering="actor")
    def started_by(self, run: CleanupRun) -> str:
        trigger = run.get_trigger_display()
        return f"{trigger}: {run.actor}" if run.actor else trigger

    @admin.display(description="What")
    def what(self, run: CleanupRun) -> str:
        return run.criteria.describe()

    @admin.display(description="Removed", ordering="removed_count")
    def removed(self, run: CleanupRun) -> str:
        return f"{run.removed_count:,} of {run.matched_count:,}"

    @admin.display(description="Skipped", ordering="skipped_count")
    def skipped(self, run: CleanupRun) -> str:
        return f"{run.skipped_count:,}"

    @admin.display(description="Freed", ordering="removed_bytes")
    def freed(self, run: CleanupRun) -> str:
        return presentation.size(run.removed_bytes)

    @admin.display(description="Took")
    def took(self, run: CleanupRun) -> str:
        if run.started_at is None or run.finished_at is None:
            return presentation.NONE
        return presentation.duration(run.finished_at - run.started_at)

    def show(self, request: HttpRequest, run: CleanupRun) -> HttpResponse:
        context: dict[str, Any] = {
            "run": run,
            "state": presentation.state_badge(run),
            "facts": self._facts(run),
            "reasons": presentation.reason_counts(run.removed_reasons or run.matched_reasons),
            "can_clean_up": self.has_clean_up_permission(request),
            "archive_days": settings.RAPTOR_ARCHIVE_DAYS,
        }
        if request.user.has_perm("sessions_app.view_archivedsession"):
            archived = ArchivedSession.objects.filter(run=run).defer("document").order_by("pk")
            page = presentation.page_of(request, archived)
            context |= {"page": page, "rows": presentation.session_rows(page, "reasons", run)}
        return self.page(request, "cleanuprun/run.html", f"Run {run.pk}", context)

    def _facts(self, run: CleanupRun) -> list[tuple[str, str]]:
        facts = [
            ("What", run.criteria.describe()),
            ("Started by", self.started_by(run)),
            ("Judged as of", presentation.moment(run.as_of)),
            ("Started", presentation.moment(run.started_at)),
            ("Ended", presentation.moment(run.finished_at)),
            ("Took", self.took(run)),
            ("Matched", f"{run.matched_count:,} sessions, {filesizeformat(run.matched_bytes)}"),
            ("Removed", f"{run.removed_count:,} sessions"),
            ("Freed", presentation.size(run.removed_bytes)),
            ("Skipped", f"{run.skipped_count:,} sessions"),
        ]
        if run.restored_count or run.undo_started_at:
            by = f" by {run.undone_by}" if run.undone_by else ""
            sessions = f"{run.restored_count:,} sessions{by}"
            facts.append(("Brought back", sessions))
        if run.undone_at:
            facts.append(("Undone", presentation.moment(run.undone_at)))
        if run.emptied_count:
            when = presentation.moment(run.emptied_at)
            facts.append(("Deleted for good", format_html("{} sessions, {}", f"{run.emptied_count:,}", when)))
        return facts

    def plan_view(self, request: HttpRequest, run_id: int) -> HttpResponse:
        """Show what a plan would take; on POST, take it."""
        run = self._get_run(request, run_id)
        if run.state != _State.PLANNED:
            return self._to_run(run)
        if request.method == "POST":
            return self._carry_out(request, run)
        sessions = matching(run).defer("document").order_by("pk")
        page = presentation.page_of(request, sessions.annotate(reason_bits=run.criteria.reasons(run.as_of)))
        context = {
            "run": run,
            "size": filesizeformat(sessions.aggregate(bytes=Sum("size_bytes", default=0))["bytes"]),
            "as_of": presentation.moment(run.as_of),
            "reasons": presentation.reason_counts(run.matched_reasons),
            "changed_count": run.matched_count - page.paginator.count,
            "page": page,
            "rows": presentation.session_rows(page, "reason_bits", run),
            "archive_days": settings.RAPTOR_ARCHIVE_DAYS,
            **_staying(run),
        }
        return self.page(request, "cleanuprun/plan.html", "Clean up sessions?", context)

    def resume_view(self, request: HttpRequest, run_id: int) -> HttpResponse:
        """Go on with a run that was interrupted or has failed."""
        run = self._get_run(request, run_id)
        if run.state == _State.PLANNED:
            # What nobody has confirmed is looked at first.
            return HttpResponseRedirect(reverse("admin:sessions_app_cleanuprun_plan", args=[run.pk]))
        return self._carry_out(request, run)

    def undo_view(self, request: HttpRequest, run_id: int) -> HttpResponse:
        """Bring back what a run removed; what does not come in time comes by the worker."""
        run = self._get_run(request, run_id)
        try:
            deadline = Deadline.after(REQUEST_SECONDS)
            run = undo_cleanup(run, actor=request.user.get_username(), deadline=deadline)
        except (CannotUndo, CleanupInProgress) as reason:
            self.message_user(request, str(reason), messages.WARNING)
            return self._to_run(run)
        told = f"{run.restored_count:,} of {run.removed_count:,} sessions are back."
        if run.state == _State.INTERRUPTED:
            async_task("sessions_app.tasks.continue_undo", run.pk)
            self.message_user(request, f"{told} The worker goes on with it.", messages.WARNING)
        elif left := run.archived_sessions.count():
            told += f" {left:,} stay in the archive: their names or files are taken."
            self.message_user(request, told, messages.WARNING)
        else:
            self.message_user(request, told, messages.SUCCESS)
        return self._to_run(run)

    def protect_view(self, request: HttpRequest, run_id: int) -> HttpResponse:
        """Keep the sessions of a run when the archive is emptied, or no longer."""
        run = self._get_run(request, run_id)
        is_protected = request.POST.get("protect") == "1"
        CleanupRun.objects.filter(pk=run.pk).update(is_protected=is_protected)
        self.log_change(request, run, "Protected." if is_protected else "No longer protected.")
        return self._to_run(run)

    def _get_run(self, request: HttpRequest, run_id: int) -> CleanupRun:
        if not (
            self.has_clean_up_permission(request)
            and request.user.has_perm("sessions_app.view_browsersession")
        ):
            raise PermissionDenied
        run = CleanupRun.objects.filter(pk=run_id).first()
        if run is None:
            raise Http404("There is no such run.")
        return run

    def _carry_out(self, request: HttpRequest, run: CleanupRun) -> HttpResponse:
        """Run a plan, or go on with it; what does not end in time goes on in the worker."""
        try:
            run = run_cleanup(
                run,
                trigger=CleanupRun.Trigger.ADMIN,
                actor=request.user.get_username(),
                deadline=Deadline.after(REQUEST_SECONDS),
            )
        except CleanupInProgress as reason:
            self.message_user(request, str(reason), messages.WARNING)
            return self._to_run(run)
        except Exception:
            # The run holds the error, and its page offers to go on.
            logger.error("Run %s failed.\n%s", run.pk, mask_endpoints(traceback.format_exc()))
            self.message_user(request, f"Run {run.pk} failed; what it did is kept.", messages.ERROR)
            return self._to_run(run)
        if run.state == _State.INTERRUPTED:
            async_task("sessions_app.tasks.continue_cleanup", run.pk)
            self.message_user(request, f"{summary(run)}. The worker goes on with it.", messages.WARNING)
        else:
            self.message_user(request, f"{summary(run)}.", messages.SUCCESS)
        return self._to_run(run)

    @staticmethod
    def _to_run(run: CleanupRun) -> HttpResponse:
        return HttpResponseRedirect(reverse("admin:sessions_app_cleanuprun_change", args=[run.pk]))


def _staying(run: CleanupRun) -> dict[str, int]:
    """Count those of a selection that the plan left out."""
    selected = run.criteria.session_ids
    if selected is None:
        return {}
    # As they were when the plan was made: those pinned since are told as changed.
    chosen = BrowserSession.objects.filter(pk__in=selected, updated_at__lt=run.sealed_at)
    pinned = chosen.filter(is_pinned=True).count()
    return {
        "selected_count": len(selected),
        "pinned_count": pinned,
        "gone_count": max(0, len(selected) - run.matched_count - pinned),
    }
