"""The project as an app, for its command, and the admin of the panel."""

from django.apps import AppConfig
from django.contrib.admin.apps import AdminConfig


class ProjectConfig(AppConfig):
    """Installed before django-q2, whose command ``qcluster`` it replaces."""

    name = "raptor_admin"


class RaptorAdminConfig(AdminConfig):
    """Django's admin with the panel's own site."""

    default_site = "raptor_admin.site.RaptorAdminSite"
