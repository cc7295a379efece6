"""The screens of the task queue, which are read-only.

With django-q2's own pages, users who can edit a schedule can run any function, and users who can view a
task can run it again.
"""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.html import format_html
from django_q.models import Failure, OrmQ, Schedule, Success, Task

from sessions_app.admin import badges, formatting
from sessions_app.admin.base import ReadOnlyAdmin
from sessions_app.session.endpoint import mask_endpoints

for _model in (Schedule, Success, Failure, OrmQ):
    if admin.site.is_registered(_model):
        admin.site.unregister(_model)


@admin.register(Schedule)
class ScheduleAdmin(ReadOnlyAdmin):
    list_display = ("title", "func", "frequency", "next_run_at", "last_result")
    list_display_links = ("title",)
    fields = ("title", "func", "frequency", "next_run_at", "last_result")
    readonly_fields = fields
    ordering = ("next_run",)
    show_full_result_count = False

    @admin.display(description="Name", ordering="name")
    def title(self, schedule: Any) -> str:
        return schedule.name or f"Schedule {schedule.pk}"

    @admin.display(description="Runs")
    def frequency(self, schedule: Any) -> str:
        if schedule.schedule_type == Schedule.MINUTES:
            return "Every minute" if schedule.minutes == 1 else f"Every {schedule.minutes} minutes"
        if schedule.cron:
            return f"{schedule.get_schedule_type_display()}: {schedule.cron} (UTC)"
        return str(schedule.get_schedule_type_display())

    @admin.display(description="Next run", ordering="next_run")
    def next_run_at(self, schedule: Any) -> str:
        return formatting.moment(schedule.next_run)

    @admin.display(description="Last result")
    def last_result(self, schedule: Any) -> str:
        if schedule.task is None:
            return "Has not run yet"
        task = Task.objects.filter(id=schedule.task).only("success", "stopped").first()
        if task is None:
            return "No longer kept"
        mark = badges.badge("good", "Succeeded") if task.success else badges.badge("bad", "Failed")
        return format_html("{} {}", mark, formatting.moment(task.stopped))


class TaskAdmin(ReadOnlyAdmin):
    list_display = ("name", "func", "started_at", "took", "short_result")
    fields = ("name", "func", "started_at", "took", "full_result")
    readonly_fields = fields
    list_filter = ("func",)
    allowed_lookups = frozenset({"func", "func__exact"})
    show_facets = admin.ShowFacets.NEVER
    search_fields = ("name", "func")
    ordering = ("-started",)
    show_full_result_count = False

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        return super().get_queryset(request).defer("args", "kwargs", "hook")

    @admin.display(description="Started", ordering="started")
    def started_at(self, task: Any) -> str:
        return formatting.moment(task.started)

    @admin.display(description="Took")
    def took(self, task: Any) -> str:
        return formatting.duration(task.stopped - task.started)

    @admin.display(description="Result")
    def short_result(self, task: Any) -> str:
        # The last line of a traceback has the error.
        lines = _readable(task.result).strip().splitlines()
        return lines[-1][:200] if lines else formatting.NONE

    @admin.display(description="Result")
    def full_result(self, task: Any) -> str:
        return format_html('<pre class="raptor-document">{}</pre>', _readable(task.result) or formatting.NONE)


def _readable(result: Any) -> str:
    return "" if result is None else mask_endpoints(str(result))


@admin.register(Success)
class SuccessAdmin(TaskAdmin):
    pass


@admin.register(Failure)
class FailureAdmin(TaskAdmin):
    pass
