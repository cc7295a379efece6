import socket
from pathlib import Path
from typing import Any

from django.apps import AppConfig

DEFAULTS: dict[str, Any] = {
    "RAPTOR_VAR_DIR": Path.home() / ".raptor" / "var",
    "RAPTOR_MACHINE": socket.gethostname(),
    "RAPTOR_NAMESPACE": "default",
    "RAPTOR_MAX_AGE_DAYS": 7.0,
    "RAPTOR_ARCHIVE_DAYS": 14.0,
    "RAPTOR_CDP_ALLOWED_HOSTS": ("localhost", "127.0.0.0/8", "::1"),
    "RAPTOR_MAX_DOCUMENT_BYTES": 5_242_880,
    "RAPTOR_SETTLE_SECONDS": 10.0,
    "RAPTOR_PROBE_SECONDS": 600.0,
    "RAPTOR_CHROMIUM": "",
    "RAPTOR_PUBLIC_URL": "",
    "RAPTOR_WEBHOOK_ALLOWED_HOSTS": (),
    "RAPTOR_TASK_DEADLINE_SECONDS": 240,
}
"""Defaults of the settings. Another Django project that installs the app may override them.

The panel's environment variables have the same defaults, see ``raptor_admin.environment``. A task ends at its
deadline, before django-q2's timeout: a timeout kill can hang the cluster or lose the result.
"""


class SessionsAppConfig(AppConfig):
    name = "sessions_app"
    verbose_name = "Browser sessions"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        from django.conf import settings
        from django.db.models.signals import post_migrate, pre_delete, pre_migrate

        from sessions_app.access.roles import install_roles
        from sessions_app.models import CleanupRun
        from sessions_app.models.ids import remember_sequences, repair_after_migration
        from sessions_app.models.planner_hints import give_hints
        from sessions_app.reports.run_totals import keep_total
        from sessions_app.search.trigrams import prepare_after_migration

        for name, value in DEFAULTS.items():
            if not hasattr(settings, name):
                setattr(settings, name, value)
        if hasattr(settings, "Q_CLUSTER"):
            # The checks concern the worker.
            from sessions_app import checks  # noqa: F401
        pre_delete.connect(keep_total, sender=CleanupRun)
        post_migrate.connect(install_roles, sender=self)
        pre_migrate.connect(remember_sequences, sender=self)
        post_migrate.connect(repair_after_migration, sender=self)
        post_migrate.connect(give_hints, sender=self)
        post_migrate.connect(prepare_after_migration, sender=self)
