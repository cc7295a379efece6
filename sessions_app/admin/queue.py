"""The screen of the task queue, which is read-only.

It reads ``QueuedTask`` alone. The tables of django-q2 hold pickles. With its own pages, users who can edit a
schedule can run any function, and users who can view a task can run it again.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

# Registers the pages that are removed below.
import django_q.admin  # noqa: F401
from django.contrib import admin
from django.db.models import F, Q, QuerySet, TextField, Value
from django.http import HttpRequest, HttpResponse
from django.utils.safestring import SafeString
from django_q.models import Failure, OrmQ, Schedule, Success

from sessions_app.access.visibility import hidden_from
from sessions_app.admin import badges, formatting
from sessions_app.admin.attention import attention_context
from sessions_app.admin.base import ReadOnlyAdmin
from sessions_app.admin.filters import ConditionFilter
from sessions_app.alerts.sources import WORKER_SOURCES
from sessions_app.models import Machine, QueuedTask
from sessions_app.models.clock import database_now
from sessions_app.queue.enqueue import Task
from sessions_app.queue.machines import is_silent
from sessions_app.queue.schedules import JOBS, Job, describe_cron
from sessions_app.queue.worker import MAX_SKEW_SECONDS
from sessions_app.session.endpoint import mask_endpoints

for _model in (Schedule, Success, Failure, OrmQ):
    if admin.site.is_registered(_model):
        admin.site.unregister(_model)

MACHINES_SHOWN = 50
"""Maximum machines to show, the latest heartbeats first. Containers may have a new name after each start."""

CONCEALED = "Only users who see all namespaces see results."
TITLES = {
    Task.SWEEP.value: "Sweep of a policy",
    Task.CONTINUE_CLEANUP.value: "Continue a cleanup",
    Task.RUN_PLANNED.value: "Cleanup",
    Task.SYNC_DIRECTORIES.value: "Sync the session directories",
    Task.UNDO_RUN.value: "Undo of a cleanup",
    Task.CONTINUE_UNDO.value: "Continue an undo",
    Task.EMPTY_ARCHIVE.value: "Empty the archive",
    Task.INDEX_SESSIONS.value: "Index sessions for the search",
    Task.CHECK_INDEX.value: "Check the search index",
    Task.TAKE_SNAPSHOT.value: "Count sessions",
    Task.TIDY_UP.value: "Tidy up",
    Task.PROBE_SESSIONS.value: "Probe browsers",
    Task.CLOSE_BROWSERS.value: "Close browsers",
    Task.OPEN_BROWSER.value: "Open a browser",
    Task.DELIVER_ALERTS.value: "Deliver alerts",
}


class StateFilter(ConditionFilter):
    title = "state"
    parameter_name = "state"

    def conditions(self, request: HttpRequest) -> dict[str, tuple[str, Q]]:
        return {
            "failed": ("Failed", Q(has_failed=True)),
            "open": ("Not finished", Q(finished_at=None)),
        }


class TaskFilter(ConditionFilter):
    title = "task"
    parameter_name = "task"

    def conditions(self, request: HttpRequest) -> dict[str, tuple[str, Q]]:
        return {Task(task).name.lower(): (title, Q(task=task)) for task, title in TITLES.items()}


@admin.register(QueuedTask)
class QueuedTaskAdmin(ReadOnlyAdmin):
    change_list_template = "admin/sessions_app/queuedtask/change_list.html"
    list_display = ("title", "state", "queued", "took", "result")
    list_display_links = ("title",)
    list_filter = (StateFilter, TaskFilter)
    fields = ("title", "state", "runs_on", "queued", "started", "took", "result")
    readonly_fields = fields
    ordering = ("-id",)
    sortable_by = ()
    show_full_result_count = False
    show_facets = admin.ShowFacets.NEVER
    list_per_page = formatting.ROWS_PER_PAGE

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        """Leave out the results for users who do not see all namespaces: a result may name any."""
        shown = Value(CONCEALED, TextField()) if hidden_from(request.user) else F("message")
        tasks: QuerySet[Any] = super().get_queryset(request).annotate(shown=shown)
        return tasks

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        now = database_now()
        latest = list(Machine.objects.order_by("-heartbeat_at", "name")[: MACHINES_SHOWN + 1])
        shown = sorted(latest[:MACHINES_SHOWN], key=lambda machine: machine.name)
        context = {
            "jobs": [_describe_job(job, now) for job in JOBS],
            "machines": [_describe_machine(machine, now) for machine in shown],
            "has_more_machines": len(latest) > MACHINES_SHOWN,
            **attention_context(request, now, WORKER_SOURCES),
        }
        return super().changelist_view(request, {**context, **(extra_context or {})})

    @admin.display(description="Task")
    def title(self, task: QueuedTask) -> str:
        return title_of(task.task)

    @admin.display(description="State")
    def state(self, task: QueuedTask) -> SafeString:
        return _state_badge(task)

    @admin.display(description="Runs on")
    def runs_on(self, task: QueuedTask) -> str:
        return task.machine or "any machine"

    @admin.display(description="Queued")
    def queued(self, task: QueuedTask) -> str:
        return formatting.moment(task.queued_at)

    @admin.display(description="Started")
    def started(self, task: QueuedTask) -> str:
        return formatting.moment(task.started_at)

    @admin.display(description="Took")
    def took(self, task: QueuedTask) -> str:
        if task.started_at is None or task.finished_at is None:
            return formatting.NONE
        return formatting.duration(task.finished_at - task.started_at)

    @admin.display(description="Result")
    def result(self, task: QueuedTask) -> str:
        return mask_endpoints(task.shown) or formatting.NONE  # type: ignore[attr-defined]  # an annotation


def title_of(task: str) -> str:
    """Return what a task does in words."""
    return TITLES.get(task, task)


def _state_badge(task: QueuedTask) -> SafeString:
    if task.finished_at is not None:
        return badges.badge("bad", "Failed") if task.has_failed else badges.badge("good", "Succeeded")
    if task.started_at is not None:
        return badges.badge("quiet", "Running")
    return badges.badge("quiet", "Waiting") if task.sent_at else badges.badge("stale", "Not sent yet")


def _describe_job(job: Job, now: datetime) -> dict[str, Any]:
    last = job.last_run(now)
    next_run_at = job.next_run_at(last)
    return {
        "title": title_of(job.task),
        "schedule": describe_cron(job.cron),
        "next_run": formatting.moment(next_run_at) if next_run_at else "When the worker starts",
        "last_state": _state_badge(last) if last else "",
        "last_run": formatting.moment(last.due_at) if last and last.due_at else formatting.NONE,
    }


def _describe_machine(machine: Machine, now: datetime) -> dict[str, Any]:
    skew = timedelta(seconds=machine.clock_skew_seconds)
    direction = "ahead of" if skew > timedelta() else "behind"
    is_wrong = abs(skew.total_seconds()) > MAX_SKEW_SECONDS
    return {
        "name": machine.name,
        "heard": formatting.age(machine.heartbeat_at, now),
        "is_silent": is_silent(machine, now),
        "clock": f"{formatting.duration(skew)} {direction} the database" if is_wrong else "",
    }
