"""The screens of the panel: a module each, or a package if a screen has several pages."""

from django.contrib import admin

from sessions_app.admin import accounts, directories, namespaces, queue
from sessions_app.admin.alerts import admin as alerts
from sessions_app.admin.archive.admin import ArchivedSessionAdmin
from sessions_app.admin.policies.admin import CleanupPolicyAdmin
from sessions_app.admin.policies.changes import PolicyChangeAdmin
from sessions_app.admin.runs.admin import CleanupRunAdmin
from sessions_app.admin.sessions.admin import BrowserSessionAdmin

__all__ = [
    "ArchivedSessionAdmin",
    "BrowserSessionAdmin",
    "CleanupPolicyAdmin",
    "CleanupRunAdmin",
    "PolicyChangeAdmin",
    "accounts",
    "alerts",
    "directories",
    "namespaces",
    "queue",
]

# Bulk deletion is a cleanup, which shows a preview first.
admin.site.disable_action("delete_selected")
