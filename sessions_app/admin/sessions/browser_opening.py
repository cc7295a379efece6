"""The form that opens a new browser and saves it as a session."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any
from urllib.parse import urlencode

from django import forms
from django.conf import settings
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse

from sessions_app.access.permissions import may_close_browsers
from sessions_app.access.visibility import hidden_from
from sessions_app.admin.base import RaptorAdmin, UsableNamespace, refuse_invisible, show_queued
from sessions_app.models.fields import NAMESPACE_LENGTH
from sessions_app.queue.enqueue import Task
from sessions_app.queue.outbox import enqueue
from sessions_app.session.names import NAME_LENGTH, why_not_a_name


class OpenBrowserForm(UsableNamespace, forms.Form):
    """The session of a new browser."""

    name = forms.CharField(max_length=NAME_LENGTH, validators=[refuse_invisible])
    namespace = forms.CharField(max_length=NAMESPACE_LENGTH)
    url = forms.URLField(
        label="First page", required=False, assume_scheme="https", help_text="Blank: an empty page."
    )

    def __init__(self, *args: Any, hidden: Collection[str], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.hidden = hidden

    def clean_name(self) -> str:
        name: str = self.cleaned_data["name"]
        if reason := why_not_a_name(name):
            raise forms.ValidationError(f"It cannot be the name of a session: {reason}.")
        return name


def open_view(screen: RaptorAdmin, request: HttpRequest) -> HttpResponse:
    """Show the form; on POST, queue the opening of a headless browser by the worker of this machine."""
    if not (may_close_browsers(request.user) and screen.has_view_permission(request)):
        raise PermissionDenied
    initial = {"namespace": settings.RAPTOR_NAMESPACE}
    form = OpenBrowserForm(request.POST or None, initial=initial, hidden=hidden_from(request.user))
    if request.method == "POST" and form.is_valid():
        chosen = form.cleaned_data
        enqueue(
            Task.OPEN_BROWSER,
            chosen["namespace"],
            chosen["name"],
            chosen["url"],
            request.user.get_username(),
            machine=settings.RAPTOR_MACHINE,
        )
        show_queued(request, f"The worker opens a browser for “{chosen['name']}”.")
        query = urlencode({"namespace": chosen["namespace"]})
        return HttpResponseRedirect(f"{reverse('admin:sessions_app_browsersession_changelist')}?{query}")
    context = {"form": form, "machine": settings.RAPTOR_MACHINE}
    return screen.page(request, "browsersession/open.html", "Open a browser", context)
