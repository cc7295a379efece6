"""The pages of session directories: adding, disabling and syncing them."""

from __future__ import annotations

from functools import partial
from typing import Any

from django import forms
from django.conf import settings
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db import DatabaseError
from django.db.models import QuerySet
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import URLPattern, path, reverse
from django.utils.html import format_html, format_html_join
from django.views.decorators.http import require_POST

from sessions_app.access.visibility import hidden_from, visible
from sessions_app.admin import badges, formatting
from sessions_app.admin.base import RaptorAdmin, is_id, show_queued
from sessions_app.admin.directory_form import SessionDirectoryForm
from sessions_app.admin.directory_views import (
    add_found_view,
    may_remove,
    remove_view,
    restore_view,
    to_page,
)
from sessions_app.cleanup.folders import NotTheRegisteredFolder, open_folder
from sessions_app.mirror.arrivals import foreign_warning, inspect_folder, sweep_from_now
from sessions_app.mirror.registry import (
    DirectoryError,
    accept_other_folder,
    place_of,
    sync_directory,
)
from sessions_app.models import ArchivedSession, BrowserSession, CleanupRun, Machine, SessionDirectory
from sessions_app.queue.enqueue import Task
from sessions_app.queue.outbox import enqueue
from sessions_app.session.masking import safe_message

COUNTS = {
    "added": "added",
    "changed": "changed",
    "unchanged": "unchanged",
    "vanished": "vanished",
    "held": "without a file, needing approval",
    "kept": "without a file and kept",
    "left_behind": "left behind",
    "written": "written",
    "waiting": "waiting",
    "skipped": "skipped",
}


@admin.register(SessionDirectory)
class SessionDirectoryAdmin(RaptorAdmin):
    list_display = ("path", "namespace", "state", "synced", "result", "error_with_badge")
    list_filter = ("is_enabled",)
    allowed_lookups = frozenset({"is_enabled__exact"})
    search_fields = ("path", "namespace")
    form = SessionDirectoryForm
    actions = ("sync",)
    show_full_result_count = False
    show_facets = admin.ShowFacets.NEVER

    def get_urls(self) -> list[URLPattern]:
        views: dict[str, Any] = {
            "sync": self.sync_view,
            "accept": self.accept_view,
            "sweep": self.sweep_view,
            "remove": partial(remove_view, self),
            "restore": partial(restore_view, self),
        }
        return [
            *(
                path(
                    f"<int:directory_id>/{name}/",
                    self.admin_site.admin_view(require_POST(view)),
                    name=f"sessions_app_sessiondirectory_{name}",
                )
                for name, view in views.items()
            ),
            path(
                "found/",
                self.admin_site.admin_view(require_POST(partial(add_found_view, self))),
                name="sessions_app_sessiondirectory_found",
            ),
            *super().get_urls(),
        ]

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: Any = None
    ) -> HttpResponse:
        directory = self.get_queryset(request).filter(pk=object_id).first() if is_id(object_id) else None
        context = {} if directory is None else folder_context(directory)
        if directory is not None:
            context |= {"may_remove": may_remove(request, directory), "is_removed": directory.is_removed}
        return super().change_view(request, object_id, form_url, {**context, **(extra_context or {})})

    def get_form(self, request: HttpRequest, obj: Any = None, change: bool = False, **kwargs: Any) -> Any:
        # Path and namespace cannot be changed, so there is nothing to validate.
        if obj:
            return super().get_form(request, obj, change, **kwargs | {"form": forms.ModelForm})
        form: Any = super().get_form(request, obj, change, **kwargs)
        form.hidden = hidden_from(request.user)
        return form

    def get_queryset(self, request: HttpRequest) -> QuerySet[SessionDirectory]:
        return visible(request.user, super().get_queryset(request).select_related("removal"))

    def get_fields(self, request: HttpRequest, obj: Any = None) -> tuple[str, ...]:
        added = ("path", "namespace", "is_enabled")
        if obj is not None:
            return (*added, "shown_machine", "synced", "result", "error_with_badge", "skipped_files")
        has_others = Machine.objects.exclude(name=settings.RAPTOR_MACHINE).exists()
        return ("path", "machine", "namespace", "is_enabled") if has_others else added

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> tuple[str, ...]:
        shown = ("shown_machine", "synced", "result", "error_with_badge", "skipped_files")
        return shown if obj is None else ("path", "namespace", *shown)

    def get_changeform_initial_data(self, request: HttpRequest) -> dict[str, Any]:
        return {"namespace": settings.RAPTOR_NAMESPACE, **super().get_changeform_initial_data(request)}

    def has_sync_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("sessions_app.change_sessiondirectory")

    def has_delete_permission(self, request: HttpRequest, obj: SessionDirectory | None = None) -> bool:
        """Refuse to delete a directory that live or archived sessions refer to."""
        if obj is None or not super().has_delete_permission(request, obj):
            return False
        return not any(
            model.objects.filter(directory=obj).exists() for model in (BrowserSession, ArchivedSession)
        )

    @admin.display(description="Machine")
    def shown_machine(self, directory: SessionDirectory) -> str:
        if directory.machine:
            return directory.machine
        synced = "Synced only by the web server so far" if directory.synced_at else "Not known yet"
        return f"{synced}. The first machine whose worker finds the folder mirrors it."

    @admin.display(description="State", ordering="is_enabled")
    def state(self, directory: SessionDirectory) -> str:
        if directory.is_removed:
            return badges.badge("quiet", "Removed")
        return badges.badge(*(("good", "Enabled") if directory.is_enabled else ("quiet", "Disabled")))

    @admin.display(description="Last synced", ordering="synced_at")
    def synced(self, directory: SessionDirectory) -> str:
        return formatting.moment(directory.synced_at) if directory.synced_at else "Never"

    @admin.display(description="Last result")
    def result(self, directory: SessionDirectory) -> str:
        return describe_report(directory.report) if directory.report else formatting.NONE

    @admin.display(description="Error")
    def error_with_badge(self, directory: SessionDirectory) -> str:
        if not directory.error:
            return "None"
        return format_html("{} {}", badges.badge("bad", "Error"), directory.error)

    @admin.display(description="Skipped files")
    def skipped_files(self, directory: SessionDirectory) -> str:
        files = directory.report.get("skipped_files", [])
        if not files:
            return "None"
        lines = format_html_join("", "<li><code>{}</code> {}</li>", ((f["file"], f["reason"]) for f in files))
        more = directory.report.get("skipped", 0) - len(files)
        rest = format_html("<p>… and {} more.</p>", f"{more:,}") if more > 0 else ""
        return format_html('<ul class="raptor-reasons">{}</ul>{}', lines, rest)

    @admin.action(description="Sync selected now", permissions=["sync"])
    def sync(self, request: HttpRequest, queryset: QuerySet[SessionDirectory]) -> None:
        for directory in queryset:
            self.sync_now(request, directory)

    def sync_view(self, request: HttpRequest, directory_id: int) -> HttpResponse:
        directory = self.get_changeable(request, directory_id)
        self.sync_now(request, directory)
        return to_page(directory)

    def accept_view(self, request: HttpRequest, directory_id: int) -> HttpResponse:
        """Register the folder that is at the path now in place of the old one, then sync it."""
        directory = self.get_changeable(request, directory_id)
        try:
            is_other = accept_other_folder(directory)
        except DirectoryError as error:
            self.message_user(request, str(error), messages.ERROR)
            return to_page(directory)
        if is_other:
            self.log_change(request, directory, "Accepted the folder that is at the path now.")
        self.sync_now(request, directory)
        return to_page(directory)

    def sweep_view(self, request: HttpRequest, directory_id: int) -> HttpResponse:
        """Let scheduled sweeps include the sessions of a directory from now on."""
        directory = self.get_changeable(request, directory_id)
        if directory.swept_from is not None:
            sweep_from_now(directory)
            self.log_change(request, directory, "Scheduled sweeps include its sessions from now on.")
        text = f"Scheduled sweeps include the sessions in {directory.path} from now on."
        self.message_user(request, text, messages.SUCCESS)
        return to_page(directory)

    def save_model(self, request: HttpRequest, obj: SessionDirectory, form: Any, change: bool) -> None:
        if not change and not obj.is_elsewhere:
            for name, value in place_of(obj.path, is_enabled=obj.is_enabled).items():
                setattr(obj, name, value)
        super().save_model(request, obj, form, change)
        if change and not obj.is_enabled and "is_enabled" in form.changed_data:
            number = BrowserSession.objects.filter(directory=obj).count()
            self.message_user(
                request,
                f"{obj.path} is no longer mirrored. Its sessions stay in the list ({number:,} now), and "
                "policies still remove them and their files. “Remove with its sessions” removes them now.",
                messages.WARNING,
            )

    def get_changeable(self, request: HttpRequest, directory_id: int) -> SessionDirectory:
        if not self.has_sync_permission(request):
            raise PermissionDenied
        directory = self.get_queryset(request).filter(pk=directory_id).first()
        if directory is None:
            raise Http404("There is no such session directory.")
        return directory

    def sync_now(self, request: HttpRequest, directory: SessionDirectory) -> None:
        if directory.is_elsewhere:
            enqueue(Task.SYNC_DIRECTORIES, directory.machine, machine=directory.machine)
            show_queued(request, f"The worker of the machine {directory.machine} mirrors {directory.path}.")
            return
        try:
            result = sync_directory(
                directory, trigger=CleanupRun.Trigger.ADMIN, actor=request.user.get_username()
            )
        except (DirectoryError, DatabaseError) as error:
            self.message_user(request, safe_message(error), messages.ERROR)
        else:
            counts = describe_report(result.to_json())
            text = f"{directory.path} is synced: {counts}."
            if result.held:
                text = f"{directory.path} has lost files: {counts}. Is its disk mounted?"
            needs_attention = result.skipped or result.held or directory.error
            self.message_user(request, text, messages.WARNING if needs_attention else messages.SUCCESS)

    def response_add(
        self, request: HttpRequest, obj: SessionDirectory, post_url_continue: str | None = None
    ) -> HttpResponse:
        worker = f"The worker of the machine {obj.machine}" if obj.is_elsewhere else "The worker"
        found = None if obj.is_elsewhere else inspect_folder(obj)
        described = f": {found.describe()}" if found else ""
        text = f"{obj.path} was added{described}. {worker} mirrors it within a minute; "
        self.message_user(request, f"{text}“Sync now” does so at once.", messages.SUCCESS)
        if found and (warning := found.warning()):
            self.message_user(request, warning, messages.WARNING)
        page, keys = ("add", []) if "_addanother" in request.POST else ("change", [obj.pk])
        return HttpResponseRedirect(reverse(f"admin:sessions_app_sessiondirectory_{page}", args=keys))


def folder_context(directory: SessionDirectory) -> dict[str, Any]:
    """Return what the page warns of: another folder at the path, and sessions that are not swept yet."""
    context = {"not_swept": foreign_warning(directory)}
    if directory.is_elsewhere:
        return context
    try:
        open_folder(directory).close()
    except NotTheRegisteredFolder as error:
        context["other_folder"] = str(error.strerror)
    except OSError:
        pass
    return context


def describe_report(report: dict[str, Any]) -> str:
    """Describe what a sync did; leave out what did not occur."""
    counts = [f"{report[name]:,} {words}" for name, words in COUNTS.items() if report.get(name)]
    return "; ".join((", ".join(counts) or "no files", *report.get("notes", ())))
