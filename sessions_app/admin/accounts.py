"""The screens of users and groups.

Django's form for a new user has no field for a role or for the permission to log in to the panel. This form
has a field for the role, which implies the permission to log in.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django import forms
from django.contrib import admin
from django.contrib.auth.admin import GroupAdmin, UserAdmin
from django.contrib.auth.models import Group, Permission, User
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import reverse

from sessions_app.access.namespaces import grant_namespaces
from sessions_app.access.people import NO_ROLE, SUPERUSER, follow_rights, role_of, set_role
from sessions_app.access.roles import ROLES
from sessions_app.admin import badges, formatting
from sessions_app.admin.base import VisibleNames
from sessions_app.admin.navigation import title_of
from sessions_app.admin.people import AddUserForm, ChangeUserForm

if TYPE_CHECKING:
    _UserAdmin = UserAdmin[User]
    _Filter = admin.SimpleListFilter
else:
    _UserAdmin, _Filter = UserAdmin, admin.SimpleListFilter

admin.site.unregister((User, Group))


class RoleFilter(_Filter):
    title = "role"
    parameter_name = "role"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [*((role, role) for role in ROLES), ("superuser", SUPERUSER), ("none", NO_ROLE)]

    def queryset(self, request: HttpRequest, queryset: QuerySet[User]) -> QuerySet[User]:
        if self.value() in ROLES:
            return queryset.filter(groups__name=self.value())
        if self.value() == "superuser":
            return queryset.filter(is_superuser=True)
        if self.value() == "none":
            return queryset.filter(is_superuser=False).exclude(groups__name__in=ROLES)
        return queryset


class _Titled:
    """A list with the same title as in the menu."""

    opts: Any

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> Any:
        context = {"title": title_of(self.opts), **(extra_context or {})}
        return super().changelist_view(request, context)  # type: ignore[misc]


class _Checkboxes:
    """A form with checkboxes for groups and permissions, which work with a keyboard and on a phone."""

    filter_horizontal: Any = ()

    def formfield_for_manytomany(self, db_field: Any, request: Any = None, **kwargs: Any) -> Any:
        kwargs["widget"] = forms.CheckboxSelectMultiple
        field = super().formfield_for_manytomany(db_field, request, **kwargs)  # type: ignore[misc]
        field.help_text = ""
        if db_field.related_model is Permission:
            # Other apps have no screens, so their permissions have no effect.
            rights = Permission.objects.filter(content_type__app_label__in=("sessions_app", "auth"))
            field.queryset = rights.order_by("-content_type__app_label", "content_type__model", "pk")
            field.label_from_instance = lambda permission: permission.name
        return field


@admin.register(User)
class VisibleUserAdmin(_Titled, _Checkboxes, VisibleNames, _UserAdmin):
    add_form = AddUserForm
    form = ChangeUserForm
    add_form_template = "admin/auth/user/add_form.html"
    change_form_template = "admin/auth/user/change_form.html"
    add_fieldsets = ((None, {"fields": ("username", "password1", "password2", "role", "namespaces")}),)
    fieldsets = (
        (None, {"fields": ("username", "password", "role", "namespaces", "is_active")}),
        ("Person", {"fields": ("first_name", "last_name", "email")}),
        (
            "More permissions",
            {
                "classes": ("collapse",),
                "fields": ("is_superuser", "groups", "user_permissions"),
                "description": "Permissions in addition to the role. Users with any of them can log in.",
            },
        ),
        ("Dates", {"fields": ("logged_in", "added")}),
    )
    readonly_fields = ("logged_in", "added")
    list_display = ("username", "role", "state", "logged_in", "added")
    list_filter = (RoleFilter, "is_active")
    list_per_page = formatting.ROWS_PER_PAGE

    def get_queryset(self, request: HttpRequest) -> QuerySet[User]:
        return super().get_queryset(request).prefetch_related("groups")

    @admin.display(description="Role")
    def role(self, user: User) -> str:
        if user.is_superuser:
            return SUPERUSER
        return role_of(user) or badges.badge("stale", NO_ROLE)

    @admin.display(description="Login")
    def state(self, user: User) -> str:
        may_log_in = user.is_active and user.is_staff
        return badges.badge(*(("good", "Enabled") if may_log_in else ("quiet", "Disabled")))

    @admin.display(description="Last login", ordering="last_login")
    def logged_in(self, user: User) -> str:
        return formatting.moment(user.last_login) if user.last_login else "Never"

    @admin.display(description="Added", ordering="date_joined")
    def added(self, user: User) -> str:
        return formatting.moment(user.date_joined)

    def save_related(self, request: HttpRequest, form: Any, formsets: Any, change: bool) -> None:
        super().save_related(request, form, formsets, change)
        user, chosen = form.instance, form.cleaned_data
        set_role(user, chosen["role"])
        grant_namespaces(user.pk, chosen["namespaces"])
        follow_rights(user)

    def save_model(self, request: HttpRequest, obj: User, form: Any, change: bool) -> None:
        super().save_model(request, obj, form, change)
        request.__dict__["raptor_password"] = getattr(form, "generated", "")

    def response_add(self, request: HttpRequest, obj: User, post_url_continue: str | None = None) -> Any:
        """Show a generated password once, in the response to the form, so that no URL shows it again."""
        password = request.__dict__.get("raptor_password", "")
        if not password:
            return super().response_add(request, obj, post_url_continue)
        context = {
            **self.admin_site.each_context(request),
            "opts": self.opts,
            "title": "User added",
            "added": obj,
            "role": role_of(obj),
            "password": password,
            "address": request.build_absolute_uri(reverse("admin:index")),
        }
        return TemplateResponse(request, "admin/auth/user/added.html", context)

    def render_change_form(
        self, request: HttpRequest, context: dict[str, Any], *args: Any, **kwargs: Any
    ) -> HttpResponse:
        user = context.get("original")
        if user is not None:
            context["lacks_role"] = not user.is_superuser and not role_of(user)
        return super().render_change_form(request, context, *args, **kwargs)


@admin.register(Group)
class VisibleGroupAdmin(_Titled, _Checkboxes, VisibleNames, GroupAdmin):
    pass
