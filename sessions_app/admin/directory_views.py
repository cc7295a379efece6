"""Views that add the default folder, remove a directory with its sessions, and mirror it again."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse

from sessions_app.access.permissions import may_clean_up_all, may_plan
from sessions_app.access.visibility import hidden_from
from sessions_app.admin.runs.actions import make_plan, redirect_to_plan
from sessions_app.cleanup import CleanupRefused, discard_plan
from sessions_app.mirror.arrivals import foreign_warning, plan_removal, restore_directory
from sessions_app.mirror.first_use import find_folder
from sessions_app.mirror.registry import DirectoryError, register_directory
from sessions_app.models import SessionDirectory
from sessions_app.session.criteria import Criteria, InvalidCriteria


def to_page(directory: SessionDirectory) -> HttpResponse:
    return HttpResponseRedirect(reverse("admin:sessions_app_sessiondirectory_change", args=[directory.pk]))


def add_found_view(screen: Any, request: HttpRequest) -> HttpResponse:
    """Register and sync the folder that the dashboard of an empty panel offers."""
    if not screen.has_add_permission(request):
        raise PermissionDenied
    found = find_folder()
    if found is None or settings.RAPTOR_NAMESPACE in hidden_from(request.user):
        screen.message_user(request, "The folder does not exist or is already mirrored.", messages.ERROR)
        return HttpResponseRedirect(reverse("admin:index"))
    try:
        directory = register_directory(found.path)
    except DirectoryError as error:
        screen.message_user(request, str(error), messages.ERROR)
    else:
        screen.log_addition(request, directory, "Added the default folder.")
        screen.sync_now(request, directory)
        if warning := foreign_warning(directory):
            screen.message_user(request, warning, messages.WARNING)
    return HttpResponseRedirect(reverse("admin:index"))


def may_remove(request: HttpRequest, directory: SessionDirectory) -> bool:
    """Check whether a user may remove a directory with all its sessions, including pinned ones."""
    may_delete = request.user.has_perm("sessions_app.delete_sessiondirectory")
    return may_delete and may_plan(request.user) and may_clean_up_all(request.user)


def remove_view(screen: Any, request: HttpRequest, directory_id: int) -> HttpResponse:
    """Plan a cleanup of all sessions of a directory, which also stops mirroring the directory."""
    directory = screen.get_changeable(request, directory_id)
    if not may_remove(request, directory):
        raise PermissionDenied
    try:
        run = make_plan(request, Criteria(all=True, namespace=directory.namespace, directory=directory.pk))
    except (InvalidCriteria, CleanupRefused) as reason:
        screen.message_user(request, str(reason), messages.ERROR)
        return to_page(directory)
    if not plan_removal(directory, run):
        discard_plan(run, actor=request.user.get_username())
        screen.message_user(
            request, f"Run {directory.removal_id} has already removed this directory.", messages.ERROR
        )
        return to_page(directory)
    screen.log_change(
        request, directory, f"Planned the removal of the directory with its sessions: run {run.pk}."
    )
    text = (
        f"This plan removes {directory.path} with its sessions. Once it runs, the folder is no longer "
        "mirrored. Undoing the run restores the sessions and the directory."
    )
    screen.message_user(request, text, messages.INFO)
    return redirect_to_plan(run)


def restore_view(screen: Any, request: HttpRequest, directory_id: int) -> HttpResponse:
    """Mirror a removed directory again, without its archived sessions."""
    directory = screen.get_changeable(request, directory_id)
    restore_directory(directory)
    screen.log_change(request, directory, "Mirrored the directory again.")
    text = f"{directory.path} is mirrored again. Its removed sessions stay in the archive."
    screen.message_user(request, text, messages.SUCCESS)
    return to_page(directory)
