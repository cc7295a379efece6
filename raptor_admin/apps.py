"""The project as an app, for its command, and the admin of the panel."""

from django.apps import AppConfig
from django.contrib.admin.apps import AdminConfig


class ProjectConfig(AppConfig):
    """Installed before django-q2, whose command ``qcluster`` it replaces."""

    name = "raptor_admin"


class RaptorAdminConfig(AdminConfig):
    """Django's admin with the panel's own site."""

    default_site = "raptor_admin.site.RaptorAdminSite"

    def ready(self) -> None:
        """Connect the log of logins."""
        super().ready()
        from axes.signals import user_locked_out
        from django.contrib.auth.signals import user_logged_in, user_login_failed

        from raptor_admin.login import log_failure, log_lockout, note_activity

        user_logged_in.connect(note_activity)
        user_login_failed.connect(log_failure)
        user_locked_out.connect(log_lockout)
