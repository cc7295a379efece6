"""The screens of the panel: one file each, or one folder where a screen has several pages."""

from django.contrib import admin

from sessions_app.admin import archive, directories, namespaces, queue
from sessions_app.admin.policies.admin import CleanupPolicyAdmin
from sessions_app.admin.policies.changes import PolicyChangeAdmin
from sessions_app.admin.runs.admin import CleanupRunAdmin
from sessions_app.admin.sessions.admin import BrowserSessionAdmin

__all__ = [
    "BrowserSessionAdmin",
    "CleanupPolicyAdmin",
    "CleanupRunAdmin",
    "PolicyChangeAdmin",
    "archive",
    "directories",
    "namespaces",
    "queue",
]

# Bulk deletions go through cleanups, which show a preview first.
admin.site.disable_action("delete_selected")
