"""Django's own screens of users and groups, whose names must be visible."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.contrib import admin
from django.contrib.auth.admin import GroupAdmin, UserAdmin
from django.contrib.auth.models import Group, User

from sessions_app.admin.base import VisibleNames

if TYPE_CHECKING:
    _UserAdmin = UserAdmin[User]
else:
    _UserAdmin = UserAdmin

admin.site.unregister((User, Group))


@admin.register(User)
class VisibleUserAdmin(VisibleNames, _UserAdmin):
    pass


@admin.register(Group)
class VisibleGroupAdmin(VisibleNames, GroupAdmin):
    pass
