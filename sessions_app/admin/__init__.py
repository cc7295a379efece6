"""The screens of the panel, one file each."""

from django.contrib import admin

from sessions_app.admin import (
    archive,
    cleanup,
    directories,
    limits,
    policies,
    policy_changes,
    queue,
    sessions,
)

__all__ = ["archive", "cleanup", "directories", "limits", "policies", "policy_changes", "queue", "sessions"]

# What is deleted in bulk goes through cleanups, which can be seen before.
admin.site.disable_action("delete_selected")
