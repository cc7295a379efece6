"""The screen for namespaces that are limited to groups and users."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from django import forms
from django.contrib import admin, messages
from django.contrib.auth.models import Group, User
from django.http import HttpRequest

from sessions_app.access.namespaces import has_namespace
from sessions_app.admin import formatting
from sessions_app.admin.base import RaptorAdmin, UsableNamespace, warn_if_queue_is_unreachable
from sessions_app.models import LimitedNamespace
from sessions_app.queue.enqueue import Task
from sessions_app.queue.outbox import enqueue

if TYPE_CHECKING:
    _Form = forms.ModelForm[LimitedNamespace]
else:
    _Form = forms.ModelForm


class LimitForm(UsableNamespace, _Form):
    groups = forms.ModelMultipleChoiceField(
        queryset=Group.objects.order_by("name"),
        required=False,
        widget=forms.CheckboxSelectMultiple,
        help_text="Members of these groups see the sessions of the namespace and can clean them up, if their "
        "permissions allow it. If no group and no user is selected, only superusers do.",
    )
    users = forms.ModelMultipleChoiceField(
        queryset=User.objects.filter(is_active=True, is_superuser=False).order_by("username"),
        required=False,
        widget=forms.CheckboxSelectMultiple,
        help_text="These users see the namespace without being in one of the groups.",
    )

    class Meta:
        model = LimitedNamespace
        fields = ("namespace",)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.initial.setdefault("groups", self.instance.group_ids)
        self.initial.setdefault("users", self.instance.user_ids)

    def save(self, commit: bool = True) -> LimitedNamespace:
        self.instance.group_ids = sorted(group.pk for group in self.cleaned_data["groups"])
        offered = {user.pk for user in self.fields["users"].queryset}  # type: ignore[attr-defined]
        kept = set(self.instance.user_ids) - offered
        self.instance.user_ids = sorted(kept | {user.pk for user in self.cleaned_data["users"]})
        return super().save(commit)


@admin.register(LimitedNamespace)
class LimitedNamespaceAdmin(RaptorAdmin):
    form = LimitForm
    search_fields = ("namespace",)
    show_full_result_count = False
    show_facets = admin.ShowFacets.NEVER
    list_per_page = formatting.ROWS_PER_PAGE

    def get_list_display(self, request: HttpRequest) -> tuple[Any, ...]:
        return ("namespace", _members(request))

    def save_model(self, request: HttpRequest, obj: LimitedNamespace, form: Any, change: bool) -> None:
        super().save_model(request, obj, form, change)
        if not has_namespace(obj.namespace):
            message = f"The namespace {obj.namespace} has no sessions and no directories. Check its spelling."
            self.message_user(request, message, messages.WARNING)
        # A large panel can exclude this namespace from its numbers only from the next snapshot on.
        enqueue(Task.TAKE_SNAPSHOT)
        warn_if_queue_is_unreachable(request)


def _members(request: HttpRequest) -> Callable[[LimitedNamespace], str]:
    """Return the column with the groups and users. Their names are read once for all rows."""
    cache = request.__dict__
    if "raptor_members" not in cache:
        names = dict(Group.objects.values_list("pk", "name"))
        users = dict(User.objects.values_list("pk", "username"))

        @admin.display(description="Visible to")
        def members(limit: LimitedNamespace) -> str:
            groups = sorted(names[pk] for pk in limit.group_ids if pk in names)
            people = sorted(users[pk] for pk in limit.user_ids if pk in users)
            return ", ".join([*(f"members of {group}" for group in groups), *people]) or "Superusers only"

        cache["raptor_members"] = members
    column: Callable[[LimitedNamespace], str] = cache["raptor_members"]
    return column
